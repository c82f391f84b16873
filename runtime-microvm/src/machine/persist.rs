//! A machine between two instructions: taken apart into what can be written to a
//! file, and put together again in another process.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use bulkhead_guest::protocol::SHARES_TAG;
use kvm_bindings::kvm_cpuid_entry2;
use serde::{Deserialize, Serialize};

use super::{Devices, Machine, MachineError, Rest, Root, Virtio};
use crate::config::RootDisk;
use crate::devices::ioapic::IoApicState;
use crate::devices::virtio::balloon::{Balloon, BalloonState};
use crate::devices::virtio::block::BlockState;
use crate::devices::virtio::fs::{Ask, Fs, FsState};
use crate::devices::virtio::mmio::{MmioTransport, TransportState};
use crate::devices::virtio::net::{Net, NetState};
use crate::devices::virtio::persist::{Persist, RestoreError};
use crate::devices::virtio::pmem::PmemState;
use crate::devices::virtio::rng::{Rng, RngState};
use crate::devices::virtio::vsock::{Vsock, VsockState};
use crate::kvm::{GuestRam, KvmError, VcpuState, VmClock};
use crate::timeline::SharedTimeline;

/// Everything of a machine but its memory.
#[derive(Debug, Serialize, Deserialize)]
pub struct MachineState {
    /// What the guest was told of its processor: a guest cannot do without what it
    /// has found there once.
    cpuid: Vec<kvm_cpuid_entry2>,
    vcpu: VcpuState,
    clock: VmClock,
    io_apic: IoApicState,
    devices: DevicesState,
}

/// The virtio devices of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevicesState {
    block: Option<TransportState<BlockState>>,
    pmem: Option<TransportState<PmemState>>,
    vsock: TransportState<VsockState>,
    rng: Option<TransportState<RngState>>,
    balloon: Option<TransportState<BalloonState>>,
    net: Option<TransportState<NetState>>,
    fs: Option<TransportState<FsState>>,
}

/// A saved machine and what it is to be connected to.
#[derive(Debug)]
pub struct Saved {
    /// Its memory.
    pub ram: GuestRam,
    /// How much of it, MiB.
    pub memory_mib: u32,
    /// The rest of it.
    pub state: MachineState,
    /// The root filesystem.
    pub disk: PathBuf,
    /// Where the host's side of vsock connections is.
    pub vsock: Vsock,
    /// Its network card, if it has a network.
    pub net: Option<Net>,
    /// Who answers for the files of the host.
    pub files: Option<Box<dyn Ask>>,
    /// Where milestones are stamped.
    pub timeline: Arc<SharedTimeline>,
    /// The processor's vendor needs [`crate::kvm::Vm::set_tss_address`].
    pub intel: bool,
}

impl Rest {
    /// The state of the machine whose processor is paused in the state `vcpu`;
    /// `None` for one without devices.
    ///
    /// # Errors
    ///
    /// [`KvmError`].
    pub fn save(&self, vcpu: VcpuState) -> Result<Option<MachineState>, KvmError> {
        let Some(devices) = &self.devices else { return Ok(None) };
        Ok(Some(MachineState {
            cpuid: self.cpuid.as_slice().to_vec(),
            vcpu,
            clock: self.vm.clock()?,
            io_apic: self.io_apic.save(),
            devices: devices.save(),
        }))
    }
}

impl Machine {
    /// Puts a saved machine together again.
    ///
    /// # Errors
    ///
    /// [`MachineError`].
    pub fn restore(saved: Saved) -> Result<Self, MachineError> {
        let state = &saved.state;
        let ram = Arc::new(saved.ram);
        let shown = if state.devices.pmem.is_some() { RootDisk::Pmem } else { RootDisk::Blk };
        let root = Some(Root::open(&saved.disk, shown, saved.memory_mib)?);
        let mut machine = Self::empty(ram, root.as_ref(), saved.timeline, saved.intel)?;
        if let Some(leaf) = first_difference(machine.rest.cpuid.as_slice(), &state.cpuid) {
            return Err(MachineError::OtherProcessor { leaf });
        }
        let rng = state.devices.rng.is_some().then(Rng::new);
        let balloon = state.devices.balloon.is_some().then(Balloon::new);
        let net = state.devices.net.is_some().then(|| saved.net.unwrap_or_default());
        let fs = state.devices.fs.is_some().then(|| Fs::new(SHARES_TAG, saved.files));
        let virtio = Virtio { root, vsock: saved.vsock, rng, balloon, net, fs };
        machine.rest.io_apic.restore(&state.io_apic);
        machine.attach(virtio).restore(&state.devices)?;
        machine.vcpu.restore(&machine.rest.cpuid, &state.vcpu)?;
        machine.rest.vm.set_clock(&state.clock)?;
        // Into the interrupt controller that has just been put back.
        if let Some(devices) = &machine.rest.devices {
            devices.announce_network();
        }
        Ok(machine)
    }
}

/// The first leaf of CPUID in which a host and a saved machine differ.
fn first_difference(host: &[kvm_cpuid_entry2], saved: &[kvm_cpuid_entry2]) -> Option<u32> {
    let longest = host.len().max(saved.len());
    let differing = (0..longest).find(|index| host.get(*index) != saved.get(*index))?;
    saved.get(differing).or(host.get(differing)).map(|entry| entry.function)
}

impl Devices {
    fn save(&self) -> DevicesState {
        DevicesState {
            block: self.block.as_deref().map(save),
            pmem: self.pmem.as_deref().map(save),
            vsock: save(&self.vsock),
            rng: self.rng.as_deref().map(save),
            balloon: self.balloon.as_deref().map(save),
            net: self.net.as_deref().map(save),
            fs: self.fs.as_deref().map(save),
        }
    }

    fn restore(&self, state: &DevicesState) -> Result<(), RestoreError> {
        restore_any(self.block.as_deref(), state.block.as_ref())?;
        restore_any(self.pmem.as_deref(), state.pmem.as_ref())?;
        restore(&self.vsock, &state.vsock)?;
        restore_any(self.rng.as_deref(), state.rng.as_ref())?;
        restore_any(self.balloon.as_deref(), state.balloon.as_ref())?;
        restore_any(self.net.as_deref(), state.net.as_ref())?;
        restore_any(self.fs.as_deref(), state.fs.as_ref())
    }
}

type Shared<D> = std::sync::Mutex<MmioTransport<D>>;

fn save<D: Persist>(device: &Shared<D>) -> TransportState<D::State> {
    device.lock().unwrap_or_else(PoisonError::into_inner).save()
}

/// Of a device that is there exactly if it was saved.
fn restore_any<D: Persist>(
    device: Option<&Shared<D>>,
    state: Option<&TransportState<D::State>>,
) -> Result<(), RestoreError> {
    device.zip(state).map_or(Ok(()), |(device, state)| restore(device, state))
}

fn restore<D: Persist>(
    device: &Shared<D>,
    state: &TransportState<D::State>,
) -> Result<(), RestoreError> {
    device.lock().unwrap_or_else(PoisonError::into_inner).restore(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_leaf_that_differs_is_named() {
        let leaf = |function, eax| kvm_cpuid_entry2 { function, eax, ..Default::default() };
        let host = [leaf(0, 1), leaf(1, 2), leaf(0x8000_0001, 3)];
        assert_eq!(first_difference(&host, &host), None);
        let other = [leaf(0, 1), leaf(1, 7), leaf(0x8000_0001, 8)];
        assert_eq!(first_difference(&host, &other), Some(1));
        assert_eq!(first_difference(&host, &host[..2]), Some(0x8000_0001));
        assert_eq!(first_difference(&host[..1], &host), Some(1));
    }
}
