//! The shares as a driver sees them, with a real server behind the device.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::{Ask, Fs};
use crate::devices::virtio::driver::{BUFFERS, Driver};
use crate::devices::virtio::hostile::{attack, survives};
use crate::files::{Server, Window};

const REPLY: u64 = BUFFERS + 0x1000;

/// A server in the same process.
#[derive(Debug)]
struct Local {
    window: Window,
    server: Server,
}

impl Ask for Local {
    fn window(&self) -> &Window {
        &self.window
    }

    fn ask(&mut self, len: usize) -> Option<usize> {
        Some(self.server.answer(len))
    }
}

/// Nobody.
#[derive(Debug)]
struct Gone(Window);

impl Ask for Gone {
    fn window(&self) -> &Window {
        &self.0
    }

    fn ask(&mut self, _len: usize) -> Option<usize> {
        None
    }
}

fn local(root: &std::path::Path) -> Fs {
    let file = Window::file().unwrap();
    let window = Window::map(file.as_fd()).unwrap();
    let root = fs::File::open(root).unwrap().into();
    let server = Server::of(root, Window::map(file).unwrap()).unwrap();
    Fs::new("tag", Some(Box::new(Local { window, server })))
}

fn request(opcode: u32, node: u64, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(40 + body.len()).unwrap();
    let mut bytes = [len, opcode].map(u32::to_le_bytes).concat();
    bytes.extend([7, node].map(u64::to_le_bytes).concat());
    bytes.extend([0; 16]);
    bytes.extend(body);
    bytes
}

/// Sends a request; the error and the body of the answer.
fn ask(driver: &mut Driver<Fs>, request: &[u8]) -> (i32, Vec<u8>) {
    driver.ram.write_slice(request, GuestAddress(BUFFERS)).unwrap();
    let len = u32::try_from(request.len()).unwrap();
    driver.add(1, &[(BUFFERS, len, false), (REPLY, 0x1000, true)]);
    driver.kick(1);
    let (_, written) = driver.used(1).expect("answered at once");
    let reply = driver.bytes(REPLY, usize::try_from(written).unwrap());
    assert_eq!(reply[8..16], 7_u64.to_le_bytes(), "the answer to another request");
    (i32::from_le_bytes(reply[4..8].try_into().unwrap()), reply[16..].to_vec())
}

#[test]
fn the_guest_is_told_the_tag_and_one_queue() {
    let mut driver = Driver::new(Fs::new("tag", None));
    assert_eq!(driver.get(0x100), u32::from_le_bytes(*b"tag\0"));
    assert_eq!(driver.get(0x124), 1);
}

#[test]
fn names_are_looked_up_and_links_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "content").unwrap();
    symlink("/etc/passwd", dir.path().join("link")).unwrap();
    let mut driver = Driver::new(local(dir.path()));
    let mode = |reply: &[u8]| u32::from_le_bytes(reply[100..104].try_into().unwrap());
    let (error, reply) = ask(&mut driver, &request(1, 1, b"file\0"));
    assert_eq!((error, mode(&reply) & 0o170_000), (0, 0o100_000));
    let node = u64::from_le_bytes(reply[..8].try_into().unwrap());
    let mut read = [0_u8; 40];
    read[16..20].copy_from_slice(&100_u32.to_le_bytes());
    assert_eq!(ask(&mut driver, &request(15, node, &read)), (0, b"content".to_vec()));
    let (error, reply) = ask(&mut driver, &request(1, 1, b"link\0"));
    assert_eq!((error, mode(&reply) & 0o170_000), (0, 0o120_000));
    let link = u64::from_le_bytes(reply[..8].try_into().unwrap());
    assert_eq!(ask(&mut driver, &request(15, link, &read)).0, -libc::EINVAL);
    assert_eq!(ask(&mut driver, &request(1, link, b"x\0")).0, -libc::ENOTDIR);
    for name in [&b"..\0"[..], b".\0", b"\0", b"a/b\0", b"/etc\0", b"unended"] {
        assert_eq!(ask(&mut driver, &request(1, 1, name)).0, -libc::EINVAL, "{name:?}");
    }
}

#[test]
fn what_nobody_answers_is_an_error() {
    let window = Window::map(Window::file().unwrap()).unwrap();
    let mut driver = Driver::new(Fs::new("tag", Some(Box::new(Gone(window)))));
    assert_eq!(ask(&mut driver, &request(3, 1, &[0; 16])), (-libc::EIO, vec![]));
    let mut driver = Driver::new(Fs::new("tag", None));
    assert_eq!(ask(&mut driver, &request(3, 1, &[0; 16])), (-libc::EIO, vec![]));
    assert_eq!(driver.transport.device().metrics().unanswered, 1);
}

/// Requests of every kind with anything behind them.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let node = prop_oneof![4 => 0..4_u64, 1 => any::<u64>()];
    (0..60_u32, node, any::<[u8; 24]>()).prop_map(|(opcode, node, rest)| {
        let mut bytes = request(opcode, node, &rest);
        bytes.resize(64, 0);
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_shares_survive(attack in attack(requests())) {
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("shared");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("file"), "content").unwrap();
        survives(local(&dir), &attack)?;
        let beside: Vec<_> = fs::read_dir(outer.path()).unwrap().collect();
        prop_assert_eq!(beside.len(), 1, "something was made outside");
    }
}
