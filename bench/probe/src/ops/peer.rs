//! Round trips with another process, which echoes single bytes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use super::Operation;
use crate::sys::{check, wait_for};

/// A child that sends back every byte it gets, until it gets no more.
struct Peer {
    /// `None` only while being dropped.
    ends: Option<Ends>,
    pid: i32,
}

/// What one side reads from and writes to.
struct Ends {
    from: File,
    to: File,
}

impl Ends {
    /// One descriptor that carries both directions.
    fn both_ways(stream: impl Into<OwnedFd>) -> io::Result<Self> {
        let to = File::from(stream.into());
        Ok(Self { from: to.try_clone()?, to })
    }

    fn echo(mut self) -> io::Result<()> {
        let mut byte = [0];
        while self.from.read(&mut byte)? == 1 {
            self.to.write_all(&byte)?;
        }
        Ok(())
    }
}

impl Peer {
    fn start(mine: Ends, theirs: Ends) -> io::Result<Box<dyn Operation>> {
        // SAFETY: the child only closes, reads and writes descriptors of its own, which
        // is allowed after a fork (signal-safety(7)).
        let pid = unsafe { libc::fork() };
        if check(pid)? == 0 {
            // Its end is the echo's only other holder: keeping ours open here would
            // keep the echo from ever seeing the end of its input.
            drop(mine);
            let code = i32::from(theirs.echo().is_err());
            // SAFETY: ends the child without running any handler of the parent's.
            unsafe { libc::_exit(code) }
        }
        Ok(Box::new(Self { ends: Some(mine), pid }))
    }
}

impl Operation for Peer {
    fn run(&mut self, rounds: u64) -> io::Result<()> {
        let ends = self.ends.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let mut byte = [1];
        for _ in 0..rounds {
            ends.to.write_all(&byte)?;
            ends.from.read_exact(&mut byte)?;
        }
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.ends = None;
        // The child sees the end of its input and exits; there is nobody to tell if
        // it had been killed before.
        let _ = wait_for(self.pid);
    }
}

pub fn pipe() -> io::Result<Box<dyn Operation>> {
    let (read_there, write_here) = io::pipe()?;
    let (read_here, write_there) = io::pipe()?;
    let file = |end: OwnedFd| File::from(end);
    let mine = Ends { from: file(read_here.into()), to: file(write_here.into()) };
    let theirs = Ends { from: file(read_there.into()), to: file(write_there.into()) };
    Peer::start(mine, theirs)
}

pub fn socketpair() -> io::Result<Box<dyn Operation>> {
    let (here, there) = UnixStream::pair()?;
    Peer::start(Ends::both_ways(here)?, Ends::both_ways(there)?)
}

pub fn tcp() -> io::Result<Box<dyn Operation>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    // The kernel completes the handshake by itself, so no peer is needed yet and
    // nothing can wait for ever.
    let here = TcpStream::connect(listener.local_addr()?)?;
    let (there, _) = listener.accept()?;
    for stream in [&here, &there] {
        stream.set_nodelay(true)?;
    }
    Peer::start(Ends::both_ways(here)?, Ends::both_ways(there)?)
}
