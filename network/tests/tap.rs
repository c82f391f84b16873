//! The tap of a microVM, without one: frames are written and read where its monitor would.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use bulkhead_network::{Attachment, DEFAULT, Join, Kind, NetworkError, Networks};
use bulkhead_runtime::SandboxId;
use nix::sched::{CloneFlags, unshare};

/// `struct virtio_net_hdr` (linux/virtio_net.h), bytes: in front of every frame.
const HEADER: usize = 10;

/// ARP over Ethernet for IPv4 (RFC 826), before the operation.
const ARP: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// Does something in a network namespace of its own; nothing where only root may.
fn apart(action: impl FnOnce(&Networks) + Send + 'static) {
    if !nix::unistd::geteuid().is_root() || !bulkhead_network::firewall_is_available() {
        eprintln!("not tested: needs root and nft");
        return;
    }
    let there = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let dir = tempfile::tempdir().unwrap();
        // Names are not asked for: nobody needs to answer.
        let holder = vec!["true".into()];
        action(&Networks::new(dir.path(), dir.path().join("definitions"), holder));
        assert!(!dir.path().join(".network").exists(), "something is left of a network");
    });
    there.join().unwrap();
}

fn join(networks: &Networks, id: &str) -> Result<Attachment, NetworkError> {
    let id: SandboxId = id.parse().unwrap();
    networks.join(&Join {
        network: DEFAULT,
        id: &id,
        kind: Kind::Tap,
        hostname: id.as_str(),
        aliases: &[],
        address: None,
        mac: None,
        dns: &[],
        entries: &[],
        publish: &[],
    })
}

fn tap(attachment: &Attachment) -> File {
    attachment.interface().unwrap().tap.try_clone_to_owned().unwrap().into()
}

/// A question of `mac`, who says to be `from`, for the owner of `about`.
fn question(mac: [u8; 6], from: Ipv4Addr, about: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![0; HEADER];
    frame.extend([0xff; 6]);
    frame.extend(mac);
    frame.extend([8, 6]);
    frame.extend(ARP);
    frame.extend([0, 1]);
    frame.extend(mac);
    frame.extend(from.octets());
    frame.extend([0; 6]);
    frame.extend(about.octets());
    frame
}

/// The next ARP message of this operation: who sends it, and the whole.
fn next(tap: &mut File, operation: u8, patience: Duration) -> Option<(Ipv4Addr, Vec<u8>)> {
    let started = Instant::now();
    let mut buffer = [0; 2048];
    while started.elapsed() < patience {
        match tap.read(&mut buffer) {
            Ok(length) => {
                let frame = &buffer[HEADER..length];
                if frame[12..14] == [8, 6] && frame[20..22] == [0, operation] {
                    let from: [u8; 4] = frame[28..32].try_into().unwrap();
                    return Some((from.into(), frame.to_vec()));
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("{error}"),
        }
    }
    None
}

const SOON: Duration = Duration::from_secs(5);
const NEVER: Duration = Duration::from_millis(300);

#[test]
fn frames_reach_the_gateway_and_neighbours_under_ones_own_name_only() {
    apart(|networks| {
        let (one, two) = (join(networks, "one").unwrap(), join(networks, "two").unwrap());
        let (mine, other) = (one.interface().unwrap(), two.interface().unwrap());
        assert_eq!((mine.name, mine.prefix_length), ("eth0", 16));
        assert_ne!((mine.mac, mine.address), (other.mac, other.address));
        let gateway = mine.gateway.unwrap();
        let (mut tap, mut others) = (tap(&one), tap(&two));

        tap.write_all(&question(mine.mac, mine.address, gateway)).unwrap();
        let (from, reply) = next(&mut tap, 2, SOON).unwrap();
        assert_eq!((from, &reply[..6]), (gateway, &mine.mac[..]));

        tap.write_all(&question(mine.mac, mine.address, other.address)).unwrap();
        let (from, _) = next(&mut others, 1, SOON).unwrap();
        assert_eq!(from, mine.address);
        while next(&mut others, 1, NEVER).is_some() {}

        let stranger = [2, 0, 0, 0, 0, 9];
        for (mac, from) in [
            (mine.mac, other.address),
            (mine.mac, gateway),
            (other.mac, other.address),
            (stranger, mine.address),
        ] {
            tap.write_all(&question(mac, from, gateway)).unwrap();
            tap.write_all(&question(mac, from, other.address)).unwrap();
            assert!(next(&mut tap, 2, NEVER).is_none(), "{mac:?} {from}");
            assert!(next(&mut others, 1, NEVER).is_none(), "{mac:?} {from}");
        }
        drop((tap, others));
        one.leave().unwrap();
        two.leave().unwrap();
    });
}

#[test]
fn a_tap_is_its_descriptors_and_a_name_is_one_members() {
    apart(|networks| {
        let mut one = join(networks, "one").unwrap();
        assert!(matches!(join(networks, "one"), Err(NetworkError::Member { .. })));
        let state = networks.get(DEFAULT).unwrap().1.unwrap();
        let name = state.members[0].interface();
        // Of the calling thread, as its network namespace is.
        let is_up = || {
            let listed = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
            listed.contains(&name)
        };
        let monitors = tap(&one);
        one.hand_over();
        assert!(one.interface().is_none() && is_up());
        drop(monitors);
        let started = Instant::now();
        while is_up() && started.elapsed() < SOON {
            thread::sleep(Duration::from_millis(5));
        }
        assert!(!is_up());
        one.leave().unwrap();
        assert!(matches!(networks.get(DEFAULT), Err(NetworkError::NotFound(_))));
        assert!(!Path::new("/proc/thread-self/net/dev").exists() || !is_up());
    });
}
