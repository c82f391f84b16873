//! The MMIO transport (virtio 1.2, section 4.2.2): configuration registers,
//! status, kicks in, interrupts out.

mod persist;

use std::sync::Arc;

use virtio_queue::QueueT;

use super::{EVENT_IDX, Malformed, Notify, VERSION_1, VirtQueue, VirtioDevice, registers};
use crate::devices::GuestEnd;
use crate::devices::bus::MmioDevice;
use crate::devices::ioapic::IrqLine;
use crate::kvm::GuestRam;

pub use persist::TransportState;

/// Register offsets (virtio 1.2, table 4.1).
mod register {
    pub const MAGIC: u64 = 0x000;
    pub const VERSION: u64 = 0x004;
    pub const DEVICE_ID: u64 = 0x008;
    pub const VENDOR_ID: u64 = 0x00c;
    pub const DEVICE_FEATURES: u64 = 0x010;
    pub const DEVICE_FEATURES_SELECT: u64 = 0x014;
    pub const DRIVER_FEATURES: u64 = 0x020;
    pub const DRIVER_FEATURES_SELECT: u64 = 0x024;
    pub const QUEUE_SELECT: u64 = 0x030;
    pub const QUEUE_SIZE_MAX: u64 = 0x034;
    pub const QUEUE_SIZE: u64 = 0x038;
    pub const QUEUE_READY: u64 = 0x044;
    pub const QUEUE_NOTIFY: u64 = 0x050;
    pub const INTERRUPT_STATUS: u64 = 0x060;
    pub const INTERRUPT_ACK: u64 = 0x064;
    pub const STATUS: u64 = 0x070;
    pub const QUEUE_DESC_LOW: u64 = 0x080;
    pub const QUEUE_DESC_HIGH: u64 = 0x084;
    pub const QUEUE_DRIVER_LOW: u64 = 0x090;
    pub const QUEUE_DRIVER_HIGH: u64 = 0x094;
    pub const QUEUE_DEVICE_LOW: u64 = 0x0a0;
    pub const QUEUE_DEVICE_HIGH: u64 = 0x0a4;
    pub const SHM_FIRST: u64 = 0x0b0;
    pub const SHM_LAST: u64 = 0x0bc;
    pub const CONFIG: u64 = 0x100;
}

/// Device status bits (virtio 1.2, section 2.1).
mod status {
    pub const FEATURES_OK: u32 = 8;
    pub const DRIVER_OK: u32 = 4;
    pub const NEEDS_RESET: u32 = 64;
}

/// `virt`, in little endian.
const MAGIC: u32 = 0x7472_6976;
/// Version of the transport: not the legacy one.
const VERSION: u32 = 2;
/// Interrupt causes.
const USED_BUFFER: u32 = 1;
const CONFIG_CHANGE: u32 = 2;

/// A virtio device on the MMIO bus.
#[derive(Debug)]
pub struct MmioTransport<D> {
    device: D,
    queues: Vec<VirtQueue>,
    ram: Arc<GuestRam>,
    irq: IrqLine,
    status: u32,
    interrupt: u32,
    device_features_select: u32,
    driver_features_select: u32,
    driver_features: u64,
    queue_select: u32,
}

impl<D: VirtioDevice> MmioTransport<D> {
    /// `device` with its queues, after reset.
    #[must_use]
    pub fn new(device: D, ram: Arc<GuestRam>, irq: IrqLine) -> Self {
        let queues = device.queue_sizes().iter().map(|size| VirtQueue::new(*size)).collect();
        Self {
            device,
            queues,
            ram,
            irq,
            status: 0,
            interrupt: 0,
            device_features_select: 0,
            driver_features_select: 0,
            driver_features: 0,
            queue_select: 0,
        }
    }

    /// The device behind the transport.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// Lets the device work on its queues for a reason other than a kick, for
    /// example because a host socket is readable.
    pub fn serve(
        &mut self,
        work: impl FnOnce(&mut D, &mut [VirtQueue], &GuestRam) -> Result<Notify, Malformed>,
    ) {
        let outcome = work(&mut self.device, &mut self.queues, &self.ram);
        self.conclude(outcome);
    }

    /// Whether the driver is ready, and has not been told to reset.
    fn is_live(&self) -> bool {
        self.status & (status::DRIVER_OK | status::NEEDS_RESET) == status::DRIVER_OK
    }

    fn conclude(&mut self, outcome: Result<Notify, Malformed>) {
        match outcome {
            Ok(Notify::No) => {}
            Ok(Notify::Yes) => self.interrupt(USED_BUFFER),
            Err(_) => self.stop(),
        }
        if self.device.take_config_change() && self.is_live() {
            self.interrupt(CONFIG_CHANGE);
        }
    }

    /// Tells the device and the queues which features both sides have agreed on.
    fn agree(&mut self) {
        let agreed = match self.status & status::FEATURES_OK {
            0 => 0,
            _ => self.driver_features & self.features(),
        };
        for queue in &mut self.queues {
            queue.set_event_idx(agreed & EVENT_IDX != 0);
        }
        self.device.agreed(agreed);
    }

    /// The driver broke the rules: no queue is looked at again before a reset.
    fn stop(&mut self) {
        for queue in &mut self.queues {
            queue.settings().set_ready(false);
        }
        if self.status & status::NEEDS_RESET == 0 {
            self.status |= status::NEEDS_RESET;
            self.interrupt(CONFIG_CHANGE);
        }
    }

    fn interrupt(&mut self, cause: u32) {
        self.interrupt |= cause;
        self.irq.trigger();
    }

    fn features(&self) -> u64 {
        self.device.features() | VERSION_1
    }

    fn write_status(&mut self, value: u32) {
        if value == 0 {
            return self.reset();
        }
        // The driver sets bits and never clears one but by a reset.
        let mut fresh = value & 0xff & !self.status;
        if fresh & status::FEATURES_OK != 0 && !self.features_are_acceptable() {
            fresh &= !status::FEATURES_OK;
        }
        self.status |= fresh;
        if fresh & status::DRIVER_OK != 0 {
            self.activate();
        }
    }

    fn features_are_acceptable(&self) -> bool {
        let unknown = self.driver_features & !self.features();
        unknown == 0 && self.driver_features & VERSION_1 != 0
    }

    fn activate(&mut self) {
        let negotiated = self.status & status::FEATURES_OK != 0;
        let sound = |queue: &VirtQueue| !queue.is_ready() || queue.is_sound(&self.ram);
        if !negotiated || !self.queues.iter().all(sound) {
            return self.stop();
        }
        self.agree();
        if self.device.activate(&mut self.queues, &self.ram).is_err() {
            self.stop();
        }
    }

    fn reset(&mut self) {
        self.status = 0;
        self.interrupt = 0;
        self.device_features_select = 0;
        self.driver_features_select = 0;
        self.driver_features = 0;
        self.queue_select = 0;
        for (queue, size) in self.queues.iter_mut().zip(self.device.queue_sizes()) {
            *queue = VirtQueue::new(*size);
        }
        self.device.agreed(0);
        self.device.reset();
    }

    fn read_register(&mut self, offset: u64) -> u32 {
        let half = |features: u64, select: u32| match select {
            0 => u32::try_from(features & 0xffff_ffff).unwrap_or_default(),
            1 => u32::try_from(features >> 32).unwrap_or_default(),
            _ => 0,
        };
        match offset {
            register::MAGIC => MAGIC,
            register::VERSION => VERSION,
            register::DEVICE_ID => self.device.id(),
            register::VENDOR_ID => 0,
            register::DEVICE_FEATURES => half(self.features(), self.device_features_select),
            register::QUEUE_SIZE_MAX => {
                self.selected().map_or(0, |queue| u32::from(queue.settings().max_size()))
            }
            register::QUEUE_READY => {
                self.selected().map_or(0, |queue| u32::from(queue.is_ready()))
            }
            register::INTERRUPT_STATUS => self.interrupt,
            register::STATUS => self.status,
            // A region that does not exist has length -1.
            register::SHM_FIRST..=register::SHM_LAST => u32::MAX,
            _ => 0,
        }
    }

    fn selected(&mut self) -> Option<&mut VirtQueue> {
        self.queues.get_mut(usize::try_from(self.queue_select).ok()?)
    }

    fn write_register(&mut self, offset: u64, value: u32) {
        match offset {
            register::DEVICE_FEATURES_SELECT => self.device_features_select = value,
            register::DRIVER_FEATURES_SELECT => self.driver_features_select = value,
            register::DRIVER_FEATURES => self.write_driver_features(value),
            register::QUEUE_SELECT => self.queue_select = value,
            register::QUEUE_NOTIFY => self.kick(value),
            register::INTERRUPT_ACK => self.interrupt &= !value,
            register::STATUS => self.write_status(value),
            _ => self.configure_queue(offset, value),
        }
    }

    fn write_driver_features(&mut self, value: u32) {
        // Features are fixed once both sides have agreed.
        if self.status & status::FEATURES_OK != 0 {
            return;
        }
        let value = u64::from(value);
        match self.driver_features_select {
            0 => self.driver_features = (self.driver_features & !0xffff_ffff) | value,
            1 => self.driver_features = (self.driver_features & 0xffff_ffff) | value << 32,
            _ => {}
        }
    }

    /// Stores to the registers of the selected queue, which the driver may
    /// change only before it is ready.
    fn configure_queue(&mut self, offset: u64, value: u32) {
        let configurable =
            self.status & (status::FEATURES_OK | status::DRIVER_OK) == status::FEATURES_OK;
        if !configurable {
            return;
        }
        let Some(queue) = self.selected() else { return };
        let settings = queue.settings();
        if offset == register::QUEUE_READY {
            settings.set_ready(value == 1);
            return;
        }
        if settings.ready() {
            return;
        }
        match offset {
            // A size that is no power of two, or too large, is not taken over.
            register::QUEUE_SIZE => settings.set_size(u16::try_from(value).unwrap_or(0)),
            register::QUEUE_DESC_LOW => settings.set_desc_table_address(Some(value), None),
            register::QUEUE_DESC_HIGH => settings.set_desc_table_address(None, Some(value)),
            register::QUEUE_DRIVER_LOW => settings.set_avail_ring_address(Some(value), None),
            register::QUEUE_DRIVER_HIGH => settings.set_avail_ring_address(None, Some(value)),
            register::QUEUE_DEVICE_LOW => settings.set_used_ring_address(Some(value), None),
            register::QUEUE_DEVICE_HIGH => settings.set_used_ring_address(None, Some(value)),
            _ => {}
        }
    }

    fn kick(&mut self, queue: u32) {
        let index = usize::try_from(queue).unwrap_or(usize::MAX);
        if !self.is_live() || !self.queues.get(index).is_some_and(VirtQueue::is_ready) {
            return;
        }
        let outcome = self.device.kick(index, &mut self.queues, &self.ram);
        self.conclude(outcome);
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        let config = self.device.config();
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        if let Some(rest) = config.get(start..) {
            let len = rest.len().min(data.len());
            data[..len].copy_from_slice(&rest[..len]);
        }
    }
}

impl<D: VirtioDevice> MmioDevice for MmioTransport<D> {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        match offset.checked_sub(register::CONFIG) {
            Some(offset) => self.read_config(offset, data),
            None => registers::load(self.read_register(offset), data),
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Option<GuestEnd> {
        // None of our devices has anything writable in its configuration space.
        if offset < register::CONFIG {
            self.write_register(offset, registers::store(data));
        }
        None
    }
}
