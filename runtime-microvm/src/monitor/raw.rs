//! A few bytes of machine code in a machine of their own: what the monitor
//! itself costs, without an operating system.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use bulkhead_kernels::KvmFlavour;
use bulkhead_runtime::{Clock, Instant};

use super::processor::{self, Limits};
use crate::machine::{Guest, Machine, MachineConfig};
use crate::timeline::SharedTimeline;
use crate::vcpu_loop::Ending;

/// Guest memory, MiB: what a small Linux guest has.
const MEMORY_MIB: u32 = 128;

/// Runs the code in `file` in real mode, at address 0x1000, until it resets the
/// machine by the keyboard controller.
///
/// `BULKHEAD_RAW_HOLD` keeps the process until its standard input ends, so
/// that its memory can be looked at.
pub fn run(file: &Path) -> ExitCode {
    match try_run(file) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("microvm-monitor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn try_run(file: &Path) -> Result<bool, Box<dyn std::error::Error>> {
    let code = std::fs::read(file)?;
    let timeline = Arc::new(SharedTimeline::anonymous()?);
    let machine = Machine::build(MachineConfig {
        memory_mib: MEMORY_MIB,
        guest: Guest::Raw(code),
        timeline: timeline.clone(),
        intel: KvmFlavour::detect() == KvmFlavour::Intel,
    })?;
    let Machine { vcpu, io, rest } = machine;
    let processor =
        processor::start(vcpu, io, rest.ram.clone(), timeline.clone(), Limits::default())?;
    processor.wait()?;
    let ending = processor.ending();
    let first = timeline.get(Clock::FirstGuestInstruction).map_or(0, Instant::as_nanos);
    println!("first guest instruction at {first} ns of CLOCK_MONOTONIC; {ending:?}");
    if std::env::var_os("BULKHEAD_RAW_HOLD").is_some() {
        std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())?;
    }
    // A halted processor sleeps in the kernel: such a guest resets its machine.
    Ok(ending == Some(Ending::Reset))
}
