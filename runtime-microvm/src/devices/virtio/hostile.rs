//! Hostile guests: whatever is in the rings and the registers, a device neither
//! panics nor hangs, and touches only what the guest let it write.

use std::fs;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use nix::sys::epoll::{Epoll, EpollCreateFlags};
use proptest::collection::vec;
use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::VirtioDevice;
use super::balloon::Balloon;
use super::block::Block;
use super::disk::DiskImage;
use super::driver::{BUFFERS, Descriptor, Driver, RAM, WRITE, rings};
use super::net::tests::{Wire, frames};
use super::pmem::Pmem;
use super::rng::Rng;
use super::vsock::Vsock;
use crate::devices::bus::MmioDevice;
use crate::kvm::MappedFile;

const DISK_SECTORS: usize = 64;

fn address() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => BUFFERS..RAM,
        1 => RAM - 64..RAM + 64,
        1 => 0..0x1_0000_u64,
        1 => any::<u64>(),
        1 => u64::MAX - 64..=u64::MAX,
    ]
}

fn length() -> impl Strategy<Value = u32> {
    prop_oneof![
        2 => 0..64_u32,
        2 => Just(16_u32),
        2 => (0..4_u32).prop_map(|sectors| sectors * 512),
        1 => 0..0x2_0000_u32,
        1 => any::<u32>(),
    ]
}

prop_compose! {
    fn descriptor()(
        address in address(),
        len in length(),
        flags in prop_oneof![8 => 0..4_u16, 1 => 0..8_u16, 1 => any::<u16>()],
        next in prop_oneof![8 => 0..16_u16, 1 => any::<u16>()],
    ) -> Descriptor {
        Descriptor { address, len, flags, next }
    }
}

/// What a guest puts into the memory its device looks at.
#[derive(Debug, Clone)]
pub struct Attack {
    descriptors: Vec<Descriptor>,
    heads: Vec<u16>,
    index: u16,
    content: Vec<u8>,
}

prop_compose! {
    pub fn attack(content: impl Strategy<Value = Vec<u8>>)(
        descriptors in vec(descriptor(), 16),
        heads in vec(prop_oneof![8 => 0..16_u16, 1 => any::<u16>()], 16),
        index in prop_oneof![8 => 0..20_u16, 1 => any::<u16>()],
        content in content,
    ) -> Attack {
        Attack { descriptors, heads, index, content }
    }
}

/// Requests of the disk, several times over: kind, reserved, sector.
pub fn block_requests() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![4 => Just(0_u32), 1 => Just(1), 1 => Just(8), 1 => any::<u32>()];
    let sector = prop_oneof![4 => 0..70_u64, 1 => any::<u64>()];
    (kind, sector).prop_map(|(kind, sector)| {
        [&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat()
    })
}

/// Packets of vsock.
pub fn packets() -> impl Strategy<Value = Vec<u8>> {
    let port = prop_oneof![Just(1024_u32), Just(7), any::<u32>()];
    (port.clone(), port, length(), any::<u16>(), 0..9_u16, 0..4_u32, any::<[u32; 2]>())
        .prop_map(|(guest, host, len, kind, op, flags, credit)| {
            let kind = if kind % 8 == 0 { kind } else { 1 };
            let mut bytes = [3_u64, 2].map(u64::to_le_bytes).concat();
            bytes.extend([guest, host, len].map(u32::to_le_bytes).concat());
            bytes.extend([kind, op].map(u16::to_le_bytes).concat());
            bytes.extend([flags, credit[0], credit[1]].map(u32::to_le_bytes).concat());
            bytes
        })
}

/// Lets a guest with `attack` in its memory loose on every queue; its memory before
/// and after.
pub fn let_loose<D: VirtioDevice>(
    driver: &mut Driver<D>,
    attack: &Attack,
) -> (Vec<u8>, Vec<u8>) {
    for at in (BUFFERS..RAM - 64).step_by(64) {
        let len = attack.content.len().min(64);
        driver.ram.write_slice(&attack.content[..len], GuestAddress(at)).unwrap();
    }
    for queue in 0..driver.queues() {
        for (index, descriptor) in (0..).zip(&attack.descriptors) {
            driver.put_descriptor(queue, index, *descriptor);
        }
        driver.put_available(queue, attack.index, &attack.heads);
    }
    let whole = usize::try_from(RAM).unwrap();
    let before = driver.bytes(0, whole);
    for queue in 0..driver.queues() {
        driver.kick(queue);
    }
    (before, driver.bytes(0, whole))
}

/// Lets a guest loose on `device`, and checks that nothing changed but the used rings
/// and what the descriptors let the device write.
pub fn survives<D: VirtioDevice>(device: D, attack: &Attack) -> Result<(), TestCaseError> {
    let mut driver = Driver::new(device);
    let (before, after) = let_loose(&mut driver, attack);

    let indirect = attack.descriptors.iter().any(|it| it.flags & 4 != 0);
    let overwritten_table = before[..0x1_0000] != after[..0x1_0000];
    for (at, _) in before.iter().zip(&after).enumerate().filter(|(_, (old, new))| old != new) {
        let at = at as u64;
        let in_used_ring = (0..driver.queues())
            .any(|queue| (rings(queue)[2]..rings(queue)[2] + 0x1000).contains(&at));
        let writable = attack.descriptors.iter().any(|it| {
            it.flags & WRITE != 0
                && at.checked_sub(it.address).is_some_and(|off| off < it.len.into())
        });
        // A guest that has its device overwrite the rings, or uses tables of
        // descriptors elsewhere, may have allowed anything.
        prop_assert!(in_used_ring || writable || indirect || overwritten_table, "{at:#x}");
    }
    Ok(())
}

fn disk() -> (tempfile::NamedTempFile, Block) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), [0xd1_u8; 512 * DISK_SECTORS]).unwrap();
    let block = Block::new(DiskImage::open(file.path()).unwrap(), "test");
    (file, block)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_disk_survives(attack in attack(block_requests())) {
        let (_file, block) = disk();
        survives(block, &attack)?;
    }

    #[test]
    fn the_source_of_randomness_survives(attack in attack(vec(any::<u8>(), 64))) {
        survives(Rng::new(), &attack)?;
    }

    #[test]
    fn the_balloon_survives(attack in attack(vec(any::<u8>(), 64))) {
        survives(Balloon::new(), &attack)?;
    }

    #[test]
    fn the_mapped_disk_survives(attack in attack((0..3_u32).prop_map(|kind| kind.to_le_bytes().into()))) {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        let range = MappedFile::new(&file, 4096, GuestAddress(1 << 32)).unwrap();
        survives(Pmem::new(range), &attack)?;
    }

    #[test]
    fn vsock_survives(attack in attack(packets())) {
        let dir = tempfile::tempdir().unwrap();
        let _host = UnixListener::bind(dir.path().join("v_1024")).unwrap();
        let epoll = Arc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap());
        let vsock = Vsock::new(dir.path().join("v"), epoll).unwrap();
        survives(vsock, &attack)?;
    }

    #[test]
    fn the_card_survives(attack in attack(frames()), arriving in vec(0..3000_usize, 0..5)) {
        let (wire, net) = Wire::new();
        for len in arriving {
            wire.arrives(&vec![0x5a; len]);
        }
        survives(net, &attack)?;
    }

    #[test]
    fn the_transport_survives_random_registers(
        accesses in vec(
            (any::<bool>(), prop_oneof![8 => (0..0x44_u64).prop_map(|r| r * 4), 1 => 0..0x1000_u64],
             prop_oneof![4 => 0..256_u32, 1 => any::<u32>()], 0..=8_usize),
            0..200,
        ),
        brought_up: bool,
    ) {
        let (_file, block) = disk();
        let mut driver = Driver::new(block);
        if !brought_up {
            driver.set(0x070, 0);
        }
        for (is_write, offset, value, len) in accesses {
            let mut data = u64::from(value).to_le_bytes();
            if is_write {
                driver.transport.write(offset, &data[..len]);
            } else {
                driver.transport.read(offset, &mut data[..len]);
            }
        }
        driver.kick(0);
    }
}

#[test]
fn a_chain_that_loops_stops_the_device_until_a_reset() {
    let (_file, block) = disk();
    let mut driver = Driver::new(block);
    for index in 0..2 {
        let next = 1 - index;
        driver.put_descriptor(
            0,
            index,
            Descriptor { address: BUFFERS, len: 16, flags: 1, next },
        );
    }
    driver.put_available(0, 1, &[0]);
    driver.kick(0);
    assert!(driver.needs_reset());
    assert_eq!(driver.interrupts(), 1, "the driver is told");
    assert_eq!(driver.get(0x060), 2, "a configuration change");
    assert_eq!(driver.used(0), None);
    driver.kick(0);
    assert_eq!(driver.interrupts(), 0, "it stays stopped");
    driver.set(0x070, 0);
    assert!(!driver.needs_reset());
}
