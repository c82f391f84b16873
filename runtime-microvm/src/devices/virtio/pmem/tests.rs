//! The mapped disk as a driver sees it.

use vm_memory::{Bytes, GuestAddress};

use super::Pmem;
use crate::devices::virtio::driver::{BUFFERS, Driver};
use crate::kvm::MappedFile;

const START: u64 = 1 << 32;

fn driver() -> Driver<Pmem> {
    let file = tempfile::tempfile().unwrap();
    let len = 3 << 20;
    file.set_len(len).unwrap();
    Driver::new(Pmem::new(MappedFile::new(&file, len, GuestAddress(START)).unwrap()))
}

#[test]
fn the_range_is_in_the_configuration() {
    let mut driver = driver();
    assert_eq!((driver.get(0x100), driver.get(0x104)), (0, 1));
    assert_eq!((driver.get(0x108), driver.get(0x10c)), (4 << 20, 0));
}

#[test]
fn a_flush_succeeds_and_nothing_else_does() {
    let mut driver = driver();
    for (kind, result) in [(0_u32, 0_u32), (1, u32::MAX)] {
        driver.ram.write_obj(kind, GuestAddress(BUFFERS)).unwrap();
        driver.add(0, &[(BUFFERS, 4, false), (BUFFERS + 64, 4, true)]);
        driver.kick(0);
        assert_eq!(driver.used(0).map(|(_, written)| written), Some(4));
        assert_eq!(driver.bytes(BUFFERS + 64, 4), result.to_le_bytes());
    }
    assert_eq!(driver.transport.device().metrics().flushes, 1);
    driver.add(0, &[(BUFFERS, 3, false), (BUFFERS + 64, 4, true)]);
    driver.kick(0);
    assert!(driver.needs_reset(), "a request too short to be one");
}
