//! What a run of the harness is about: the built-in workloads, or a command of
//! the user's.

use std::process::ExitCode;

use bulkhead_bench::{Custom, Profile, Workload};
use bulkhead_image::builtin;
use bulkhead_image::spec::RunOptions;
use bulkhead_reports::agreement::Agreement;
use bulkhead_reports::schema::{Results, Start};
use bulkhead_runtime::Isolation;

use crate::args::{BenchArgs, BenchVerb, CustomArgs};
use crate::failure::code;

/// Memory limit of every sandbox, and the whole memory of each microVM.
const MEMORY_BYTES: u64 = 64 << 20;

/// Behind walls that draw a name for each sandbox, a command that prints it
/// would never print the same.
const HOSTNAME: &str = "bulkhead";

pub struct Task<'a> {
    pub image: &'a str,
    pub workloads: Vec<&'static dyn Workload>,
    pub profile: Profile,
    /// Those that are compared unless the user names others.
    pub runtimes: &'static [Isolation],
    custom: Option<&'a CustomArgs>,
}

impl<'a> Task<'a> {
    pub fn of(args: &'a BenchArgs) -> Self {
        let profile = if args.full { Profile::FULL } else { Profile::DEFAULT };
        match &args.verb {
            None | Some(BenchVerb::Host { .. }) => Self {
                image: builtin::PROBE,
                workloads: args.workloads.clone(),
                profile,
                runtimes: &[Isolation::Native, Isolation::Container, Isolation::MicroVm],
                custom: None,
            },
            Some(BenchVerb::Custom(custom)) => Self {
                image: &custom.image,
                workloads: vec![&Custom],
                profile: Profile { sandbox_timeout: custom.timeout, ..profile },
                // A plain process sees the host's files and not the image's.
                runtimes: &[Isolation::Container, Isolation::MicroVm],
                custom: Some(custom),
            },
        }
    }

    /// How sandboxes are started: cold in any case.
    pub fn starts(&self, args: &BenchArgs) -> Vec<Start> {
        let mut starts = vec![Start::Cold];
        match (args.start.is_empty(), self.custom) {
            (true, None) if args.full => starts.extend([Start::Warm, Start::Pool, Start::App]),
            _ => starts.extend(args.start.iter().copied().map(Start::from)),
        }
        starts.sort_unstable();
        starts.dedup();
        starts
    }

    /// How the sandboxes are made.
    pub fn options(&self) -> RunOptions {
        RunOptions {
            args: self.custom.map(|custom| custom.command.clone()).unwrap_or_default(),
            hostname: self.custom.map(|_| HOSTNAME.to_owned()),
            memory_bytes: Some(self.custom.map_or(MEMORY_BYTES, |custom| custom.memory)),
            ..RunOptions::default()
        }
    }

    /// It is about a command of the user's, of which nothing general follows.
    pub fn is_custom(&self) -> bool {
        self.custom.is_some()
    }

    /// What comes out is read by a program.
    pub fn is_json(&self) -> bool {
        self.custom.is_some_and(|custom| custom.output.is_json())
    }

    /// The exit code of a complete run. A command that does not do the same
    /// everywhere is a failure, whatever it costs.
    pub fn verdict(&self, results: &Results) -> ExitCode {
        if self.custom.is_none() {
            return ExitCode::SUCCESS;
        }
        match Agreement::of(results) {
            Agreement::Same { .. } => ExitCode::SUCCESS,
            other => {
                eprintln!("bulkhead: {other}");
                ExitCode::from(code::FAILURE)
            }
        }
    }
}
