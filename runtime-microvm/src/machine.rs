//! A microVM put together: memory, processor, devices, kernel.
//!
//! What starts it, watches it and reports on it is `monitor/`.

mod devices;
mod persist;

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bulkhead_guest::protocol::SHARES_TAG;
use kvm_bindings::CpuId;

use crate::boot::command_line::KernelMessages;
use crate::boot::{self, BootError, layout};
use crate::config::RootDisk;
use crate::devices::boot_timer::BootTimer;
use crate::devices::bus::MmioBus;
use crate::devices::ioapic::IoApic;
use crate::devices::serial::Console;
use crate::devices::virtio::balloon::Balloon;
use crate::devices::virtio::disk::DiskError;
use crate::devices::virtio::fs::{Ask, Fs};
use crate::devices::virtio::net::{Net, TapError};
use crate::devices::virtio::persist::RestoreError;
use crate::devices::virtio::rng::Rng;
use crate::devices::virtio::vsock::{Vsock, VsockError};
use crate::kvm::{
    GuestRam, KvmError, MapError, MemoryError, StatsFd, System, Vcpu, Vm, cpuid, map_ram,
};
use crate::timeline::SharedTimeline;

pub use devices::{DeviceMetrics, Devices, NET_TOKEN};
use devices::{Root, Virtio};
pub use persist::{MachineState, Saved};

/// What the machine is to be.
#[derive(Debug)]
pub struct MachineConfig {
    /// Guest memory, MiB.
    pub memory_mib: u32,
    /// What runs in it.
    pub guest: Guest,
    /// Where milestones are stamped.
    pub timeline: Arc<SharedTimeline>,
    /// The processor's vendor needs [`Vm::set_tss_address`].
    pub intel: bool,
}

/// What runs in a machine.
#[derive(Debug)]
pub enum Guest {
    /// Linux, with its devices.
    Linux(Box<Linux>),
    /// A few bytes of machine code without devices, entered in real mode.
    Raw(Vec<u8>),
    /// The same, entered in 64-bit mode.
    RawLong(Vec<u8>),
}

/// A Linux guest.
#[derive(Debug)]
pub struct Linux {
    /// The kernel, an ELF `vmlinux` or a bzImage.
    pub kernel: PathBuf,
    /// What is added to the kernel command line.
    pub extra_command_line: String,
    /// The root filesystem.
    pub disk: PathBuf,
    /// How it is shown that.
    pub root_disk: RootDisk,
    /// Where the host's side of vsock connections is.
    pub vsock: Vsock,
    /// Whether it gets a virtio source of randomness.
    pub entropy_device: bool,
    /// Whether it can give memory back that it has freed.
    pub balloon: bool,
    /// Its network card.
    pub net: Option<Net>,
    /// Whether it has a device for files of the host, and who answers there.
    pub files: Option<Option<Box<dyn Ask>>>,
    /// Where the kernel's messages go, when they are wanted.
    pub console: Option<File>,
}

/// A machine that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// KVM refused something.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// Guest memory cannot be had.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The kernel cannot be loaded.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The root filesystem's disk cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The disk cannot be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The host's side of the network card cannot be used.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// The host's side of vsock cannot be set up.
    #[error(transparent)]
    Vsock(#[from] VsockError),
    /// A saved device does not fit.
    #[error("cannot put the saved devices back")]
    Restore(#[from] RestoreError),
    /// The machine was saved on a host with another processor.
    #[error(
        "the machine was saved on another processor, or under another KVM (CPUID leaf {leaf:#x} \
         differs)"
    )]
    OtherProcessor {
        /// The first leaf that differs.
        leaf: u32,
    },
}

/// A machine, ready for its first instruction: two parts for the thread that runs it,
/// and the rest.
#[derive(Debug)]
pub struct Machine {
    /// Its processor.
    pub vcpu: Vcpu,
    /// What the processor's accesses go to.
    pub io: Io,
    /// What stays with the event loop.
    pub rest: Rest,
}

/// What of a machine stays with the event loop.
#[derive(Debug)]
pub struct Rest {
    /// Guest memory.
    pub ram: Arc<GuestRam>,
    /// The devices of a Linux guest.
    pub devices: Option<Devices>,
    /// The statistics of the VM and of its processor, where KVM keeps any.
    pub stats: Vec<StatsFd>,
    /// The command line.
    pub command_line: String,
    /// Numbers of the MSRs that make up the processor's state.
    pub msr_indices: Vec<u32>,
    vm: Arc<Vm>,
    io_apic: IoApic,
    cpuid: CpuId,
}

/// Where the accesses of the processor go.
#[derive(Debug)]
pub struct Io {
    /// Memory-mapped registers.
    pub mmio: MmioBus,
    /// The serial port.
    pub console: Option<Console>,
}

impl Machine {
    /// Builds the machine.
    ///
    /// # Errors
    ///
    /// [`MachineError`].
    pub fn build(config: MachineConfig) -> Result<Self, MachineError> {
        let ram = Arc::new(map_ram(config.memory_mib)?);
        let root = match &config.guest {
            Guest::Linux(linux) => {
                Some(Root::open(&linux.disk, linux.root_disk, config.memory_mib)?)
            }
            Guest::Raw(_) | Guest::RawLong(_) => None,
        };
        let mut machine = Self::empty(ram, root.as_ref(), config.timeline, config.intel)?;
        let ram = &machine.rest.ram;
        let entry = match config.guest {
            Guest::Raw(code) => boot::raw(ram, &code)?,
            Guest::RawLong(code) => boot::raw_long(ram, &code)?,
            Guest::Linux(linux) => {
                let messages = match &linux.console {
                    Some(_) => KernelMessages::Serial,
                    None => KernelMessages::Quiet,
                };
                if let Some(log) = linux.console {
                    let line = machine.rest.io_apic.line(layout::SERIAL_IRQ);
                    machine.io.console = Some(Console::new(line, log));
                }
                let rng = linux.entropy_device.then(Rng::new);
                let balloon = linux.balloon.then(Balloon::new);
                let fs = linux.files.map(|asker| Fs::new(SHARES_TAG, asker));
                let net = linux.net;
                let virtio = Virtio { root, vsock: linux.vsock, rng, balloon, net, fs };
                let count = machine.attach(virtio).count();
                machine.rest.command_line = boot::command_line::linux(
                    messages,
                    linux.root_disk,
                    count,
                    &linux.extra_command_line,
                );
                let rest = &machine.rest;
                boot::linux(&rest.ram, &linux.kernel, &rest.command_line)?
            }
        };
        machine.vcpu.prepare(&machine.rest.cpuid, entry)?;
        Ok(machine)
    }

    /// A machine with memory, a processor that has no state yet, and what any guest
    /// has.
    ///
    /// Memory slots come before the interrupt controller: afterwards each would
    /// wait for the kernel (see [`Vm::set_memory`]).
    fn empty(
        ram: Arc<GuestRam>,
        root: Option<&Root>,
        timeline: Arc<SharedTimeline>,
        intel: bool,
    ) -> Result<Self, MachineError> {
        let system = System::open()?;
        let vm = Arc::new(system.create_vm()?);
        vm.set_memory(&ram)?;
        if let Some(Root::Pmem(pmem)) = root {
            vm.set_read_only(&ram, pmem.file())?;
        }
        if intel {
            vm.set_tss_address()?;
        }
        vm.split_irqchip()?;
        let vcpu = vm.create_vcpu()?;
        let io_apic = IoApic::new(vm.clone());
        let mut io = Io { mmio: MmioBus::default(), console: None };
        let stats: Vec<StatsFd> = [vm.stats(), vcpu.stats()].into_iter().flatten().collect();
        let of_timer = stats.iter().filter_map(|fd| fd.try_clone().ok()).collect();
        let timer = BootTimer::new(timeline, of_timer);
        io.mmio.insert(layout::BOOT_TIMER, Arc::new(Mutex::new(timer)));
        io.mmio.insert(layout::IO_APIC, Arc::new(Mutex::new(io_apic.clone())));
        let mut cpuid = system.supported_cpuid()?;
        cpuid::single_processor(&mut cpuid, system.has_tsc_deadline());
        let rest = Rest {
            ram,
            devices: None,
            stats,
            command_line: String::new(),
            msr_indices: system.msr_indices()?,
            vm,
            io_apic,
            cpuid,
        };
        Ok(Self { vcpu, io, rest })
    }

    fn attach(&mut self, virtio: Virtio) -> &Devices {
        let rest = &mut self.rest;
        let devices = Devices::attach(&mut self.io.mmio, &rest.io_apic, &rest.ram, virtio);
        rest.devices.insert(devices)
    }
}
