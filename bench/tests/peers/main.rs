//! Other people's runtimes behind our traits: those that are installed, and
//! scripts that play one which crashes, hangs or talks nonsense.
//!
//! Each case runs for real or is reported as ignored with the reason.

#![expect(clippy::unwrap_used, reason = "a test that fails by panicking, without attribute")]

mod fakes;
mod lab;
#[path = "../support/probe.rs"]
mod probe;
mod real;

use libtest_mimic::{Arguments, Trial};

/// Runtimes that Debian has.
const PACKAGED: [&str; 2] = ["crun", "runc"];

fn main() {
    let arguments = Arguments::from_args();
    let root = (!nix::unistd::geteuid().is_root()).then_some("needs root");
    let mut trials = Vec::new();
    for (name, body) in fakes::CASES {
        trials.push(trial(format!("fake::{name}"), *body, root));
    }
    for peer in PACKAGED {
        let missing =
            lab::on_path(peer).then_some(()).map_or(Some("needs it installed"), |()| None);
        for (name, body) in real::CASES {
            trials.push(trial(format!("{peer}::{name}"), move || body(peer), root.or(missing)));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn trial(name: String, body: impl FnOnce() + Send + 'static, why_not: Option<&str>) -> Trial {
    let trial = Trial::test(name, move || {
        body();
        Ok(())
    });
    match why_not {
        Some(reason) => trial.with_ignored_flag(true).with_kind(reason),
        None => trial,
    }
}
