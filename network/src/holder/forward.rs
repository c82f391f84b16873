//! Questions about names of others: asked of the resolvers of the host or of the member.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use simple_dns::RCODE;

use super::PORT;
use super::answer::{Answer, answer, failure};
use crate::state::NetworkState;

/// How long a resolver may take before the next is asked.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long a caller may be silent.
const SILENCE: Duration = Duration::from_secs(10);

/// Resolvers that are asked, as resolv.conf(5) has it (MAXNS).
const SERVERS: usize = 3;

/// Questions under way at once: of all members, and of one.
const ALL: usize = 64;
const ONE: usize = 16;

/// Longest message, bytes.
const LONGEST: usize = 65_535;

/// Threads that wait for others.
#[derive(Debug, Clone, Default)]
pub(super) struct Helpers {
    busy: Arc<Mutex<HashMap<Ipv4Addr, usize>>>,
}

impl Helpers {
    /// Has something done for a member, unless too much is being done for it.
    pub(super) fn run(&self, member: Ipv4Addr, action: impl FnOnce() + Send + 'static) {
        {
            let mut busy = self.busy();
            let all: usize = busy.values().sum();
            let own = busy.entry(member).or_default();
            if all >= ALL || *own >= ONE {
                return;
            }
            *own += 1;
        }
        let these = self.clone();
        let run = move || {
            action();
            these.done(member);
        };
        if thread::Builder::new().stack_size(256 << 10).spawn(run).is_err() {
            self.done(member);
        }
    }

    fn done(&self, member: Ipv4Addr) {
        let mut busy = self.busy();
        if let Some(own) = busy.get_mut(&member) {
            *own -= 1;
            if *own == 0 {
                busy.remove(&member);
            }
        }
    }

    fn busy(&self) -> MutexGuard<'_, HashMap<Ipv4Addr, usize>> {
        // A count cannot be left half changed.
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The host's resolvers, without ourselves.
pub(super) fn hosts_resolvers(ourselves: Ipv4Addr) -> Vec<IpAddr> {
    resolvers(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default(), ourselves)
}

fn resolvers(text: &str, ourselves: Ipv4Addr) -> Vec<IpAddr> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    // An address may name its interface, as in `fe80::1%eth0`, which we cannot ask.
    let servers = lines.filter_map(|server| server.trim().parse::<IpAddr>().ok());
    servers.filter(|server| *server != IpAddr::V4(ourselves)).take(SERVERS).collect()
}

/// What the resolvers say to a question; that they failed, if none says anything.
pub(super) fn elsewhere(question: &[u8], servers: &[IpAddr], connected: bool) -> Vec<u8> {
    let mut servers = servers.iter().map(|server| SocketAddr::new(*server, PORT));
    let reply = servers.find_map(|server| {
        let asked =
            if connected { by_stream(question, server) } else { by_datagram(question, server) };
        asked.ok().filter(|reply| is_reply(reply, question))
    });
    reply.unwrap_or_else(|| failure(question, RCODE::ServerFailure).unwrap_or_default())
}

/// Whether it has the same number and is marked as a reply (RFC 1035, 4.1.1).
fn is_reply(reply: &[u8], question: &[u8]) -> bool {
    reply.len() >= 12 && reply.get(..2) == question.get(..2) && reply[2] & 0x80 != 0
}

fn by_datagram(question: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // A port of its own for each question, and replies from this server alone.
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.send(question)?;
    let deadline = Instant::now() + PATIENCE;
    let mut buffer = vec![0; LONGEST];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let length = socket.recv(&mut buffer)?;
        if is_reply(&buffer[..length], question) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

fn by_stream(question: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    send(&mut stream, question)?;
    receive(&mut stream)
}

/// Answers the questions of one connection (RFC 7766).
pub(super) fn converse(
    mut caller: TcpStream,
    state: &NetworkState,
    servers: &[IpAddr],
) -> io::Result<()> {
    caller.set_nonblocking(false)?;
    caller.set_read_timeout(Some(SILENCE))?;
    caller.set_write_timeout(Some(SILENCE))?;
    loop {
        let question = receive(&mut caller)?;
        match answer(&question, state) {
            Answer::Ignore => return Ok(()),
            Answer::Say(reply) => send(&mut caller, &reply)?,
            Answer::Elsewhere => send(&mut caller, &elsewhere(&question, servers, true))?,
        }
    }
}

/// Each message comes behind its length (RFC 1035, 4.2.2).
fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message)?;
    Ok(message)
}

fn send(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_resolvers_are_read() {
        let text = "# x\nnameserver 192.0.2.1\nnameserver ::1\nnameserver fe80::1%eth0\n\
                    nameserver 10.88.0.1\nsearch example\n";
        let found = resolvers(text, Ipv4Addr::new(10, 88, 0, 1));
        assert_eq!(found, [IpAddr::from([192, 0, 2, 1]), Ipv6Addr::LOCALHOST.into()]);
    }

    #[test]
    fn no_resolver_is_a_failure_and_not_silence() {
        let question = [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1];
        let reply = elsewhere(&question, &[], false);
        assert_eq!((&reply[..2], reply[3] & 0xf), (&[0, 7][..], 2));
        assert!(reply[2] & 0x80 != 0 && is_reply(&reply, &question));
    }

    #[test]
    fn one_member_takes_no_more_than_its_share() {
        let helpers = Helpers::default();
        let wait = Arc::new(Mutex::new(()));
        let held = wait.lock().unwrap();
        let member = Ipv4Addr::LOCALHOST;
        for _ in 0..ONE + 5 {
            let wait = Arc::clone(&wait);
            helpers.run(member, move || drop(wait.lock()));
        }
        assert_eq!(helpers.busy()[&member], ONE);
        drop(held);
        while !helpers.busy().is_empty() {
            thread::sleep(Duration::from_millis(1));
        }
    }
}
