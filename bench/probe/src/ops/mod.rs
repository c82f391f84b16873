//! The operations whose cost is compared across walls.
//!
//! Each does the same thing to the same kind of kernel object everywhere, so
//! that what differs is the wall: files for reading and writing are memfds,
//! whatever file system the root is on; only `open_close` and `fstat` act on
//! the program's own file and thereby on the root filesystem.

mod bandwidth;
mod calls;
mod cpu;
mod files;
mod memory;
mod peer;
mod process;

use std::io;

use crate::calibrate::next_rounds;
use crate::line::{Line, Outcome};
use crate::sys::now_ns;

pub use bandwidth::measure as measure_compute;
pub use files::{Place, measure as measure_files};

/// An operation, set up and ready to be repeated.
pub trait Operation {
    /// Does it `rounds` times.
    fn run(&mut self, rounds: u64) -> io::Result<()>;

    /// How many operations one round consists of.
    fn per_round(&self) -> u64 {
        1
    }
}

type SetUp = fn() -> io::Result<Box<dyn Operation>>;

/// Name and meaning of an operation.
#[derive(Debug, Clone, Copy)]
pub struct OperationInfo {
    /// Name in output.
    pub name: &'static str,
    /// What one operation is.
    pub about: &'static str,
    /// Needs nothing of the kernel: its ratio between walls should be 1.
    pub control: bool,
    set_up: SetUp,
}

const fn op(name: &'static str, set_up: SetUp, about: &'static str) -> OperationInfo {
    OperationInfo { name, about, control: false, set_up }
}

const fn control(name: &'static str, set_up: SetUp, about: &'static str) -> OperationInfo {
    OperationInfo { name, about, control: true, set_up }
}

/// All operations in the order in which they are measured.
pub const OPERATIONS: &[OperationInfo] = &[
    op("getppid", calls::getppid, "the shortest system call"),
    op("clock_gettime", calls::clock_gettime, "CLOCK_MONOTONIC through the vDSO"),
    op("read_1b", calls::read_1b, "pread of 1 byte from the page cache"),
    op("read_64k", calls::read_64k, "pread of 64 KiB from the page cache"),
    op("write_1b", calls::write_1b, "pwrite of 1 byte to the page cache"),
    op("write_64k", calls::write_64k, "pwrite of 64 KiB to the page cache"),
    op("open_close", calls::open_close, "openat of the program's file, close"),
    op("fstat", calls::fstat, "fstat of the program's file"),
    op("mmap_touch_unmap", memory::map_cycle, "mmap of a page, first write, munmap"),
    op("fault_anon", memory::fault_anon, "first write to a page of anonymous memory"),
    op("fault_file", memory::fault_file, "first write to a cached page of a shared file"),
    op("futex_wake", calls::futex_wake, "FUTEX_WAKE without a waiter"),
    op("pipe_round_trip", peer::pipe, "1 byte to another process and back, two pipes"),
    op("socketpair_round_trip", peer::socketpair, "1 byte there and back, Unix stream"),
    op("tcp_round_trip", peer::tcp, "1 byte there and back, TCP over loopback"),
    op("thread_create", process::thread, "pthread_create, pthread_join"),
    op("fork_wait", process::fork, "fork, the child exits, waitpid"),
    op("fork_exec", process::fork_exec, "fork, execve of the program itself, waitpid"),
    control("cpu_hash", cpu::hash, "SHA-256 of 4 KiB"),
    control("cpu_matrix", cpu::matrix, "product of two 32 x 32 matrices of f64"),
];

/// Measures one operation `repetitions` times for `slice_ns` each and hands
/// every line to `emit`. An operation that fails gives one line that says so.
pub fn measure(
    info: &OperationInfo,
    slice_ns: u64,
    repetitions: u32,
    emit: &mut dyn FnMut(&Line),
) {
    report(info.name, emit, |emit| {
        repeat(info.name, &mut *(info.set_up)()?, slice_ns, repetitions, emit)
    });
}

/// Lets `body` emit lines about the operation `name`, and one with its error
/// when it fails.
fn report(
    name: &str,
    emit: &mut dyn FnMut(&Line),
    body: impl FnOnce(&mut dyn FnMut(&Line)) -> io::Result<()>,
) {
    if let Err(error) = body(emit) {
        let outcome = Outcome::Failed { errno: error.raw_os_error().unwrap_or(0) };
        emit(&Line { operation: name.to_owned(), outcome });
    }
}

/// Repeats an operation often enough to fill `slice_ns`, `repetitions` times.
fn repeat(
    name: &str,
    operation: &mut dyn Operation,
    slice_ns: u64,
    repetitions: u32,
    emit: &mut dyn FnMut(&Line),
) -> io::Result<()> {
    // The first round pays for pages never touched before; it is not counted.
    operation.run(1)?;
    let mut rounds = 1;
    let mut done = 0;
    while done < repetitions {
        let start = now_ns();
        operation.run(rounds)?;
        let total_ns = now_ns().saturating_sub(start);
        if done == 0
            && let Some(more) = next_rounds(rounds, total_ns, slice_ns)
        {
            rounds = more;
            continue;
        }
        let iterations = rounds * operation.per_round();
        let outcome = Outcome::Timed { iterations, total_ns };
        emit(&Line { operation: name.to_owned(), outcome });
        done += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_operation_works_here_and_fills_its_slice() {
        const SLICE_NS: u64 = 500_000;
        // Executes /proc/self/exe, which is not the probe here: see tests/program.rs.
        for info in OPERATIONS.iter().filter(|info| info.name != "fork_exec") {
            let mut lines = Vec::new();
            measure(info, SLICE_NS, 2, &mut |line| lines.push(line.clone()));
            assert_eq!(lines.len(), 2, "{lines:?}");
            assert!(lines.iter().all(|line| line.operation == info.name));
            let Outcome::Timed { total_ns, .. } = lines[0].outcome else {
                panic!("{lines:?}");
            };
            assert!(total_ns >= SLICE_NS / 2, "{lines:?}");
        }
    }

    #[test]
    fn names_are_unique_words() {
        let names: BTreeSet<_> = OPERATIONS.iter().map(|info| info.name).collect();
        assert_eq!(names.len(), OPERATIONS.len());
        assert!(names.iter().all(|name| !name.contains([' ', ','])));
    }

    #[test]
    fn a_failure_is_a_line_with_its_error_number() {
        let refused = op("refused", || Err(io::Error::from_raw_os_error(libc::EPERM)), "");
        let mut lines = Vec::new();
        measure(&refused, 1, 3, &mut |line| lines.push(line.to_string()));
        assert_eq!(lines, ["refused error 1"]);
    }
}
