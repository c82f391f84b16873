//! Those who are connected to a supervisor.

use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};

use super::timeout;
use crate::control::{Attach, Connection, Frame, Refusal, Reply, Request};
use crate::log::Stream;

/// What a caller is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It has not said yet, or was answered.
    Asks,
    /// It waits for the start, and may want to be attached then.
    AwaitsStart(Option<Attach>),
    /// The workload's streams are carried to and from it.
    Attached(Attach),
    /// It waits for the workload to have ended because it asked for that.
    AwaitsStop,
    /// It waits for the end, for good.
    AwaitsEnd,
}

#[derive(Debug)]
struct Caller {
    number: u64,
    connection: Connection,
    role: Role,
}

/// What came for the workload's input.
#[derive(Debug)]
pub(super) enum Input {
    /// Bytes.
    Bytes(Vec<u8>),
    /// No more.
    End,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Callers {
    listener: Option<UnixListener>,
    all: Vec<Caller>,
    next: u64,
    /// Input is not taken while there is no room for it.
    full: bool,
}

impl Callers {
    /// Only the one who had the supervisor started.
    pub(super) fn begun_by(first: UnixStream) -> Self {
        let mut callers = Self { listener: None, all: Vec::new(), next: 0, full: false };
        callers.add(first);
        callers
    }

    pub(super) fn listen(&mut self, listener: UnixListener) {
        self.listener = Some(listener);
    }

    fn add(&mut self, stream: UnixStream) {
        // One that cannot be served is let go.
        let Ok(connection) = Connection::new(stream) else { return };
        self.next += 1;
        self.all.push(Caller { number: self.next, connection, role: Role::Asks });
    }

    /// Whether those who attached have to keep their input for now.
    pub(super) fn hold_input(&mut self, full: bool) {
        self.full = full;
    }

    /// Adds what is to be waited for.
    pub(super) fn poll_with<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        if let Some(listener) = &self.listener {
            fds.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN));
        }
        for caller in &self.all {
            let mut events = PollFlags::empty();
            events.set(PollFlags::POLLIN, !(self.full && caller.gives_input()));
            events.set(PollFlags::POLLOUT, caller.connection.wants_to_send());
            fds.push(PollFd::new(caller.connection.as_fd(), events));
        }
    }

    /// Accepts, sends and receives what can be without waiting; returns what is asked,
    /// and puts what is to be the workload's input into `input`.
    pub(super) fn serve(&mut self, input: &mut Vec<Input>) -> Vec<(u64, Request)> {
        while let Some(Ok((stream, _))) = self.listener.as_ref().map(UnixListener::accept) {
            self.add(stream);
        }
        let mut requests = Vec::new();
        for caller in &mut self.all {
            caller.connection.flush();
            if self.full && caller.gives_input() {
                continue;
            }
            for frame in caller.connection.receive() {
                caller.take(frame, &mut requests, input);
            }
        }
        self.all.retain(|caller| !caller.connection.is_over());
        requests
    }

    fn find(&mut self, number: u64) -> Option<&mut Caller> {
        self.all.iter_mut().find(|caller| caller.number == number)
    }

    pub(super) fn answer(&mut self, number: u64, reply: &Reply) {
        if let Some(caller) = self.find(number) {
            caller.connection.answer(reply);
        }
    }

    /// The caller gets the workload's streams from here on.
    pub(super) fn attach(&mut self, number: u64, attach: Attach) {
        if let Some(caller) = self.find(number) {
            caller.connection.answer(&Reply::Done);
            caller.role = Role::Attached(attach);
        }
    }

    pub(super) fn await_start(&mut self, number: u64, attach: Option<Attach>) {
        if let Some(caller) = self.find(number) {
            caller.role = Role::AwaitsStart(attach);
        }
    }

    pub(super) fn await_stop(&mut self, number: u64) {
        if let Some(caller) = self.find(number) {
            caller.role = Role::AwaitsStop;
        }
    }

    pub(super) fn await_end(&mut self, number: u64) {
        if let Some(caller) = self.find(number) {
            caller.role = Role::AwaitsEnd;
        }
    }

    /// The workload has begun. Gives the size of the terminal of whoever is attached now.
    pub(super) fn started(&mut self) -> Option<Attach> {
        let mut attached = None;
        for caller in &mut self.all {
            let Role::AwaitsStart(attach) = caller.role else { continue };
            caller.connection.answer(&Reply::Started);
            caller.role = attach.map_or(Role::Asks, Role::Attached);
            attached = attached.or(attach);
        }
        attached
    }

    /// The workload never began.
    pub(super) fn not_started(&mut self, refusal: &Refusal) {
        self.finish(&Reply::Failed(refusal.clone()));
    }

    /// The workload has written something.
    pub(super) fn output(&mut self, stream: Stream, bytes: &[u8]) {
        let frame = match stream {
            Stream::Stdout => Frame::Stdout(bytes.to_vec()),
            Stream::Stderr => Frame::Stderr(bytes.to_vec()),
        };
        for caller in &mut self.all {
            if matches!(caller.role, Role::Attached(Attach { output: true, .. })) {
                caller.connection.put(&frame);
            }
        }
    }

    /// The workload has ended, but may be started again.
    pub(super) fn ended(&mut self, code: u8, oom_killed: bool) {
        for caller in &mut self.all {
            if matches!(caller.role, Role::Attached(_)) {
                caller.connection.finish(&Reply::Exited { code, oom_killed });
            }
        }
    }

    /// Nothing will follow.
    pub(super) fn finish(&mut self, reply: &Reply) {
        for caller in &mut self.all {
            caller.connection.finish(reply);
        }
    }

    /// Has what was said read, for `limit` at most.
    pub(super) fn farewell(&mut self, limit: Duration) {
        self.listener = None;
        let until = Instant::now() + limit;
        loop {
            for caller in &mut self.all {
                caller.connection.flush();
            }
            self.all.retain(|caller| !caller.connection.is_over());
            let left = until.saturating_duration_since(Instant::now());
            if self.all.is_empty() || left.is_zero() {
                return;
            }
            let fd = |caller| PollFd::new(Caller::fd(caller), PollFlags::POLLOUT);
            let mut fds: Vec<PollFd<'_>> = self.all.iter().map(fd).collect();
            let _ = poll(&mut fds, timeout(Some(left)));
        }
    }
}

impl Caller {
    fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.connection.as_fd()
    }

    fn gives_input(&self) -> bool {
        matches!(self.role, Role::Attached(Attach { stdin: true, .. }))
    }

    fn take(
        &mut self,
        frame: Frame,
        requests: &mut Vec<(u64, Request)>,
        input: &mut Vec<Input>,
    ) {
        match frame {
            Frame::Stdin(bytes) if self.gives_input() => {
                input.push(if bytes.is_empty() { Input::End } else { Input::Bytes(bytes) });
            }
            frame => match frame.read::<Request>() {
                Some(request) => requests.push((self.number, request)),
                None => {
                    let causes = vec!["this was not understood".to_owned()];
                    let refusal = Refusal { causes, hint: None, code: 1 };
                    self.connection.finish(&Reply::Failed(refusal));
                }
            },
        }
    }
}
