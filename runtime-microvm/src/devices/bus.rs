//! Dispatch of memory-mapped register accesses.

use std::sync::{Arc, Mutex, PoisonError};

use vm_memory::GuestAddress;

use super::GuestEnd;
use crate::boot::layout::DEVICE_PAGE;

/// A device with one page of registers.
pub trait MmioDevice: Send {
    /// Fills `data` from the registers at `offset`.
    fn read(&mut self, offset: u64, data: &mut [u8]);

    /// Stores `data` into the registers at `offset`; `Some` ends the machine.
    fn write(&mut self, offset: u64, data: &[u8]) -> Option<GuestEnd>;
}

/// The register pages of a machine.
#[derive(Default)]
pub struct MmioBus {
    pages: Vec<(GuestAddress, Arc<Mutex<dyn MmioDevice>>)>,
}

impl std::fmt::Debug for MmioBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.pages.iter().map(|(base, _)| base)).finish()
    }
}

impl MmioBus {
    /// Puts `device` at the page `base`.
    pub fn insert(&mut self, base: GuestAddress, device: Arc<Mutex<dyn MmioDevice>>) {
        self.pages.push((base, device));
    }

    /// A load by the guest. What belongs to no device reads as all ones.
    pub fn read(&self, address: u64, data: &mut [u8]) {
        match self.find(address, data.len()) {
            Some((offset, device)) => {
                device.lock().unwrap_or_else(PoisonError::into_inner).read(offset, data);
            }
            None => data.fill(0xff),
        }
    }

    /// A store by the guest. What belongs to no device is ignored.
    pub fn write(&self, address: u64, data: &[u8]) -> Option<GuestEnd> {
        let (offset, device) = self.find(address, data.len())?;
        device.lock().unwrap_or_else(PoisonError::into_inner).write(offset, data)
    }

    /// The device all `len` bytes at `address` belong to. There are five pages:
    /// a scan beats anything clever.
    fn find(&self, address: u64, len: usize) -> Option<(u64, &Mutex<dyn MmioDevice>)> {
        self.pages.iter().find_map(|(base, device)| {
            let offset = address.checked_sub(base.0)?;
            let end = offset.checked_add(len as u64)?;
            (end <= DEVICE_PAGE).then_some((offset, &**device))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Remembers the last store.
    struct Latch(u64, Vec<u8>);

    impl MmioDevice for Latch {
        fn read(&mut self, offset: u64, data: &mut [u8]) {
            data.fill(u8::try_from(offset & 0xff).unwrap());
        }
        fn write(&mut self, offset: u64, data: &[u8]) -> Option<GuestEnd> {
            (self.0, self.1) = (offset, data.to_vec());
            (offset == 8).then_some(GuestEnd::Reset)
        }
    }

    #[test]
    fn accesses_reach_the_page_they_belong_to() {
        let latch = Arc::new(Mutex::new(Latch(0, Vec::new())));
        let mut bus = MmioBus::default();
        bus.insert(GuestAddress(0x1000), latch.clone());
        let mut byte = [0];
        bus.read(0x1004, &mut byte);
        assert_eq!(byte, [4]);
        assert_eq!(bus.write(0x1008, &[1, 2]), Some(GuestEnd::Reset));
        assert_eq!(latch.lock().unwrap().1, [1, 2]);
        let mut elsewhere = [0; 4];
        for address in [0, 0xfff, 0x1ffd, 0x2000, u64::MAX] {
            bus.read(address, &mut elsewhere);
            assert_eq!(elsewhere, [0xff; 4], "{address:#x}");
            assert_eq!(bus.write(address, &elsewhere), None);
        }
    }
}
