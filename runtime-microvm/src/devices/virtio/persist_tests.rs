//! Every device comes back as it was saved, whatever its guest did before; and
//! states no machine was ever in are taken or refused, no more.

use std::fs;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use nix::sys::epoll::{Epoll, EpollCreateFlags};
use proptest::collection::vec;
use proptest::prelude::*;
use vm_memory::GuestAddress;

use super::balloon::Balloon;
use super::block::Block;
use super::disk::DiskImage;
use super::driver::{Driver, guarded_ram};
use super::hostile::{Attack, attack, block_requests, let_loose, packets};
use super::mmio::{MmioTransport, TransportState};
use super::net::Net;
use super::net::tests::{Wire, frames};
use super::persist::{Persist, RestoreError};
use super::pmem::Pmem;
use super::rng::Rng;
use super::vsock::Vsock;
use crate::devices::ioapic::{IoApic, MsiSink};
use crate::kvm::MappedFile;

struct Nowhere;

impl MsiSink for Nowhere {
    fn deliver(&self, _address: u64, _data: u32) {}
}

fn disk(sectors: usize) -> (tempfile::NamedTempFile, Block) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), vec![1; 512 * sectors]).unwrap();
    let block = Block::new(DiskImage::open(file.path()).unwrap(), "test");
    (file, block)
}

fn mapped() -> Pmem {
    let file = tempfile::tempfile().unwrap();
    file.set_len(4096).unwrap();
    Pmem::new(MappedFile::new(&file, 4096, GuestAddress(1 << 32)).unwrap())
}

/// A device with a host process listening at the port guests call.
struct Host {
    dir: tempfile::TempDir,
    _listener: UnixListener,
}

impl Host {
    fn new() -> (Self, Vsock) {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("v_1024")).unwrap();
        let host = Self { dir, _listener: listener };
        let epoll = Arc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap());
        let vsock = Vsock::new(host.dir.path().join("v"), epoll).unwrap();
        (host, vsock)
    }
}

/// Saves `device` after `attack`, puts that into `fresh`, and saves it again.
fn comes_back<D>(device: D, fresh: D, attack: &Attack) -> Result<(), TestCaseError>
where
    D: Persist,
    D::State: PartialEq + std::fmt::Debug,
{
    let mut driver = Driver::new(device);
    let_loose(&mut driver, attack);
    let state = driver.transport.save();
    let line = IoApic::new(Arc::new(Nowhere)).line(5);
    let mut other = MmioTransport::new(fresh, driver.ram.clone(), line);
    prop_assert_eq!(other.restore(&state), Ok(()));
    prop_assert_eq!(other.save(), state);
    Ok(())
}

/// Puts whatever state `bytes` decode to into `device`.
fn is_taken_or_refused<D: Persist>(device: D, bytes: &[u8]) {
    let Ok(state) = postcard::from_bytes::<TransportState<D::State>>(bytes) else { return };
    let line = IoApic::new(Arc::new(Nowhere)).line(5);
    let mut transport = MmioTransport::new(device, guarded_ram(), line);
    if transport.restore(&state).is_ok() {
        transport.serve(|device, queues, ram| device.kick(0, queues, ram));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_disk_comes_back(attack in attack(block_requests())) {
        let ((_one, device), (_two, fresh)) = (disk(64), disk(64));
        comes_back(device, fresh, &attack)?;
    }

    #[test]
    fn the_source_of_randomness_comes_back(attack in attack(vec(any::<u8>(), 64))) {
        comes_back(Rng::new(), Rng::new(), &attack)?;
    }

    #[test]
    fn the_balloon_comes_back(attack in attack(vec(any::<u8>(), 64))) {
        comes_back(Balloon::new(), Balloon::new(), &attack)?;
    }

    #[test]
    fn the_mapped_disk_comes_back(attack in attack(vec(any::<u8>(), 64))) {
        comes_back(mapped(), mapped(), &attack)?;
    }

    #[test]
    fn the_card_comes_back(attack in attack(frames())) {
        comes_back(Net::new(), Net::new(), &attack)?;
        let ((_one, device), (_two, fresh)) = (Wire::new(), Wire::new());
        comes_back(device, fresh, &attack)?;
    }

    #[test]
    fn connections_come_back(attack in attack(packets())) {
        let ((_one, device), (_two, fresh)) = (Host::new(), Host::new());
        comes_back(device, fresh, &attack)?;
    }

    #[test]
    fn arbitrary_states_do_no_harm(bytes in vec(any::<u8>(), 0..200)) {
        is_taken_or_refused(disk(64).1, &bytes);
        is_taken_or_refused(Rng::new(), &bytes);
        is_taken_or_refused(Balloon::new(), &bytes);
        is_taken_or_refused(mapped(), &bytes);
        is_taken_or_refused(Net::new(), &bytes);
        is_taken_or_refused(Wire::new().1, &bytes);
        let (_host, vsock) = Host::new();
        is_taken_or_refused(vsock, &bytes);
    }
}

#[test]
fn a_disk_of_another_size_is_refused() {
    let ((_one, device), (_two, other)) = (disk(64), disk(65));
    let state = Driver::new(device).transport.save();
    let line = IoApic::new(Arc::new(Nowhere)).line(5);
    let mut transport = MmioTransport::new(other, guarded_ram(), line);
    let error = transport.restore(&state).unwrap_err();
    assert_eq!(error, RestoreError::DiskLength { found: 65 * 512, expected: 64 * 512 });
}
