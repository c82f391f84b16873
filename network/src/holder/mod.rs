//! The process that holds a network: it answers for names, and takes down what members
//! leave who were killed.
//!
//! It is this program under another verb, started by whoever finds that none lives, and
//! ends with the network. It owns nothing that is not found without it: if it is killed,
//! the next who joins or leaves, any member's owner, or `gc` starts another.

mod answer;
mod forward;
mod serve;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::net::{SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::{ForkResult, fork, setsid};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use crate::error::NetworkError;
use crate::lock::{self, Lock};
use crate::networks::Networks;
use crate::state::NetworkState;

/// Where names are asked for (RFC 1035, 4.2).
const PORT: u16 = 53;

/// Connections that wait to be taken.
const BACKLOG: i32 = 64;

/// How long a holder may take to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the process finds open: questions by datagram and by connection, and its lock.
const FDS: [RawFd; 3] = [3, 4, 5];

/// Starts the process, unless it lives. The host's lock is held.
pub(crate) fn ensure(networks: &Networks, state: &NetworkState) -> Result<(), NetworkError> {
    let network = &state.definition.name;
    let path = networks.states().holder(network);
    if lock::is_held(&path) {
        return Ok(());
    }
    let lock = Lock::wait(&path)?;
    start(networks, state, &lock)
        .map_err(|source| NetworkError::Holder { network: network.clone(), source })?;
    lock.hand_over();
    Ok(())
}

fn start(networks: &Networks, state: &NetworkState, lock: &Lock) -> io::Result<()> {
    let [program, arguments @ ..] = networks.holder() else {
        return Err(io::ErrorKind::NotFound.into());
    };
    // Bound here: questions wait in the sockets for the one who will answer.
    let datagrams = socket(SocketType::DGRAM, state)?;
    let connections = socket(SocketType::STREAM, state)?;
    listen(&connections, BACKLOG)?;
    let given = [datagrams.as_raw_fd(), connections.as_raw_fd(), lock.file().as_raw_fd()];
    let mut command = Command::new(program);
    command
        .args(arguments)
        .arg(networks.root())
        .arg(networks.definitions().dir())
        .arg(&state.definition.name)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // SAFETY: only system calls that a child between fork and exec may make.
    unsafe {
        command.pre_exec(move || hand_over(given));
    }
    // The process that is started leaves the holder to nobody in particular and ends.
    let status = command.spawn()?.wait()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("it ended: {status}"))) }
}

/// A socket that only members reach: it is the bridge's.
fn socket(kind: SocketType, state: &NetworkState) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    nix::sys::socket::setsockopt(
        &socket,
        nix::sys::socket::sockopt::BindToDevice,
        &OsString::from(&state.bridge),
    )?;
    bind(&socket, &SocketAddrV4::new(state.gateway(), PORT))?;
    Ok(socket)
}

/// Puts descriptors where the process looks for them, and nothing above.
fn hand_over(given: [RawFd; 3]) -> io::Result<()> {
    // Out of the way of their places first.
    let mut high = [0; 3];
    for (high, fd) in high.iter_mut().zip(given) {
        // SAFETY: takes no pointers.
        *high = check(unsafe { libc::fcntl(fd, libc::F_DUPFD, 10) })?;
    }
    for (fd, place) in high.into_iter().zip(FDS) {
        // SAFETY: takes no pointers; whatever was there is closed by it.
        check(unsafe { libc::dup2(fd, place) })?;
        // SAFETY: the copy is ours.
        check(unsafe { libc::close(fd) })?;
    }
    let rest = u32::try_from(FDS[2] + 1).unwrap_or(6);
    let flags = i32::try_from(libc::CLOSE_RANGE_CLOEXEC).unwrap_or(0);
    // SAFETY: takes no pointers.
    check(unsafe { libc::close_range(rest, u32::MAX, flags) }).map(drop)
}

fn check(returned: i32) -> io::Result<i32> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(returned) }
}

/// Waits a moment for whoever has the lock of `holder` to end.
pub(crate) fn await_end(holder: &File) {
    let deadline = Instant::now() + PATIENCE;
    while lock::is_held_of(holder) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
}

/// The process itself. Its arguments are the runtime root, the directory of definitions,
/// and the network; the calling process must have no other thread.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<_> = arguments.collect();
    let [root, definitions, network] = arguments.as_slice() else {
        return ExitCode::FAILURE;
    };
    // Its descriptors are where they should be only if we were started as we are.
    // SAFETY: takes no pointers.
    if FDS.iter().any(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } < 0) {
        let _ = writeln!(io::stderr(), "bulkhead: this verb is not for people");
        return ExitCode::FAILURE;
    }
    // SAFETY: there is no other thread.
    match unsafe { fork() } {
        Ok(ForkResult::Parent { .. }) => return ExitCode::SUCCESS,
        Ok(ForkResult::Child) => {}
        Err(_) => return ExitCode::FAILURE,
    }
    // Not part of the terminal's doings of whoever started us.
    let _ = setsid();
    // SAFETY: they are ours, as was checked, and nobody else's yet.
    let [datagrams, connections, lock] = FDS.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    let mut networks = Networks::new(&PathBuf::from(root), definitions.into(), Vec::new());
    networks.is_holder = true;
    let network = network.to_string_lossy().into_owned();
    let served = serve::serve(
        &networks,
        &network,
        &UdpSocket::from(datagrams),
        &TcpListener::from(connections),
    );
    drop(lock);
    if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
