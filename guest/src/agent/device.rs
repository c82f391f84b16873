//! The boot-timer page: milestones out, power off.

use core::ffi::CStr;
use core::ptr::NonNull;

use super::sys;
use crate::timer::{MILESTONE, Milestone, PAGE_SIZE, POWER_OFF, PowerOff};

/// `/dev/mem`: memory devices are major 1, this is minor 1
/// (Documentation/admin-guide/devices.txt).
const MEM_MAJOR: u32 = 1;
const MEM_MINOR: u32 = 1;

/// The register page, mapped; or nothing, on a machine without one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Device {
    page: Option<NonNull<u8>>,
}

impl Device {
    /// Maps the page at `physical` through a node for `/dev/mem` made at `node`.
    /// Without the device the machine works all the same.
    pub fn map(physical: u64, node: &CStr) -> Self {
        let page = sys::make_node(node, libc::S_IFCHR | 0o600, MEM_MAJOR, MEM_MINOR)
            .and_then(|()| sys::open(node, libc::O_RDWR | libc::O_SYNC))
            .and_then(|memory| sys::map_shared(&memory, physical, PAGE_SIZE));
        Self { page: page.ok() }
    }

    /// Tells the host's clock.
    pub fn reached(self, milestone: Milestone) {
        self.store(MILESTONE, milestone as u32);
    }

    /// Ends the machine.
    pub fn power_off(self, reason: PowerOff) -> ! {
        self.store(POWER_OFF, reason.to_register());
        // Only without the device, or in the moment before the monitor acts.
        loop {
            sys::restart();
        }
    }

    fn store(self, offset: usize, value: u32) {
        if let Some(page) = self.page {
            // SAFETY: the page is mapped for the life of the machine, offsets are
            // inside and aligned. The device acts on 32-bit stores.
            unsafe { page.add(offset).cast::<u32>().write_volatile(value) };
        }
    }
}
