//! A guest's driver for the tests: speaks to a device through the registers and
//! rings a guest would use, in guest memory with nothing mapped around it.

use std::sync::{Arc, Mutex};

use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{Bytes, GuestAddress, GuestRegionMmap};

use super::VirtioDevice;
use super::mmio::MmioTransport;
use crate::devices::bus::MmioDevice;
use crate::devices::ioapic::{IoApic, MsiSink};
use crate::kvm::GuestRam;

/// Size of the guest's memory, bytes.
pub const RAM: u64 = 256 << 10;
/// Inaccessible space on both sides of it: more than a descriptor can span.
const GUARD: usize = 5 << 30;
/// Where buffers may be; below are the rings.
pub const BUFFERS: u64 = 0x1_0000;
/// Descriptor flags (virtio 1.2, section 2.7.5).
pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;

/// Counts the interrupts of the device.
#[derive(Default)]
pub struct Interrupts(Mutex<u32>);

impl MsiSink for Interrupts {
    fn deliver(&self, _address: u64, _data: u32) {
        *self.0.lock().unwrap() += 1;
    }
}

/// Guest memory in the middle of a large inaccessible mapping, so that a stray
/// access of the device ends the test.
pub fn guarded_ram() -> Arc<GuestRam> {
    let len = usize::try_from(RAM).unwrap();
    let (reserve, flags) =
        (libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
    // SAFETY: a fresh mapping chosen by the kernel, of which only the middle is made
    // accessible. It is never unmapped: a test process is short.
    let middle = unsafe {
        let all = libc::mmap(std::ptr::null_mut(), 2 * GUARD + len, reserve, flags, -1, 0);
        assert_ne!(all, libc::MAP_FAILED);
        let middle = all.cast::<u8>().add(GUARD);
        assert_eq!(libc::mprotect(middle.cast(), len, libc::PROT_READ | libc::PROT_WRITE), 0);
        middle
    };
    let region = MmapRegionBuilder::<()>::new(len)
        .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
        .with_mmap_flags(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: the middle of the mapping is `len` accessible bytes, for ever.
    let region = unsafe { region.with_raw_mmap_pointer(middle) }.build().unwrap();
    let region = GuestRegionMmap::new(region, GuestAddress(0)).unwrap();
    Arc::new(GuestRam::from_regions(vec![region]).unwrap())
}

/// A descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    pub address: u64,
    pub len: u32,
    pub flags: u16,
    pub next: u16,
}

/// The driver of one device.
pub struct Driver<D> {
    pub transport: MmioTransport<D>,
    pub ram: Arc<GuestRam>,
    interrupts: Arc<Interrupts>,
    /// Per queue: next free descriptor, next available index, next used index.
    cursors: Vec<(u16, u16, u16)>,
    sizes: Vec<u16>,
}

impl<D: VirtioDevice> Driver<D> {
    /// Brings the device up as Linux does.
    pub fn new(device: D) -> Self {
        let ram = guarded_ram();
        let interrupts = Arc::new(Interrupts::default());
        let mut io_apic = IoApic::new(interrupts.clone());
        // Unmask pin 5.
        io_apic.write(0, &[0x10 + 10]);
        io_apic.write(0x10, &0x31_u32.to_le_bytes());
        let sizes = device.queue_sizes().to_vec();
        let transport = MmioTransport::new(device, ram.clone(), io_apic.line(5));
        let cursors = vec![(0, 0, 0); sizes.len()];
        let mut driver = Self { transport, ram, interrupts, cursors, sizes };
        driver.bring_up();
        driver
    }

    fn bring_up(&mut self) {
        self.set(0x070, 0);
        self.set(0x070, 1 | 2);
        for half in [0, 1] {
            self.set(0x014, half);
            let offered = self.get(0x010);
            self.set(0x024, half);
            self.set(0x020, offered);
        }
        self.set(0x070, 1 | 2 | 8);
        for queue in 0..self.sizes.len() {
            let [desc, avail, used] = rings(queue);
            self.set(0x030, u32::try_from(queue).unwrap());
            self.set(0x038, u32::from(self.sizes[queue]));
            for (register, address) in [(0x080, desc), (0x090, avail), (0x0a0, used)] {
                self.set(register, u32::try_from(address).unwrap());
                self.set(register + 4, 0);
            }
            self.set(0x044, 1);
        }
        self.set(0x070, 1 | 2 | 8 | 4);
    }

    /// Number of queues.
    pub fn queues(&self) -> usize {
        self.sizes.len()
    }

    /// Stores to a register.
    pub fn set(&mut self, register: u64, value: u32) {
        self.transport.write(register, &value.to_le_bytes());
    }

    /// Loads from a register.
    pub fn get(&mut self, register: u64) -> u32 {
        let mut value = [0; 4];
        self.transport.read(register, &mut value);
        u32::from_le_bytes(value)
    }

    /// Writes a descriptor into the table.
    pub fn put_descriptor(&mut self, queue: usize, index: u16, it: Descriptor) {
        let mut bytes = it.address.to_le_bytes().to_vec();
        bytes.extend(it.len.to_le_bytes());
        bytes.extend(it.flags.to_le_bytes());
        bytes.extend(it.next.to_le_bytes());
        let at = GuestAddress(rings(queue)[0] + u64::from(index) * 16);
        self.ram.write_slice(&bytes, at).unwrap();
    }

    /// Writes the available ring as it is, sense or nonsense.
    pub fn put_available(&mut self, queue: usize, index: u16, heads: &[u16]) {
        let avail = rings(queue)[1];
        for (slot, head) in heads.iter().enumerate().take(usize::from(self.sizes[queue])) {
            self.ram.write_obj(*head, GuestAddress(avail + 4 + 2 * slot as u64)).unwrap();
        }
        self.ram.write_obj(index, GuestAddress(avail + 2)).unwrap();
    }

    /// Makes a chain of buffers available: address, length, device-writable.
    pub fn add(&mut self, queue: usize, buffers: &[(u64, u32, bool)]) -> u16 {
        let size = self.sizes[queue];
        let (mut free, available, used) = self.cursors[queue];
        let head = free % size;
        for (index, (address, len, writable)) in buffers.iter().enumerate() {
            let last = index + 1 == buffers.len();
            let flags = if last { 0 } else { NEXT } | if *writable { WRITE } else { 0 };
            let next = (free + 1) % size;
            let descriptor = Descriptor { address: *address, len: *len, flags, next };
            self.put_descriptor(queue, free % size, descriptor);
            free += 1;
        }
        let avail = rings(queue)[1];
        let slot = u64::from(available % size);
        self.ram.write_obj(head, GuestAddress(avail + 4 + 2 * slot)).unwrap();
        self.ram.write_obj(available + 1, GuestAddress(avail + 2)).unwrap();
        self.cursors[queue] = (free, available + 1, used);
        head
    }

    /// Asks, by index, for an interrupt when the next chain is used (virtio 1.2, section
    /// 2.7.7.1).
    pub fn await_used(&mut self, queue: usize) {
        let at = rings(queue)[1] + 4 + 2 * u64::from(self.sizes[queue]);
        self.ram.write_obj(self.cursors[queue].2, GuestAddress(at)).unwrap();
    }

    /// Whether the device asks for a kick when the next chain is made available.
    pub fn is_awaited(&self, queue: usize) -> bool {
        let at = rings(queue)[2] + 4 + 8 * u64::from(self.sizes[queue]);
        let index: u16 = self.ram.read_obj(GuestAddress(at)).unwrap();
        index == self.cursors[queue].1
    }

    /// Kicks a queue.
    pub fn kick(&mut self, queue: usize) {
        self.set(0x050, u32::try_from(queue).unwrap());
    }

    /// The next used chain: its head and how much was written.
    pub fn used(&mut self, queue: usize) -> Option<(u32, u32)> {
        let used = rings(queue)[2];
        let index: u16 = self.ram.read_obj(GuestAddress(used + 2)).unwrap();
        let cursor = &mut self.cursors[queue].2;
        if *cursor == index {
            return None;
        }
        let at = used + 4 + 8 * u64::from(*cursor % self.sizes[queue]);
        *cursor += 1;
        let head = self.ram.read_obj(GuestAddress(at)).unwrap();
        Some((head, self.ram.read_obj(GuestAddress(at + 4)).unwrap()))
    }

    /// Interrupts since the last call.
    pub fn interrupts(&mut self) -> u32 {
        std::mem::take(&mut *self.interrupts.0.lock().unwrap())
    }

    /// Whether the device wants to be reset.
    pub fn needs_reset(&mut self) -> bool {
        self.get(0x070) & 64 != 0
    }

    /// `len` bytes of guest memory.
    pub fn bytes(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.ram.read_slice(&mut bytes, GuestAddress(address)).unwrap();
        bytes
    }
}

/// Descriptor table, available ring and used ring of a queue.
pub fn rings(queue: usize) -> [u64; 3] {
    let base = 0x1000 + 0x4000 * queue as u64;
    [base, base + 0x1000, base + 0x2000]
}
