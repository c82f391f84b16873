//! The process's loop: questions, changes of the network, and deaths.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::answer::{Answer, answer};
use super::forward::{Helpers, converse, elsewhere};
use crate::networks::{Networks, host_lock, netlink};
use crate::state::NetworkState;

/// Largest question that is taken as a datagram, bytes: what EDNS makes of it
/// (RFC 6891, 6.2.5), and more.
const QUESTION: usize = 4096;

/// How long until the members are looked at again, whatever happened.
const ROUND: Duration = Duration::from_secs(30);

/// The same where somebody died whose lock is still held by what he leaves.
const SOON: Duration = Duration::from_millis(100);

/// Serves until the network is down.
pub(super) fn serve(
    networks: &Networks,
    network: &str,
    datagrams: &UdpSocket,
    connections: &TcpListener,
) -> io::Result<()> {
    datagrams.set_nonblocking(true)?;
    connections.set_nonblocking(true)?;
    let changes = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let dir = networks.states().dir(network);
    // Before the first look, so that no change is missed.
    inotify::add_watch(&changes, &dir, WatchFlags::MOVED_TO | WatchFlags::DELETE)?;
    let helpers = Helpers::default();
    loop {
        let Ok(Some(state)) = networks.states().read(network) else { return Ok(()) };
        let owners = owners(&state);
        let state = Arc::new(state);
        let changed = Service { datagrams, connections, changes: &changes, helpers: &helpers }
            .until_change(&state, owners.as_deref())?;
        if changed == Change::Death {
            collect(networks, network);
        }
    }
}

/// Takes those who were killed off the network; the last takes it down.
fn collect(networks: &Networks, network: &str) {
    let Ok(_lock) = host_lock() else { return };
    let Ok(netlink) = netlink() else { return };
    // What could not be removed is tried again in the next round.
    let _ = networks.settle(&netlink, network, None);
}

/// Something that poll(2) tells the death of, for each owner; none when one is dead.
fn owners(state: &NetworkState) -> Option<Vec<OwnedFd>> {
    let open = |owner: i32| {
        let pid = Pid::from_raw(owner)?;
        pidfd_open(pid, PidfdFlags::empty()).ok()
    };
    state.members.iter().map(|member| open(member.owner)).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Network,
    Death,
}

struct Service<'a> {
    datagrams: &'a UdpSocket,
    connections: &'a TcpListener,
    changes: &'a OwnedFd,
    helpers: &'a Helpers,
}

impl Service<'_> {
    /// Answers questions until something else is to be done.
    fn until_change(
        &self,
        state: &Arc<NetworkState>,
        owners: Option<&[OwnedFd]>,
    ) -> io::Result<Change> {
        let timeout = if owners.is_some() { ROUND } else { SOON };
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        let own = [self.datagrams.as_fd(), self.connections.as_fd(), self.changes.as_fd()];
        let watched = owners.unwrap_or_default().iter().map(AsFd::as_fd);
        let mut events: Vec<_> = own
            .into_iter()
            .chain(watched)
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        loop {
            match poll(&mut events, timeout) {
                Err(nix::errno::Errno::EINTR) => continue,
                // Nothing happened: whether all still live is looked at anyway.
                Ok(0) => return Ok(Change::Death),
                other => other?,
            };
            let happened: Vec<_> =
                events.iter().map(|event| event.any().unwrap_or(true)).collect();
            if happened[0] {
                self.questions(state);
            }
            if happened[1] {
                self.callers(state);
            }
            if happened[2] {
                let mut told = [std::mem::MaybeUninit::uninit(); 4096];
                let mut reader = inotify::Reader::new(self.changes, &mut told);
                while reader.next().is_ok() {}
                return Ok(Change::Network);
            }
            if happened[3..].contains(&true) {
                return Ok(Change::Death);
            }
        }
    }

    /// Answers the datagrams that are there.
    fn questions(&self, state: &Arc<NetworkState>) {
        let mut buffer = [0; QUESTION];
        while let Ok((length, from)) = self.datagrams.recv_from(&mut buffer) {
            let SocketAddr::V4(from) = from else { continue };
            let question = &buffer[..length];
            match answer(question, state) {
                Answer::Ignore => {}
                Answer::Say(reply) => {
                    let _ = self.datagrams.send_to(&reply, from);
                }
                Answer::Elsewhere => self.pass_on(question, from, state),
            }
        }
    }

    fn pass_on(&self, question: &[u8], from: SocketAddrV4, state: &Arc<NetworkState>) {
        let Ok(socket) = self.datagrams.try_clone() else { return };
        let (question, state) = (question.to_vec(), Arc::clone(state));
        // Who asks too much is not answered, as if it were lost.
        self.helpers.run(*from.ip(), move || {
            let reply = elsewhere(&question, &servers_of(*from.ip(), &state), false);
            let _ = socket.send_to(&reply, from);
        });
    }

    /// Takes the connections that are there.
    fn callers(&self, state: &Arc<NetworkState>) {
        while let Ok((caller, from)) = self.connections.accept() {
            let SocketAddr::V4(from) = from else { continue };
            let state = Arc::clone(state);
            self.helpers.run(*from.ip(), move || {
                let servers = servers_of(*from.ip(), &state);
                // Callers go away as they like.
                let _ = converse(caller, &state, &servers);
            });
        }
    }
}

/// The resolvers of a member for names that are none of the network's.
fn servers_of(member: Ipv4Addr, state: &NetworkState) -> Vec<std::net::IpAddr> {
    let own = state.members.iter().find(|other| other.address == member);
    let own = own.map(|member| member.dns.as_slice()).unwrap_or_default();
    if own.is_empty() {
        return super::forward::hosts_resolvers(state.gateway());
    }
    own.iter().map(|server| (*server).into()).collect()
}
