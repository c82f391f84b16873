//! Running the processor: serving its exits until the machine ends.

use std::sync::atomic::{AtomicBool, Ordering};

use bulkhead_guest::timer::PowerOff;
use kvm_ioctls::VcpuExit;
use serde::{Deserialize, Serialize};

use crate::devices::{GuestEnd, i8042, serial};
use crate::kvm::{Fault, GuestRam, Vcpu};
use crate::machine::Io;

/// How a machine ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// The guest powered itself off: the only good end of a Linux guest.
    PowerOff,
    /// The guest's PID 1 gave up, for this reason.
    GuestFailed(String),
    /// The guest reset the machine: its kernel panicked.
    Reset,
    /// The processor halted for good.
    Halted,
    /// An exception in the handler of an exception in the handler of an
    /// exception.
    TripleFault(Fault),
    /// KVM could not go on (`KVM_EXIT_INTERNAL_ERROR`).
    InternalError(Fault),
    /// The hardware refused to enter the guest.
    FailEntry {
        /// `hardware_entry_failure_reason`.
        reason: u64,
    },
    /// `KVM_RUN` failed.
    RunFailed {
        /// The error number.
        errno: i32,
    },
    /// An exit nobody should see.
    UnexpectedExit(String),
    /// The monitor asked for it.
    Stopped(Fault),
}

/// Runs the processor until the machine ends, or until it is interrupted by a
/// signal after `stop` was set.
pub fn run(vcpu: &mut Vcpu, io: &mut Io, ram: &GuestRam, stop: &AtomicBool) -> Ending {
    run_with(vcpu, io, ram, stop, |_| {})
}

/// As [`run`], and calls `interrupted` after each signal, when the processor is
/// between two instructions and no access to a device is under way.
pub fn run_with(
    vcpu: &mut Vcpu,
    io: &mut Io,
    ram: &GuestRam,
    stop: &AtomicBool,
    mut interrupted: impl FnMut(&Vcpu),
) -> Ending {
    loop {
        if stop.load(Ordering::Acquire) {
            return Ending::Stopped(vcpu.fault(ram, false));
        }
        match step(vcpu, io) {
            None => {}
            Some(Step::Interrupted) => interrupted(vcpu),
            Some(step) => return conclude(step, vcpu, ram),
        }
    }
}

/// Why the guest is not run on right away, before the processor is asked for
/// details.
enum Step {
    Interrupted,
    Ended(Ending),
    TripleFault,
    InternalError,
}

fn step(vcpu: &mut Vcpu, io: &mut Io) -> Option<Step> {
    let exit = match vcpu.run() {
        Ok(exit) => exit,
        Err(error) if error.errno() == libc::EINTR => return Some(Step::Interrupted),
        Err(error) if error.errno() == libc::EAGAIN => return None,
        Err(error) => return Some(Step::Ended(Ending::RunFailed { errno: error.errno() })),
    };
    match exit {
        VcpuExit::MmioWrite(address, data) => io.mmio.write(address, data).map(end),
        VcpuExit::MmioRead(address, data) => {
            io.mmio.read(address, data);
            None
        }
        VcpuExit::IoOut(port, data) => io.port_write(port, data).map(end),
        VcpuExit::IoIn(port, data) => {
            io.port_read(port, data);
            None
        }
        VcpuExit::Intr => Some(Step::Interrupted),
        VcpuExit::Hlt => Some(Step::Ended(Ending::Halted)),
        VcpuExit::Shutdown => Some(Step::TripleFault),
        VcpuExit::InternalError => Some(Step::InternalError),
        VcpuExit::FailEntry(reason, _cpu) => Some(Step::Ended(Ending::FailEntry { reason })),
        other => Some(Step::Ended(Ending::UnexpectedExit(format!("{other:?}")))),
    }
}

fn end(end: GuestEnd) -> Step {
    Step::Ended(match end {
        GuestEnd::Reset => Ending::Reset,
        GuestEnd::PowerOff(value) => match PowerOff::from_register(value) {
            PowerOff::Done => Ending::PowerOff,
            PowerOff::Panicked { line } => {
                Ending::GuestFailed(format!("the guest's PID 1 panicked at line {line}"))
            }
            PowerOff::Failed { step, errno } => Ending::GuestFailed(format!(
                "the guest failed in {}: {}",
                step.as_str(),
                std::io::Error::from_raw_os_error(errno)
            )),
            PowerOff::Unknown(value) => {
                Ending::GuestFailed(format!("the guest powered off with code {value:#x}"))
            }
        },
    })
}

fn conclude(step: Step, vcpu: &mut Vcpu, ram: &GuestRam) -> Ending {
    match step {
        Step::Interrupted => Ending::Stopped(vcpu.fault(ram, false)),
        Step::Ended(ending) => ending,
        Step::TripleFault => Ending::TripleFault(vcpu.fault(ram, false)),
        Step::InternalError => Ending::InternalError(vcpu.fault(ram, true)),
    }
}

impl Io {
    fn port_write(&mut self, port: u16, data: &[u8]) -> Option<GuestEnd> {
        match (port, &mut self.console) {
            (i8042::PORT, _) => i8042::write(data),
            (port, Some(console)) => {
                if let Some(register) = serial_register(port) {
                    console.write(register, data);
                }
                None
            }
            _ => None,
        }
    }

    fn port_read(&mut self, port: u16, data: &mut [u8]) {
        match (port, &mut self.console, serial_register(port)) {
            (i8042::PORT, _, _) => i8042::read(data),
            (_, Some(console), Some(register)) => console.read(register, data),
            // Nothing answers: the bus floats high.
            _ => data.fill(0xff),
        }
    }
}

fn serial_register(port: u16) -> Option<u8> {
    let offset = port.checked_sub(serial::PORT)?;
    u8::try_from(offset).ok().filter(|_| offset < serial::PORTS)
}
