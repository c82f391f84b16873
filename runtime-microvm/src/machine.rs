//! A microVM put together: memory, processor, devices, kernel.
//!
//! What starts it, watches it and reports on it is `monitor/`.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::boot::command_line::KernelMessages;
use crate::boot::{self, BootError, layout};
use crate::config::RootDisk;
use crate::devices::boot_timer::BootTimer;
use crate::devices::bus::{MmioBus, MmioDevice};
use crate::devices::ioapic::IoApic;
use crate::devices::serial::Console;
use crate::devices::virtio::VirtioDevice;
use crate::devices::virtio::balloon::{Balloon, BalloonMetrics};
use crate::devices::virtio::block::{Block, BlockMetrics};
use crate::devices::virtio::disk::{DiskError, DiskImage};
use crate::devices::virtio::mmio::MmioTransport;
use crate::devices::virtio::pmem::{Pmem, PmemMetrics};
use crate::devices::virtio::rng::{Rng, RngMetrics};
use crate::devices::virtio::vsock::{Vsock, VsockError, VsockMetrics};
use crate::kvm::{
    self, GuestRam, KvmError, MapError, MappedFile, MemoryError, StatsFd, System, Vcpu, Vm,
    cpuid, map_ram,
};
use crate::timeline::SharedTimeline;

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
    /// The host's side of vsock cannot be set up.
    #[error(transparent)]
    Vsock(#[from] VsockError),
}

/// A machine, ready for its first instruction.
#[derive(Debug)]
pub struct Machine {
    /// Its processor.
    pub vcpu: Vcpu,
    /// What the processor's accesses go to.
    pub io: Io,
    /// Its memory.
    pub ram: Arc<GuestRam>,
    /// The devices of a Linux guest.
    pub devices: Option<Devices>,
    /// The statistics of the VM and of its processor, where KVM keeps any.
    pub stats: Vec<StatsFd>,
    /// The command line, to recognise the kernel's log by.
    pub command_line: String,
    vm: Arc<Vm>,
}

/// Where the accesses of the processor go.
#[derive(Debug)]
pub struct Io {
    /// Memory-mapped registers.
    pub mmio: MmioBus,
    /// The serial port.
    pub console: Option<Console>,
}

/// The virtio devices before they are plugged in.
struct Virtio {
    root: Option<Root>,
    vsock: Vsock,
    rng: Option<Rng>,
    balloon: Option<Balloon>,
}

/// The root filesystem's disk, as one device or the other.
enum Root {
    Blk(Block),
    Pmem(Pmem),
}

impl Root {
    fn open(linux: &Linux, memory_mib: u32) -> Result<Self, MachineError> {
        let image = DiskImage::open(&linux.disk)?;
        Ok(match linux.root_disk {
            RootDisk::Blk => Self::Blk(Block::new(image, "bulkhead-root")),
            RootDisk::Pmem => {
                let start = layout::above_memory(u64::from(memory_mib) << 20);
                Self::Pmem(Pmem::new(MappedFile::new(&image.file, image.len, start)?))
            }
        })
    }
}

/// The virtio devices of a Linux guest, shared between the processor's thread
/// and the event loop.
#[derive(Debug, Clone)]
pub struct Devices {
    block: Option<Arc<Mutex<MmioTransport<Block>>>>,
    pmem: Option<Arc<Mutex<MmioTransport<Pmem>>>>,
    /// The connections to the host.
    pub vsock: Arc<Mutex<MmioTransport<Vsock>>>,
    rng: Option<Arc<Mutex<MmioTransport<Rng>>>>,
    balloon: Option<Arc<Mutex<MmioTransport<Balloon>>>>,
}

/// What the devices did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceMetrics {
    /// The disk that is read.
    pub block: BlockMetrics,
    /// The disk that is mapped.
    pub pmem: PmemMetrics,
    /// The connections.
    pub vsock: VsockMetrics,
    /// The source of randomness.
    pub rng: RngMetrics,
    /// The memory given back.
    pub balloon: BalloonMetrics,
}

impl Machine {
    /// Builds the machine.
    ///
    /// Memory slots come before the interrupt controller: afterwards each would
    /// wait for the kernel (see [`Vm::set_memory`]).
    ///
    /// # Errors
    ///
    /// [`MachineError`].
    pub fn build(config: MachineConfig) -> Result<Self, MachineError> {
        let system = System::open()?;
        let ram = Arc::new(map_ram(config.memory_mib)?);
        let vm = Arc::new(system.create_vm()?);
        vm.set_memory(&ram)?;
        let root = match &config.guest {
            Guest::Linux(linux) => Some(Root::open(linux, config.memory_mib)?),
            Guest::Raw(_) | Guest::RawLong(_) => None,
        };
        if let Some(Root::Pmem(pmem)) = &root {
            vm.set_read_only(&ram, pmem.file())?;
        }
        if config.intel {
            vm.set_tss_address()?;
        }
        vm.split_irqchip()?;
        let vcpu = vm.create_vcpu()?;
        let io_apic = IoApic::new(vm.clone());
        let mut io = Io { mmio: MmioBus::default(), console: None };
        let stats: Vec<StatsFd> = [vm.stats(), vcpu.stats()].into_iter().flatten().collect();
        let of_timer = stats.iter().filter_map(|fd| fd.try_clone().ok()).collect();
        let timer = BootTimer::new(config.timeline, of_timer);
        io.mmio.insert(layout::BOOT_TIMER, Arc::new(Mutex::new(timer)));

        let mut devices = None;
        let mut command_line = String::new();
        let entry = match config.guest {
            Guest::Raw(code) => boot::raw(&ram, &code)?,
            Guest::RawLong(code) => boot::raw_long(&ram, &code)?,
            Guest::Linux(linux) => {
                let messages = match &linux.console {
                    Some(_) => KernelMessages::Serial,
                    None => KernelMessages::Quiet,
                };
                if let Some(log) = linux.console {
                    io.console = Some(Console::new(io_apic.line(layout::SERIAL_IRQ), log));
                }
                let rng = linux.entropy_device.then(Rng::new);
                let balloon = linux.balloon.then(Balloon::new);
                let virtio = Virtio { root, vsock: linux.vsock, rng, balloon };
                let attached = Devices::attach(&mut io.mmio, &io_apic, &ram, virtio);
                let count = attached.count();
                devices = Some(attached);
                command_line = boot::command_line::linux(
                    messages,
                    linux.root_disk,
                    count,
                    &linux.extra_command_line,
                );
                boot::linux(&ram, &linux.kernel, &command_line)?
            }
        };
        io.mmio.insert(layout::IO_APIC, Arc::new(Mutex::new(io_apic)));

        let mut cpuid = system.supported_cpuid()?;
        cpuid::single_processor(&mut cpuid, system.has_tsc_deadline());
        vcpu.prepare(&cpuid, entry)?;
        Ok(Self { vcpu, io, ram, devices, stats, command_line, vm })
    }

    /// Keeps the VM and takes the processor and its accesses out, for the thread
    /// that runs them.
    #[must_use]
    pub fn split(self) -> (Vcpu, Io, Rest) {
        let rest = Rest {
            ram: self.ram,
            devices: self.devices,
            stats: self.stats,
            command_line: self.command_line,
            vm: self.vm,
        };
        (self.vcpu, self.io, rest)
    }
}

/// What of a machine stays with the event loop.
#[derive(Debug)]
pub struct Rest {
    /// Guest memory.
    pub ram: Arc<GuestRam>,
    /// The devices of a Linux guest.
    pub devices: Option<Devices>,
    /// The statistics of the VM and of its processor.
    pub stats: Vec<StatsFd>,
    /// The command line.
    pub command_line: String,
    #[expect(dead_code, reason = "keeps the VM alive")]
    vm: Arc<kvm::Vm>,
}

impl Devices {
    /// Number of virtio devices.
    fn count(&self) -> u8 {
        2 + u8::from(self.rng.is_some()) + u8::from(self.balloon.is_some())
    }

    /// Puts the devices on the bus, in the order the command line names them.
    fn attach(
        bus: &mut MmioBus,
        io_apic: &IoApic,
        ram: &Arc<GuestRam>,
        virtio: Virtio,
    ) -> Self {
        let mut plug = Plug { bus, io_apic, ram, next: 0 };
        let (block, pmem) = match virtio.root {
            Some(Root::Blk(block)) => (Some(plug.in_next(block)), None),
            Some(Root::Pmem(pmem)) => (None, Some(plug.in_next(pmem))),
            None => (None, None),
        };
        Self {
            block,
            pmem,
            vsock: plug.in_next(virtio.vsock),
            rng: virtio.rng.map(|rng| plug.in_next(rng)),
            balloon: virtio.balloon.map(|balloon| plug.in_next(balloon)),
        }
    }

    /// What the devices did so far.
    #[must_use]
    pub fn metrics(&self) -> DeviceMetrics {
        type Plugged<D> = Arc<Mutex<MmioTransport<D>>>;
        fn of<D: VirtioDevice, M>(plugged: &Plugged<D>, metrics: impl Fn(&D) -> M) -> M {
            metrics(plugged.lock().unwrap_or_else(PoisonError::into_inner).device())
        }
        fn of_any<D: VirtioDevice, M: Default>(
            plugged: Option<&Plugged<D>>,
            metrics: impl Fn(&D) -> M,
        ) -> M {
            plugged.map(|plugged| of(plugged, metrics)).unwrap_or_default()
        }
        DeviceMetrics {
            block: of_any(self.block.as_ref(), Block::metrics),
            pmem: of_any(self.pmem.as_ref(), Pmem::metrics),
            vsock: of(&self.vsock, Vsock::metrics),
            rng: of_any(self.rng.as_ref(), Rng::metrics),
            balloon: of_any(self.balloon.as_ref(), Balloon::metrics),
        }
    }
}

/// Puts devices into one slot of the bus after the other.
struct Plug<'a> {
    bus: &'a mut MmioBus,
    io_apic: &'a IoApic,
    ram: &'a Arc<GuestRam>,
    next: u8,
}

impl Plug<'_> {
    fn in_next<D: VirtioDevice + 'static>(
        &mut self,
        device: D,
    ) -> Arc<Mutex<MmioTransport<D>>> {
        let line = self.io_apic.line(layout::virtio_irq(self.next));
        let transport = MmioTransport::new(device, self.ram.clone(), line);
        let shared = Arc::new(Mutex::new(transport));
        let on_bus: Arc<Mutex<dyn MmioDevice>> = shared.clone();
        self.bus.insert(layout::virtio_mmio(self.next), on_bus);
        self.next += 1;
        shared
    }
}
