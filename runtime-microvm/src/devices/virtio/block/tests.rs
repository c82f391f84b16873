//! The disk as a driver sees it.

use std::fs;

use vm_memory::{Bytes, GuestAddress};

use super::Block;
use crate::devices::virtio::disk::DiskImage;
use crate::devices::virtio::driver::{BUFFERS, Driver};

const HEADER: u64 = BUFFERS;
const STATUS: u64 = BUFFERS + 0x100;
const DATA: u64 = BUFFERS + 0x1000;

/// A disk of eight sectors, each filled with its number.
fn driver() -> Driver<Block> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let content: Vec<u8> = (0..8 * 512).map(|at| u8::try_from(at / 512).unwrap()).collect();
    fs::write(file.path(), content).unwrap();
    Driver::new(Block::new(DiskImage::open(file.path()).unwrap(), "root"))
}

/// Sends a request and returns its status byte and how much was written.
fn request(
    driver: &mut Driver<Block>,
    kind: u32,
    sector: u64,
    data: &[(u64, u32, bool)],
) -> (u8, u32) {
    let header = [&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat();
    driver.ram.write_slice(&header, GuestAddress(HEADER)).unwrap();
    driver.ram.write_obj(0xee_u8, GuestAddress(STATUS)).unwrap();
    let mut chain = vec![(HEADER, 16, false)];
    chain.extend(data);
    chain.push((STATUS, 1, true));
    let head = driver.add(0, &chain);
    driver.kick(0);
    let (used, written) = driver.used(0).expect("the request is answered at once");
    assert_eq!(used, u32::from(head));
    (driver.bytes(STATUS, 1)[0], written)
}

#[test]
fn sectors_are_read_into_any_number_of_buffers() {
    let mut driver = driver();
    let data = [(DATA, 256, true), (DATA + 0x800, 256, true), (DATA + 0x1000, 512, true)];
    assert_eq!(request(&mut driver, 0, 3, &data), (0, 1025));
    assert_eq!(driver.bytes(DATA, 256), [3; 256]);
    assert_eq!(driver.bytes(DATA + 0x800, 256), [3; 256]);
    assert_eq!(driver.bytes(DATA + 0x1000, 512), [4; 512]);
    assert_eq!(driver.interrupts(), 1);
    let metrics = driver.transport.device().metrics();
    assert_eq!((metrics.reads, metrics.read_bytes, metrics.kicks), (1, 1024, 1));
}

#[test]
fn what_is_not_on_the_disk_is_an_error() {
    let mut driver = driver();
    for (sector, len) in [(8, 512), (7, 1024), (u64::MAX, 512), (u64::MAX / 512, 512), (0, 100)]
    {
        let (status, written) = request(&mut driver, 0, sector, &[(DATA, len, true)]);
        assert_eq!((status, written), (1, 1), "sector {sector}, {len} bytes");
    }
    assert!(!driver.needs_reset());
}

#[test]
fn writes_are_refused_and_unknown_requests_unsupported() {
    let mut driver = driver();
    assert_eq!(request(&mut driver, 1, 0, &[(DATA, 512, false)]), (1, 1));
    assert_eq!(request(&mut driver, 99, 0, &[]), (2, 1));
    assert_eq!(driver.transport.device().metrics().errors, 2);
}

#[test]
fn the_disk_has_a_name() {
    let mut driver = driver();
    assert_eq!(request(&mut driver, 8, 0, &[(DATA, 20, true)]), (0, 21));
    assert_eq!(&driver.bytes(DATA, 6), b"root\0\0");
    assert_eq!(request(&mut driver, 8, 0, &[(DATA, 10, true)]), (1, 1));
}

#[test]
fn a_request_without_room_for_its_status_stops_the_device() {
    let mut driver = driver();
    driver.add(0, &[(HEADER, 16, false)]);
    driver.kick(0);
    assert!(driver.needs_reset());
    assert_eq!(driver.used(0), None);
}

#[test]
fn capacity_and_segments_are_in_the_configuration() {
    let mut driver = driver();
    assert_eq!((driver.get(0x100), driver.get(0x104)), (8, 0));
    assert_eq!(driver.get(0x10c), 62);
    assert_eq!(driver.get(0x200), 0);
}
