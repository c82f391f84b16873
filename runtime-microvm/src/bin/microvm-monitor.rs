//! The monitor as a program of its own, as small as it can be: for the tests
//! and benchmarks of this crate. Users have it as a verb of `bulkhead`.

use std::process::ExitCode;

fn main() -> ExitCode {
    bulkhead_microvm::monitor_main(std::env::args_os().skip(1))
}
