//! The source of randomness as a driver sees it.

use super::Rng;
use crate::devices::virtio::driver::{BUFFERS, Driver};

#[test]
fn buffers_are_filled_up_to_a_bound() {
    let mut driver = Driver::new(Rng::new());
    driver.add(0, &[(BUFFERS, 64, true)]);
    driver.add(0, &[(BUFFERS + 0x1000, 0x2000, true)]);
    driver.kick(0);
    assert_eq!(driver.used(0).map(|(_, written)| written), Some(64));
    assert_eq!(driver.used(0).map(|(_, written)| written), Some(256));
    assert_eq!(driver.interrupts(), 1, "one for both");
    assert_ne!(driver.bytes(BUFFERS, 32), driver.bytes(BUFFERS + 32, 32));
    assert_eq!(driver.bytes(BUFFERS + 0x1100, 16), [0; 16]);
    assert_eq!(driver.transport.device().metrics().bytes, 320);
}
