//! The balloon as a driver sees it.

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::{Balloon, REPORTS};
use crate::devices::virtio::driver::{BUFFERS, Driver};

const PAGE: u64 = 4096;

/// Fills `pages` pages from `BUFFERS` on.
fn touched(driver: &Driver<Balloon>, pages: u64) {
    for page in 0..pages {
        let at = GuestAddress(BUFFERS + page * PAGE);
        driver.ram.write_slice(&[0xaa; 4096], at).unwrap();
    }
}

/// Whether the host has memory behind each of `pages` pages from `BUFFERS` on.
fn resident(driver: &Driver<Balloon>, pages: usize) -> Vec<bool> {
    let start = driver.ram.get_host_address(GuestAddress(BUFFERS)).unwrap();
    let mut seen = vec![0_u8; pages];
    // SAFETY: the pages are mapped, and there is a byte for each.
    let outcome = unsafe { libc::mincore(start.cast(), pages * 4096, seen.as_mut_ptr()) };
    assert_eq!(outcome, 0);
    seen.iter().map(|page| page & 1 != 0).collect()
}

#[test]
fn reported_pages_are_given_back() {
    let mut driver = Driver::new(Balloon::new());
    touched(&driver, 8);
    driver.add(REPORTS, &[(BUFFERS, 8192, true), (BUFFERS + 4 * PAGE, 4096, true)]);
    driver.kick(REPORTS);
    assert_eq!(driver.used(REPORTS).map(|(_, written)| written), Some(0));
    assert_eq!(driver.interrupts(), 1);
    let kept = [false, false, true, true, false, true, true, true];
    assert_eq!(resident(&driver, 8), kept);
    assert_eq!(driver.bytes(BUFFERS, 4), [0; 4]);
    assert_eq!(driver.bytes(BUFFERS + 2 * PAGE, 4), [0xaa; 4]);
    assert_eq!(driver.transport.device().metrics().reclaimed_bytes, 3 * 4096);
    // They can be used again.
    touched(&driver, 1);
    assert_eq!(driver.bytes(BUFFERS, 4), [0xaa; 4]);
}

#[test]
fn only_whole_pages_are_given_back() {
    let mut driver = Driver::new(Balloon::new());
    touched(&driver, 4);
    driver.add(REPORTS, &[(BUFFERS + 1, 2 * 4096, true), (BUFFERS + 3 * PAGE, 100, true)]);
    driver.kick(REPORTS);
    assert_eq!(resident(&driver, 4), [true, false, true, true]);
    assert_eq!(driver.transport.device().metrics().reclaimed_bytes, 4096);
}

#[test]
fn what_the_guest_lets_nobody_write_stays() {
    let mut driver = Driver::new(Balloon::new());
    touched(&driver, 2);
    driver.add(REPORTS, &[(BUFFERS, 8192, false)]);
    driver.kick(REPORTS);
    assert!(driver.used(REPORTS).is_some());
    assert_eq!(resident(&driver, 2), [true, true]);
}

#[test]
fn inflating_unasked_changes_nothing() {
    let mut driver = Driver::new(Balloon::new());
    touched(&driver, 2);
    let frame = u32::try_from((BUFFERS + PAGE) / PAGE).unwrap();
    driver.ram.write_obj(frame, GuestAddress(BUFFERS)).unwrap();
    for queue in [0, 1] {
        driver.add(queue, &[(BUFFERS, 4, false)]);
        driver.kick(queue);
        assert!(driver.used(queue).is_some());
    }
    assert_eq!(driver.bytes(BUFFERS + PAGE, 4), [0xaa; 4]);
    assert_eq!(driver.get(0x100), 0, "and no page is asked for");
}
