//! Isolation, measured and not asserted: attempts made from inside each wall,
//! judged by what the host sees, and the surface each wall leaves to the host.
//!
//! One sandbox of each runtime is enough for all of it, because nothing here is
//! a time: the probe in it makes one attempt after the other (`session`), the
//! host has set out what they are to reach (`bait`), looks while each holds what
//! it got (`scene`), and decides (`verdict`, `bombs`). A second process watches
//! the system calls of the sandbox's own processes (`witness`, `surface`).

mod bait;
mod bombs;
mod observe;
mod scene;
mod session;
mod surface;
mod verdict;
pub(crate) mod witness;

use std::time::Duration;

use bulkhead_reports::schema::{Attempt, AttemptOutcome, Surface};
use bulkhead_runtime::Bundle;

use crate::profile::{Blocks, Profile};
use crate::sampling::Stopped;
use crate::sandbox::{Contender, SampleError};
use crate::stop::Stop;
use crate::workloads::{Bench, Taking, Workload};
use bait::Bait;
use bombs::{BOMBS, Bomb, Gauge, Limits};
use scene::{Before, Scene, family, inside};
use session::Session;
use verdict::{TRIALS, Trial};
use witness::Witness;

/// Makes every attempt behind every wall.
#[derive(Debug, Clone, Copy)]
pub struct Isolated;

const NAME: &str = "isolation";

impl Workload for Isolated {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "attempts to get out, judged from the host; system calls that reach it"
    }

    fn measure(&self, bench: &mut Bench<'_>) -> Result<(), Stopped> {
        // Nothing here is a time, so once is enough, however much time there is.
        let blocks =
            Blocks { warm_up: 0, min: 1, max: 1, budget: Duration::MAX, max_weight: 1 };
        let until = bench.until.take();
        let result = bench.interleave_once(NAME, blocks, sample);
        bench.until = until;
        result
    }
}

fn sample(taking: Taking<'_>) -> Result<(), SampleError> {
    let Taking { contender, program, profile, stop, samples, .. } = taking;
    // Of a run that goes on, this may be done already.
    if samples.attempts.iter().any(|attempt| attempt.runtime == contender.name()) {
        return Ok(());
    }
    let mut bundle = contender.bundle_running(&[program, "attempts"]);
    let limits = bombs::limit(contender, &mut bundle);
    let mut examiner = Examiner { contender, bundle, profile, stop, card: Card::default() };
    let result = examiner.run(&limits);
    if matches!(result, Err(SampleError::Interrupted)) {
        return result;
    }
    samples.attempts.extend(examiner.card.attempts);
    samples.surfaces.extend(examiner.card.surface);
    for reason in examiner.card.missing {
        samples.omit(NAME, contender.name(), reason);
    }
    result
}

/// What was found out about one runtime.
#[derive(Debug, Default)]
struct Card {
    attempts: Vec<Attempt>,
    surface: Option<Surface>,
    /// What could not be found out, and why.
    missing: Vec<String>,
}

struct Examiner<'a> {
    contender: Contender<'a>,
    bundle: Bundle,
    profile: &'a Profile,
    stop: Stop<'a>,
    card: Card,
}

impl<'a> Examiner<'a> {
    fn run(&mut self, limits: &Result<Limits, String>) -> Result<(), SampleError> {
        let mut bait = Bait::lay().map_err(SampleError::Bait)?;
        let mut session = self.open()?;
        let processes = session.processes()?;
        {
            let witness = self.witness(&session)?;
            for trial in TRIALS {
                self.attempt(trial, &mut session, witness.as_ref(), &mut bait)?;
            }
            if let Some(witness) = &witness {
                self.card.surface = Some(surface::measure(
                    self.contender,
                    &mut session,
                    &processes,
                    witness,
                    self.profile,
                )?);
            }
        }
        let mut session = Some(session);
        for bomb in BOMBS {
            match limits {
                Ok(limits) => self.set_off(bomb, *limits, &mut session, &bait)?,
                Err(reason) => self.left_out(bomb, reason.clone()),
            }
        }
        session.map_or(Ok(()), Session::release)
    }

    fn open(&self) -> Result<Session<'a>, SampleError> {
        Session::start(self.contender, &self.bundle, self.profile.sandbox_timeout, self.stop)
    }

    /// Without a witness there is no surface, but most attempts can be judged.
    fn witness(&mut self, session: &Session<'_>) -> Result<Option<Witness>, SampleError> {
        let family = family(session)?;
        if family.is_empty() {
            let reason = "the runtime does not say which processes are the sandbox's";
            self.card.missing.push(format!("host surface: {reason}"));
            return Ok(None);
        }
        match Witness::attach(&family) {
            Ok(witness) => Ok(Some(witness)),
            Err(error) => {
                let reason = format!("host surface: tracing its processes: {error}");
                self.card.missing.push(reason);
                Ok(None)
            }
        }
    }

    fn private_kernel(&self) -> bool {
        self.contender.runtime.capabilities().private_kernel
    }

    /// Makes one attempt and judges it while what it got is still held.
    fn attempt(
        &mut self,
        trial: &Trial,
        session: &mut Session<'_>,
        witness: Option<&Witness>,
        bait: &mut Bait,
    ) -> Result<(), SampleError> {
        let before = Before::look(session, witness)?;
        let report = session.order(&trial.order(bait), self.profile.sandbox_timeout)?;
        let mut scene =
            Scene::look(before, report, session, witness, self.private_kernel(), bait)?;
        let (outcome, evidence) = trial.judge(&mut scene);
        let inside = scene.inside().replace(&scene.bait.secret, "(the secret)");
        self.note(trial.name, outcome, evidence, inside);
        session.let_go()?;
        bait.restore();
        Ok(())
    }

    /// Sets a bomb off, in a new sandbox where the last one took its own with it.
    fn set_off(
        &mut self,
        bomb: Bomb,
        limits: Limits,
        session: &mut Option<Session<'a>>,
        bait: &Bait,
    ) -> Result<(), SampleError> {
        let mut alive = match session.take() {
            Some(session) => session,
            None => self.open()?,
        };
        let Some(&first) = family(&alive)?.first() else {
            self.left_out(bomb, "the host does not know its processes".to_owned());
            return alive.release();
        };
        let gauge = match Gauge::find(first, self.private_kernel()) {
            Ok(gauge) => gauge,
            Err(reason) => {
                self.left_out(bomb, reason);
                *session = Some(alive);
                return Ok(());
            }
        };
        let before = gauge.read();
        let (report, ended) = match alive.order(&bomb.order(bait, limits), bombs::WATCHDOG) {
            Ok(report) => (Some(report), ""),
            Err(_) if alive.exit().is_some() => (None, "the sandbox ended"),
            Err(SampleError::TimedOut { .. }) => (None, "the watchdog ended the sandbox"),
            Err(error) => return Err(error),
        };
        // None are left of a sandbox that ended.
        let family = family(&alive).unwrap_or_default();
        let (outcome, evidence) = gauge.judge(bomb, before, limits, &family, report.as_ref());
        let said = report.as_ref().map_or_else(|| ended.to_owned(), inside);
        self.note(bomb.name(), outcome, evidence, said);
        if report.is_none() {
            return alive.release();
        }
        alive.let_go()?;
        *session = Some(alive);
        Ok(())
    }

    fn left_out(&mut self, bomb: Bomb, reason: String) {
        self.note(bomb.name(), AttemptOutcome::NotRun, reason, String::new());
    }

    fn note(&mut self, name: &str, outcome: AttemptOutcome, evidence: String, inside: String) {
        self.card.attempts.push(Attempt {
            runtime: self.contender.name().to_owned(),
            attempt: name.to_owned(),
            outcome,
            evidence,
            inside,
        });
    }
}
