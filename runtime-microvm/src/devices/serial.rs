//! A 16550 serial port, for the guest kernel's messages only.
//!
//! Each character is an exit, so it is there only when the console was asked
//! for. What it prints goes to a file of bounded length.

use std::fs::File;
use std::io::{self, Write};

use vm_superio::{Serial, Trigger};

use super::ioapic::IrqLine;

/// First port of COM1.
pub const PORT: u16 = 0x3f8;
/// Number of ports.
pub const PORTS: u16 = 8;
/// A guest that prints without end fills this much of the host's disk, bytes.
const LOG_LIMIT: u64 = 4 << 20;

impl Trigger for IrqLine {
    type E = io::Error;

    fn trigger(&self) -> Result<(), io::Error> {
        IrqLine::trigger(self);
        Ok(())
    }
}

/// The port.
pub struct Console {
    serial: Serial<IrqLine, vm_superio::serial::NoEvents, BoundedLog>,
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console").finish_non_exhaustive()
    }
}

impl Console {
    /// A port that prints to `log`.
    #[must_use]
    pub fn new(line: IrqLine, log: File) -> Self {
        let log = BoundedLog { file: log, left: LOG_LIMIT };
        Self { serial: Serial::new(line, log) }
    }

    /// A load from the register at `offset`.
    pub fn read(&mut self, offset: u8, data: &mut [u8]) {
        data.fill(0xff);
        if let Some(first) = data.first_mut() {
            *first = self.serial.read(offset);
        }
    }

    /// A store to the register at `offset`. A log that cannot be written must
    /// not stop the guest.
    pub fn write(&mut self, offset: u8, data: &[u8]) {
        for byte in data {
            let _ = self.serial.write(offset, *byte);
        }
    }
}

struct BoundedLog {
    file: File,
    left: u64,
}

impl Write for BoundedLog {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(data.len());
        self.left -= self.file.write(&data[..room])? as u64;
        // What is over the limit is dropped, not an error.
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::ioapic::{IoApic, MsiSink};
    use std::io::{Read, Seek};
    use std::sync::Arc;

    struct Nowhere;
    impl MsiSink for Nowhere {
        fn deliver(&self, _address: u64, _data: u32) {}
    }

    #[test]
    fn what_the_guest_prints_is_logged() {
        let mut log = tempfile::tempfile().unwrap();
        let line = IoApic::new(Arc::new(Nowhere)).line(4);
        let mut console = Console::new(line, log.try_clone().unwrap());
        console.write(0, b"panic");
        let mut status = [0];
        console.read(5, &mut status);
        assert_ne!(status[0] & 0x20, 0, "transmitter empty");
        log.rewind().unwrap();
        let mut text = String::new();
        log.read_to_string(&mut text).unwrap();
        assert_eq!(text, "panic");
    }

    #[test]
    fn the_log_is_bounded() {
        let file = tempfile::tempfile().unwrap();
        let mut log = BoundedLog { file: file.try_clone().unwrap(), left: 3 };
        assert_eq!(log.write(b"abcdef").unwrap(), 6);
        assert_eq!(log.write(b"g").unwrap(), 1);
        assert_eq!(file.metadata().unwrap().len(), 3);
    }
}
