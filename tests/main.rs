//! End-to-end tests: the real `bulkhead` binary on real images.
//!
//! Each body in `cases/` is written once and run behind every wall it applies
//! to. Where a wall cannot work (no root, no `/dev/kvm`), its tests are reported
//! as ignored, with the reason as their kind.
//!
//! The tests run one after the other: several count what is left on the host.

#![expect(
    clippy::expect_used,
    reason = "a test fails by panicking; clippy does not see that a harness of one's own is one"
)]

mod alone;
mod cases;
mod images;
mod lab;
mod running;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use crate::lab::{Lab, Wall};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    if nix::unistd::geteuid().is_root() && !arguments.list {
        alone::enter().expect("root may make namespaces");
    }
    let trials = cases::all()
        .into_iter()
        .flat_map(|case| case.walls.iter().map(move |&wall| trial(case, wall)))
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(case: cases::Case, wall: Wall) -> Trial {
    let name = format!("{}::{}", wall.name(), case.name);
    let body = move || {
        (case.body)(Lab::ready_for(wall), wall);
        Ok(())
    };
    let trial = Trial::test(name, body);
    match wall.obstacle() {
        None => trial,
        Some(reason) => trial.with_ignored_flag(true).with_kind(reason),
    }
}
