//! A virtual processor with a few bytes of code and nothing else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bulkhead_kernels::KvmFlavour;
use kvm_ioctls::VcpuExit;

use super::ProfileError;
use crate::boot::{self, Ring};
use crate::kvm::{GuestRam, System, Vcpu, Vm, cpuid, map_ram};

/// Guest memory, MiB: the code is at 1 MiB.
const MEMORY_MIB: u32 = 2;

/// A guest without an operating system, ready for its first instruction.
pub struct Bare {
    pub vm: Arc<Vm>,
    pub vcpu: Vcpu,
    pub ram: GuestRam,
    pub cost: Cost,
}

/// What it took to make one.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// `KVM_CREATE_VM`.
    pub vm: Duration,
    /// `KVM_CREATE_VCPU`.
    pub vcpu: Duration,
}

/// What a guest asked of its monitor.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// It wrote a port.
    Port(u8),
    /// It read an address without memory, and got what it was answered.
    Read,
    /// It wrote one.
    Write,
}

impl Bare {
    /// Makes a VM around `code`. It gets what our Linux guests have: memory first,
    /// the local APIC in the kernel, one processor.
    pub fn new(system: &System, code: &[u8], ring: Ring) -> Result<Self, ProfileError> {
        let ram = map_ram(MEMORY_MIB)?;
        let begin = Instant::now();
        let vm = system.create_vm()?;
        let vm_cost = begin.elapsed();
        vm.set_memory(&ram)?;
        if KvmFlavour::detect() == KvmFlavour::Intel {
            vm.set_tss_address()?;
        }
        vm.split_irqchip()?;
        let begin = Instant::now();
        let vcpu = vm.create_vcpu()?;
        let vcpu_cost = begin.elapsed();
        let mut features = system.supported_cpuid()?;
        cpuid::single_processor(&mut features, system.has_tsc_deadline());
        vcpu.prepare(&features, boot::bare(&ram, code, ring)?)?;
        let cost = Cost { vm: vm_cost, vcpu: vcpu_cost };
        Ok(Self { vm: Arc::new(vm), vcpu, ram, cost })
    }

    /// Runs the guest until it asks for something; `answer` is what it reads.
    pub fn next(&mut self, answer: u32) -> Result<Event, ProfileError> {
        loop {
            return match self.vcpu.run() {
                Ok(VcpuExit::IoOut(port, _)) => {
                    Ok(Event::Port(u8::try_from(port).unwrap_or(u8::MAX)))
                }
                Ok(VcpuExit::MmioWrite(..)) => Ok(Event::Write),
                Ok(VcpuExit::MmioRead(_, data)) => {
                    let bytes = answer.to_le_bytes();
                    let len = data.len().min(bytes.len());
                    data[..len].copy_from_slice(&bytes[..len]);
                    Ok(Event::Read)
                }
                Ok(other) => Err(ProfileError::Exit(format!("{other:?}"))),
                Err(error) if error.errno() == libc::EAGAIN => continue,
                Err(error) => {
                    Err(ProfileError::Run(std::io::Error::from_raw_os_error(error.errno())))
                }
            };
        }
    }

    /// Runs the guest until it asks for exactly this.
    pub fn expect(&mut self, event: &Event, answer: u32) -> Result<(), ProfileError> {
        let found = self.next(answer)?;
        if found == *event {
            return Ok(());
        }
        Err(ProfileError::Exit(format!("{found:?} in the place of {event:?}")))
    }

    /// Time for `iterations` of a guest that asks how many.
    pub fn iterations(&mut self, iterations: u32) -> Result<Duration, ProfileError> {
        self.expect(&Event::Read, iterations)?;
        let begin = Instant::now();
        self.expect(&Event::Write, 0)?;
        Ok(begin.elapsed())
    }

    /// Time for `count` times the same event.
    pub fn events(&mut self, event: &Event, count: u32) -> Result<Duration, ProfileError> {
        let begin = Instant::now();
        for _ in 0..count {
            self.expect(event, 0)?;
        }
        Ok(begin.elapsed())
    }
}
