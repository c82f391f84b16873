//! The transport as a driver sees it.

use vm_memory::{Bytes, GuestAddress};

use super::driver::{BUFFERS, Driver, rings};
use super::rng::Rng;
use crate::devices::bus::MmioDevice;

const STATUS: u64 = 0x070;

#[test]
fn a_driver_finds_a_modern_device() {
    let mut driver = Driver::new(Rng::new());
    assert_eq!(driver.get(0x000).to_le_bytes(), *b"virt");
    assert_eq!((driver.get(0x004), driver.get(0x008)), (2, 4));
    assert_eq!(driver.get(STATUS), 15);
    driver.set(0x014, 1);
    assert_eq!(driver.get(0x010), 1, "VIRTIO_F_VERSION_1");
    assert_eq!(driver.get(0x0b0), u32::MAX, "no shared memory");
    driver.set(0x030, 7);
    assert_eq!(driver.get(0x034), 0, "no such queue");
}

#[test]
fn features_that_were_not_offered_are_not_agreed_on() {
    let mut driver = Driver::new(Rng::new());
    driver.set(STATUS, 0);
    driver.set(STATUS, 3);
    driver.set(0x024, 0);
    driver.set(0x020, 0x8000_0000);
    driver.set(0x024, 1);
    driver.set(0x020, 1);
    driver.set(STATUS, 11);
    assert_eq!(driver.get(STATUS), 3);
    // And a driver that goes on all the same gets nowhere.
    driver.set(STATUS, 15);
    assert!(driver.needs_reset());
}

#[test]
fn queues_outside_guest_memory_are_not_used() {
    let mut driver = Driver::new(Rng::new());
    driver.set(STATUS, 0);
    driver.set(STATUS, 3);
    driver.set(0x024, 1);
    driver.set(0x020, 1);
    driver.set(STATUS, 11);
    driver.set(0x080, 0x7fff_0000);
    driver.set(0x044, 1);
    driver.set(STATUS, 15);
    assert!(driver.needs_reset());
}

#[test]
fn a_live_queue_cannot_be_moved() {
    let mut driver = Driver::new(Rng::new());
    driver.set(0x030, 0);
    driver.set(0x080, 0x7fff_0000);
    driver.set(0x038, 2);
    driver.add(0, &[(BUFFERS, 8, true)]);
    driver.kick(0);
    assert!(driver.used(0).is_some());
}

#[test]
fn an_interrupt_is_acknowledged_and_can_be_declined() {
    let mut driver = Driver::new(Rng::new());
    driver.add(0, &[(BUFFERS, 8, true)]);
    driver.kick(0);
    assert_eq!((driver.get(0x060), driver.interrupts()), (1, 1));
    driver.set(0x064, 1);
    assert_eq!(driver.get(0x060), 0);
    // VIRTQ_AVAIL_F_NO_INTERRUPT
    driver.ram.write_obj(1_u16, GuestAddress(rings(0)[1])).unwrap();
    driver.add(0, &[(BUFFERS, 8, true)]);
    driver.kick(0);
    assert_eq!(driver.interrupts(), 0);
}

#[test]
fn a_reset_forgets_everything() {
    let mut driver = Driver::new(Rng::new());
    driver.set(STATUS, 0);
    assert_eq!((driver.get(STATUS), driver.get(0x044), driver.get(0x060)), (0, 0, 0));
    driver.add(0, &[(BUFFERS, 8, true)]);
    driver.kick(0);
    assert_eq!(driver.used(0), None);
    let mut wide = [1; 8];
    driver.transport.read(0x100, &mut wide);
    assert_eq!(wide, [0; 8], "no configuration space");
}
