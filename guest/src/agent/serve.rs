//! The loop that serves the host: one thread, one `poll`.

use alloc::vec::Vec;

use super::device::Device;
use super::hold::Scope;
use super::session::{End, Event, SLOTS, Session};
use super::sys::{self, Errno, Fd};
use crate::protocol::ProtocolError;
use crate::timer::{BootStep, PowerOff};

/// Most bytes read from a connection at once.
const INPUT_SIZE: usize = 16 * 1024;

/// How long the loop lets the workload run before it makes the socket for
/// further processes, when nothing else happens.
const LISTEN_AFTER_MS: i32 = 100;

/// How often the loop looks whether a workload that is to be held is ready.
const LOOK_AFTER_MS: i32 = 20;

/// More processes than this at a time wait for one of them to end.
const MAX_SESSIONS: usize = 32;

/// Nothing to wait for.
const NO_FD: libc::pollfd = libc::pollfd { fd: -1, events: 0, revents: 0 };

/// How the socket for further processes is made; tests use another kind.
pub type Listen = fn() -> sys::Result<Fd>;

/// The sessions of this machine.
#[derive(Debug)]
pub struct Agent {
    /// The session that runs the workload.
    main: Session,
    /// Sessions that run further processes.
    others: Vec<Session>,
    listener: Listener,
    listen: Listen,
    input: Vec<u8>,
}

#[derive(Debug)]
enum Listener {
    /// The workload does not run yet.
    Early,
    /// It runs, and the socket is to be made.
    Due,
    Open(Fd),
    /// It has ended, or there is no socket to be had.
    Closed,
}

impl Agent {
    /// An agent whose main session is over `socket`; when that is to hold its process,
    /// it holds all in `scope`.
    pub fn new(socket: Fd, device: Device, scope: Scope, listen: Listen) -> Self {
        Self {
            main: Session::new(socket, device, scope),
            others: Vec::new(),
            listener: Listener::Early,
            listen,
            input: Vec::with_capacity(INPUT_SIZE),
        }
    }

    /// Serves until the main session is over; the machine, and whatever still
    /// runs on it, is to end then.
    pub fn run(&mut self) -> PowerOff {
        let mut fds = Vec::with_capacity(2);
        loop {
            self.interest(&mut fds);
            let timeout = match self.listener {
                _ if self.main.is_waiting() => LOOK_AFTER_MS,
                Listener::Due => LISTEN_AFTER_MS,
                _ => -1,
            };
            match sys::poll(fds.as_flattened_mut(), timeout) {
                Ok(_) => {}
                Err(errno) => return failed(BootStep::Poll, errno),
            }
            if let Err(end) = self.main(&fds[1]) {
                return reason(end);
            }
            self.others(&fds[2..]);
            self.further(fds[0][0].revents != 0);
        }
    }

    /// Kills every process. Not needed where the machine ends.
    pub fn kill(&mut self) {
        self.main.kill();
        self.kill_others();
    }

    fn kill_others(&mut self) {
        for session in &mut self.others {
            session.kill();
        }
    }

    /// The poll set: the listener, then each session.
    fn interest(&self, fds: &mut Vec<[libc::pollfd; SLOTS]>) {
        fds.clear();
        fds.resize(2 + self.others.len(), [NO_FD; SLOTS]);
        if let Listener::Open(socket) = &self.listener
            && self.others.len() < MAX_SESSIONS
        {
            fds[0][0] = libc::pollfd { fd: socket.raw(), events: libc::POLLIN, revents: 0 };
        }
        for (session, fds) in
            core::iter::once(&self.main).chain(&self.others).zip(&mut fds[1..])
        {
            session.interest(fds);
        }
    }

    fn main(&mut self, fds: &[libc::pollfd; SLOTS]) -> Result<(), End> {
        let joinable = self.is_joinable();
        match self.main.advance(fds, &mut self.input, joinable)? {
            Some(Event::Started) => {
                self.listener = Listener::Due;
            }
            Some(Event::Exited) => {
                self.listener = Listener::Closed;
            }
            // Their connections are not saved.
            Some(Event::Held) => {
                self.kill_others();
                self.others.clear();
            }
            None => {}
        }
        Ok(())
    }

    fn others(&mut self, fds: &[[libc::pollfd; SLOTS]]) {
        let mut fds = fds.iter();
        let (joinable, input) = (self.is_joinable(), &mut self.input);
        self.others.retain_mut(|session| {
            let Some(fds) = fds.next() else { return true };
            let open = session.advance(fds, input, joinable).is_ok();
            if !open {
                session.kill();
            }
            open
        });
    }

    /// Whether there is a workload that runs.
    fn is_joinable(&self) -> bool {
        matches!(self.listener, Listener::Due | Listener::Open(_))
    }

    /// Makes the socket for further processes, or takes a connection from it.
    fn further(&mut self, knocked: bool) {
        match &self.listener {
            Listener::Due => {
                self.listener = (self.listen)().map_or(Listener::Closed, Listener::Open);
            }
            Listener::Open(socket) if knocked => {
                if let Ok(connection) = sys::accept(socket) {
                    let session = Session::new(connection, Device::default(), Scope::Process);
                    self.others.push(session);
                }
            }
            _ => {}
        }
    }
}

/// What the end of the main session means for the machine.
fn reason(end: End) -> PowerOff {
    match end {
        End::Closed | End::Broken(Errno::PIPE | Errno(libc::ECONNRESET)) => PowerOff::Done,
        End::Unconnected(errno) | End::Broken(errno) => failed(BootStep::Connect, errno),
        End::Protocol(ProtocolError::Version(_)) => failed(BootStep::Version, Errno(0)),
        End::Protocol(_) => failed(BootStep::Protocol, Errno(0)),
        End::Stale(errno) => failed(BootStep::Refresh, errno),
    }
}

/// A failure with its step and error number.
pub fn failed(step: BootStep, errno: Errno) -> PowerOff {
    PowerOff::Failed { step, errno: errno.0 }
}
