//! The kernel command line.

use vm_memory::{Bytes, GuestAddress};

use super::{BootError, layout, write_error};
use crate::config::RootDisk;
use crate::kvm::GuestRam;

/// Where the workload's kernel messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelMessages {
    /// Into the kernel's ring buffer only: each character on a serial port
    /// would be an exit.
    Quiet,
    /// To the serial port.
    Serial,
}

/// What every guest of ours boots with: the EROFS disk as root, our PID 1, and
/// a reset by the keyboard controller when the kernel gives up, which the
/// monitor sees.
#[must_use]
pub fn linux(
    messages: KernelMessages,
    root: RootDisk,
    virtio_devices: u8,
    extra: &str,
) -> String {
    let mut line = String::from(match root {
        RootDisk::Blk => "root=/dev/vda rootfstype=erofs",
        RootDisk::Pmem => "root=/dev/pmem0 rootfstype=erofs rootflags=dax",
    });
    line.push_str(" init=/init panic=-1 reboot=k");
    line.push_str(match messages {
        KernelMessages::Quiet => " quiet",
        KernelMessages::Serial => " console=ttyS0",
    });
    line.push_str(&format!(
        " {}={:#x}",
        bulkhead_guest::timer::CMDLINE_KEY,
        layout::BOOT_TIMER.0
    ));
    for index in 0..virtio_devices {
        let GuestAddress(base) = layout::virtio_mmio(index);
        let irq = layout::virtio_irq(index);
        line.push_str(&format!(" virtio_mmio.device=4K@{base:#x}:{irq}"));
    }
    if !extra.is_empty() {
        line.push(' ');
        line.push_str(extra);
    }
    line
}

/// Writes the command line to guest memory.
pub fn write(ram: &GuestRam, line: &str) -> Result<(), BootError> {
    if line.len() >= layout::COMMAND_LINE_MAX {
        return Err(BootError::CommandLineTooLong { len: line.len() });
    }
    if line.contains('\0') {
        return Err(BootError::CommandLineNul);
    }
    let mut bytes = line.as_bytes().to_vec();
    bytes.push(0);
    ram.write_slice(&bytes, layout::COMMAND_LINE).map_err(write_error("command line"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kvm::map_ram;

    #[test]
    fn devices_are_announced_in_order() {
        let line = linux(KernelMessages::Quiet, RootDisk::Blk, 2, "noxsave");
        assert!(line.contains(" bulkhead_timer=0xd0000000 "), "{line}");
        assert!(
            line.ends_with(
                "virtio_mmio.device=4K@0xd0001000:5 virtio_mmio.device=4K@0xd0002000:6 noxsave"
            ),
            "{line}"
        );
        let line = linux(KernelMessages::Serial, RootDisk::Pmem, 0, "");
        assert!(line.contains("root=/dev/pmem0 ") && line.contains("console=ttyS0"), "{line}");
    }

    #[test]
    fn lines_the_kernel_could_not_take_are_refused() {
        let ram = map_ram(2).unwrap();
        let long = "x".repeat(layout::COMMAND_LINE_MAX);
        assert!(matches!(write(&ram, &long), Err(BootError::CommandLineTooLong { .. })));
        assert!(matches!(write(&ram, "a\0b"), Err(BootError::CommandLineNul)));
        assert!(write(&ram, &long[1..]).is_ok());
    }
}
