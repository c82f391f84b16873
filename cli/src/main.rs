//! The `bulkhead` program: parse, call, print. What is done is in the crates of
//! the workspace; what is said is here.

#![deny(clippy::print_stdout, reason = "`stdout` knows what a reader that is gone means")]

mod args;
mod contenders;
mod context;
mod failure;
mod health;
mod instance;
mod keeper;
mod launch;
mod mounts;
mod packages;
mod payload;
mod privileges;
mod progress;
mod pulling;
mod signals;
mod stdout;
mod supervisor;
mod terminal;
mod verbs;

use std::process::ExitCode;

use bulkhead_runtime::Instant;

use crate::args::{Cli, Verb};
use crate::context::Context;

fn main() -> ExitCode {
    let requested = Instant::now();
    // A microVM's monitor and a sandbox's supervisor are this program under other verbs.
    // They must not pay for the command line of a person.
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(verb) if verb == context::MONITOR_VERB => {
            return bulkhead_microvm::monitor_main(arguments);
        }
        Some(verb) if verb == supervisor::VERB => return supervisor::main(arguments),
        // Whoever holds a network must have no other thread.
        Some(verb) if verb == context::HOLDER_VERB => {
            return bulkhead_network::holder_main(arguments);
        }
        _ => {}
    }
    let cli = Cli::of_process();
    let context = Context::new(&cli.global);
    let outcome = match cli.verb {
        Verb::Run(args) => {
            verbs::run::run(&context, &args, requested).map_err(failure::Failure::of_run)
        }
        Verb::Exec(args) => {
            verbs::exec::run(&context, &args).map_err(failure::Failure::of_exec)
        }
        Verb::Life(verb) => verbs::lifecycle::run(&context, &verb),
        Verb::Update(args) => verbs::update::run(&context, &args),
        Verb::Image(verb) => verbs::image::run(&context, &verb),
        Verb::Build(args) => verbs::build::run(&context, &args),
        Verb::Pull(args) => verbs::registry::pull(&context, &args),
        Verb::Push(args) => verbs::registry::push(&context, &args),
        Verb::Login(args) => verbs::registry::login(&args),
        Verb::Logout(args) => verbs::registry::logout(&args),
        Verb::Volume(verb) => verbs::volume::run(&context, &verb),
        Verb::Kernel(verb) => verbs::kernel::run(&context, &verb),
        Verb::Pool(verb) => verbs::pool::run(&context, &verb),
        Verb::Template(verb) => verbs::template::run(&context, &verb),
        Verb::Snapshot(verb) => verbs::snapshot::run(&context, &verb),
        Verb::Network(verb) => verbs::network::run(&context, &verb),
        Verb::Port(args) => verbs::network::port(&context, &args),
        Verb::Stats(args) => verbs::stats::run(&context, &args),
        Verb::Bench(args) => verbs::bench::run(&context, &args),
        Verb::Report(args) => verbs::report::run(&args),
        Verb::Compare(args) => verbs::compare::run(&args),
        Verb::Advise(args) => verbs::advise::run(&context, &args),
        Verb::Doctor(args) => verbs::doctor::run(&context, &args),
        Verb::Gc(args) => verbs::gc::run(&context, &args),
        Verb::Completions { shell } => verbs::completions::run(shell),
    };
    outcome.unwrap_or_else(|failure| failure.report())
}
