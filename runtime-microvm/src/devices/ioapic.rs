//! The I/O APIC (Intel 82093AA), in user space.
//!
//! It only turns pins into messages for the local APIC in the kernel. Every
//! line of ours is an edge, so it has no use for end-of-interrupt messages and
//! none of the kernel's machinery for them.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::GuestEnd;
use super::bus::MmioDevice;
use crate::boot::layout::LOCAL_APIC;
use crate::kvm::Vm;

/// Number of pins. A PC has 24; each one costs the guest kernel a few register
/// accesses at boot, and ours needs those of the legacy serial port and of
/// six virtio devices.
pub const PINS: u8 = 11;
/// Version register: that of the 82093AA.
pub const VERSION: u8 = 0x11;

/// Register select and window (82093AA datasheet, 3.1).
const IOREGSEL: u64 = 0x00;
const IOWIN: u64 = 0x10;
/// Indirect registers (82093AA datasheet, 3.2).
const ID: u8 = 0x00;
const VERSION_REGISTER: u8 = 0x01;
const REDIRECTION_TABLE: u8 = 0x10;
/// Redirection entry: the read-only bits (delivery status, remote IRR), mask.
const READ_ONLY: u64 = 1 << 12 | 1 << 14;
const MASKED: u64 = 1 << 16;

/// Where interrupt messages go.
pub trait MsiSink: Send + Sync {
    /// Delivers the message.
    fn deliver(&self, address: u64, data: u32);
}

impl MsiSink for Vm {
    fn deliver(&self, address: u64, data: u32) {
        // An error means that the guest made up a vector the local APIC refuses:
        // it loses its interrupt, as on hardware.
        drop(self.signal_msi(address, data));
    }
}

/// Shared between the bus, on which the guest programs it, and the lines of
/// the devices.
#[derive(Clone)]
pub struct IoApic {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<IoApicState>,
    sink: Arc<dyn MsiSink>,
}

/// Its registers, and what waits for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoApicState {
    select: u8,
    id: u32,
    entries: [u64; PINS as usize],
    /// Edges that arrived while their pin was masked.
    pending: u16,
}

impl std::fmt::Debug for IoApic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IoApic").finish_non_exhaustive()
    }
}

/// The interrupt line of one device.
#[derive(Debug, Clone)]
pub struct IrqLine {
    apic: IoApic,
    pin: u8,
}

impl IrqLine {
    /// Sends one edge.
    pub fn trigger(&self) {
        self.apic.edge(self.pin);
    }
}

impl IoApic {
    /// An I/O APIC with every pin masked, as after reset.
    #[must_use]
    pub fn new(sink: Arc<dyn MsiSink>) -> Self {
        let entries = [MASKED; PINS as usize];
        let state = IoApicState { select: 0, id: 0, entries, pending: 0 };
        Self { inner: Arc::new(Inner { state: Mutex::new(state), sink }) }
    }

    /// The state now.
    #[must_use]
    pub fn save(&self) -> IoApicState {
        self.lock().clone()
    }

    /// Takes over a state. An edge that was sent is in the local APIC, and not sent
    /// again.
    pub fn restore(&self, state: &IoApicState) {
        *self.lock() = state.clone();
    }

    /// The line into `pin`; edges into a pin that does not exist are lost.
    #[must_use]
    pub fn line(&self, pin: u8) -> IrqLine {
        IrqLine { apic: self.clone(), pin }
    }

    fn edge(&self, pin: u8) {
        let mut state = self.lock();
        let Some(entry) = state.entries.get(usize::from(pin)).copied() else { return };
        if entry & MASKED != 0 {
            state.pending |= 1 << pin;
        } else {
            drop(state);
            self.deliver(entry);
        }
    }

    /// The message of a redirection entry (SDM 3A, 11.11: message address and
    /// data registers).
    fn deliver(&self, entry: u64) {
        let destination = entry >> 56;
        let logical = entry >> 11 & 1;
        let address = u64::from(LOCAL_APIC) | destination << 12 | logical << 2;
        let vector_and_mode = u32::try_from(entry & 0x7ff).unwrap_or_default();
        self.inner.sink.deliver(address, vector_and_mode);
    }

    fn write_window(&self, value: u32) {
        let mut state = self.lock();
        let register = state.select;
        if register == ID {
            state.id = value & 0x0f00_0000;
            return;
        }
        let Some((pin, high)) = redirection(register) else { return };
        let old = state.entries[usize::from(pin)];
        let new = if high {
            (old & 0xffff_ffff) | u64::from(value) << 32
        } else {
            (old & !0xffff_ffff) | (u64::from(value) & !READ_ONLY)
        };
        state.entries[usize::from(pin)] = new;
        let waiting = state.pending & 1 << pin != 0;
        if waiting && new & MASKED == 0 {
            state.pending &= !(1 << pin);
            drop(state);
            self.deliver(new);
        }
    }

    fn read_window(&self) -> u32 {
        let state = self.lock();
        match state.select {
            ID => state.id,
            VERSION_REGISTER => u32::from(VERSION) | u32::from(PINS - 1) << 16,
            register => redirection(register).map_or(0, |(pin, high)| {
                let entry = state.entries[usize::from(pin)];
                let half = if high { entry >> 32 } else { entry & 0xffff_ffff };
                u32::try_from(half).unwrap_or_default()
            }),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, IoApicState> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which pin, and which half of its entry, an indirect register is.
fn redirection(register: u8) -> Option<(u8, bool)> {
    let index = register.checked_sub(REDIRECTION_TABLE)?;
    (index / 2 < PINS).then_some((index / 2, index % 2 == 1))
}

impl MmioDevice for IoApic {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        let value = match offset {
            IOREGSEL => u32::from(self.lock().select),
            IOWIN => self.read_window(),
            _ => 0,
        };
        super::virtio::registers::load(value, data);
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Option<GuestEnd> {
        let value = super::virtio::registers::store(data);
        match offset {
            IOREGSEL => self.lock().select = value.to_le_bytes()[0],
            IOWIN => self.write_window(value),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Default)]
    struct Messages(Mutex<Vec<(u64, u32)>>);

    impl MsiSink for Messages {
        fn deliver(&self, address: u64, data: u32) {
            self.0.lock().unwrap().push((address, data));
        }
    }

    fn set(apic: &mut IoApic, register: u8, value: u32) {
        apic.write(IOREGSEL, &[register]);
        apic.write(IOWIN, &value.to_le_bytes());
    }

    fn get(apic: &mut IoApic, register: u8) -> u32 {
        let mut value = [0; 4];
        apic.write(IOREGSEL, &[register]);
        apic.read(IOWIN, &mut value);
        u32::from_le_bytes(value)
    }

    #[test]
    fn an_edge_becomes_the_message_its_pin_is_programmed_for() {
        let messages = Arc::new(Messages::default());
        let mut apic = IoApic::new(messages.clone());
        assert_eq!(
            get(&mut apic, VERSION_REGISTER),
            u32::from(VERSION) | u32::from(PINS - 1) << 16
        );
        apic.line(5).trigger();
        assert!(messages.0.lock().unwrap().is_empty(), "masked after reset");
        set(&mut apic, REDIRECTION_TABLE + 11, 0x0100_0000);
        set(&mut apic, REDIRECTION_TABLE + 10, 0x31);
        assert_eq!(*messages.0.lock().unwrap(), [(0xfee0_1000, 0x31)], "edge kept");
        apic.line(5).trigger();
        apic.line(200).trigger();
        assert_eq!(messages.0.lock().unwrap().len(), 2);
        assert_eq!(get(&mut apic, REDIRECTION_TABLE + 11), 0x0100_0000);
    }

    proptest! {
        #[test]
        fn random_accesses_never_panic(
            accesses in proptest::collection::vec(
                (any::<bool>(), 0..64_u64, any::<[u8; 8]>(), 0..=8_usize, any::<u8>()), 0..200)
        ) {
            let mut apic = IoApic::new(Arc::new(Messages::default()));
            for (is_write, offset, mut data, len, pin) in accesses {
                if is_write {
                    apic.write(offset, &data[..len]);
                } else {
                    apic.read(offset, &mut data[..len]);
                }
                apic.line(pin).trigger();
            }
        }
    }
}
