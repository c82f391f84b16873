//! What the processor and the memory do when the kernel is left out of it: a
//! hash that fits into the nearest cache, and streams that fit into none.
//!
//! The streams are those of STREAM (J. McCalpin), and so is the counting: the
//! bytes a round reads and writes, without those a cache fetches on its own
//! account. They are counted in bytes where other operations are counted in
//! calls: a line's iterations are bytes.

use std::arch::asm;
use std::hint::black_box;
use std::io;

use super::memory::{ANONYMOUS, Mapping};
use super::{Operation, cpu, repeat, report};
use crate::line::Line;

/// Bytes one round of [`cpu::hash`] hashes.
const HASHED: u64 = 4096;

const MIB: usize = 1 << 20;

/// Measures the hash, then each stream over `mib` mebibytes of memory.
pub fn measure(mib: usize, slice_ns: u64, emit: &mut dyn FnMut(&Line)) {
    report("hash", emit, |emit| {
        repeat("hash", &mut Counted { inner: cpu::hash()?, bytes: HASHED }, slice_ns, 1, emit)
    });
    let mut region = None;
    report("copy", emit, |emit| {
        // Written to by the kernel beforehand: a page that was only ever read is the
        // one page of zeros, whatever its address, and never leaves the cache.
        let length = mib.checked_mul(MIB).ok_or(io::ErrorKind::InvalidInput)?;
        let region = region.insert(Mapping::new(length, ANONYMOUS | libc::MAP_POPULATE, None)?);
        repeat("copy", &mut Copy(region.numbers()), slice_ns, 1, emit)
    });
    report("triad", emit, |emit| {
        let region = region.as_mut().ok_or(io::Error::from_raw_os_error(libc::ENOMEM))?;
        repeat("triad", &mut Triad(region.numbers()), slice_ns, 1, emit)
    });
}

/// An operation counted in bytes.
struct Counted {
    inner: Box<dyn Operation>,
    bytes: u64,
}

impl Operation for Counted {
    fn run(&mut self, rounds: u64) -> io::Result<()> {
        self.inner.run(rounds)
    }

    fn per_round(&self) -> u64 {
        self.bytes
    }
}

/// Copies the upper half of the memory to the lower.
struct Copy<'a>(&'a mut [f64]);

impl Operation for Copy<'_> {
    fn run(&mut self, rounds: u64) -> io::Result<()> {
        for _ in 0..rounds {
            let (to, from) = halves(self.0);
            copy(to, from);
        }
        Ok(())
    }

    fn per_round(&self) -> u64 {
        2 * (self.0.len() / 2 * size_of::<f64>()) as u64
    }
}

fn halves(memory: &mut [f64]) -> (&mut [f64], &[f64]) {
    let (to, from) = memory.split_at_mut(memory.len() / 2);
    let length = to.len();
    (to, &from[..length])
}

/// Copies with the processor's own instruction for it. The C library would
/// choose one of several loops by what CPUID says, which a wall may change.
fn copy(to: &mut [f64], from: &[f64]) {
    assert_eq!(to.len(), from.len());
    // SAFETY: both are valid for as many words as are copied, and do not overlap;
    // the direction flag is clear (System V ABI, AMD64 supplement, 3.2.1).
    unsafe {
        asm!(
            "rep movsq",
            inout("rcx") to.len() => _,
            inout("rdi") to.as_mut_ptr() => _,
            inout("rsi") from.as_ptr() => _,
            options(nostack, preserves_flags),
        );
    }
}

/// The first third of the memory becomes the second plus a multiple of the last.
struct Triad<'a>(&'a mut [f64]);

impl Operation for Triad<'_> {
    fn run(&mut self, rounds: u64) -> io::Result<()> {
        for _ in 0..rounds {
            triad(self.0, black_box(3.0));
            black_box(&mut *self.0);
        }
        Ok(())
    }

    fn per_round(&self) -> u64 {
        3 * (self.0.len() / 3 * size_of::<f64>()) as u64
    }
}

fn triad(memory: &mut [f64], factor: f64) {
    let third = memory.len() / 3;
    let (sums, rest) = memory.split_at_mut(third);
    let (left, right) = rest.split_at(third);
    for ((sum, left), right) in sums.iter_mut().zip(left).zip(right) {
        *sum = left + factor * right;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::Outcome;

    #[test]
    fn copies_and_adds_as_defined() {
        let mut memory = [0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 9.0];
        let (to, from) = halves(&mut memory);
        copy(to, from);
        assert_eq!(memory, [1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 9.0]);
        triad(&mut memory, 10.0);
        assert_eq!(memory, [23.0, 31.0, 3.0, 1.0, 2.0, 3.0, 9.0]);
    }

    #[test]
    fn every_stream_counts_its_bytes() {
        let mut lines = Vec::new();
        measure(3, 100_000, &mut |line| lines.push(line.clone()));
        let names: Vec<_> = lines.iter().map(|line| line.operation.as_str()).collect();
        assert_eq!(names, ["hash", "copy", "triad"]);
        for (line, unit) in lines.iter().zip([4096, 3 << 20, 3 << 20]) {
            let Outcome::Timed { iterations, .. } = line.outcome else { panic!("{line:?}") };
            assert_eq!(iterations % unit, 0, "{line:?}");
        }
    }

    #[test]
    fn more_memory_than_there_is_addresses_is_an_error() {
        let mut lines = Vec::new();
        measure(usize::MAX, 1, &mut |line| lines.push(line.to_string()));
        assert_eq!(lines[1..], ["copy error 0", "triad error 12"]);
    }
}
