//! The supervisor's ends of the workload's streams.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use bulkhead_runtime::Stdio;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags};

use super::callers::Input;
use crate::log::Stream;

/// What is read at a time.
const CHUNK: usize = 64 * 1024;
/// Reads before others have their turn.
const ROUNDS: usize = 16;
/// So much input waits for a workload that does not read.
const ROOM: usize = 256 * 1024;

/// The ends. None is ever waited for.
#[derive(Debug)]
pub(super) struct Streams {
    outputs: [(Stream, Option<File>); 2],
    stdin: Option<File>,
    pending: Vec<u8>,
    /// No more input will come.
    input_ends: bool,
}

impl Streams {
    /// New ones, and the workload's ends of them. Without `interactive` its input is empty.
    pub(super) fn new(interactive: bool) -> io::Result<(Stdio, Self)> {
        let (stdout, their_stdout) = io::pipe()?;
        let (stderr, their_stderr) = io::pipe()?;
        let (stdin, their_stdin): (Option<File>, OwnedFd) = if interactive {
            let (theirs, ours) = io::pipe()?;
            (Some(ready(OwnedFd::from(ours))?), theirs.into())
        } else {
            (None, File::open("/dev/null")?.into())
        };
        let stdio = Stdio {
            stdin: their_stdin,
            stdout: their_stdout.into(),
            stderr: their_stderr.into(),
        };
        let outputs = [
            (Stream::Stdout, Some(ready(stdout.into())?)),
            (Stream::Stderr, Some(ready(stderr.into())?)),
        ];
        let (pending, input_ends) = (Vec::new(), false);
        Ok((stdio, Self { outputs, stdin, pending, input_ends }))
    }

    /// Adds what is to be waited for.
    pub(super) fn poll_with<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        for (_, output) in &self.outputs {
            fds.extend(output.as_ref().map(|it| PollFd::new(it.as_fd(), PollFlags::POLLIN)));
        }
        let stdin = self.stdin.as_ref().filter(|_| !self.pending.is_empty());
        fds.extend(stdin.map(|it| PollFd::new(it.as_fd(), PollFlags::POLLOUT)));
    }

    /// Hands what the workload has written to `take`, as much as is there or is fair.
    pub(super) fn carry(&mut self, take: &mut dyn FnMut(Stream, &[u8])) {
        self.read_out(ROUNDS, take);
        self.write_in();
    }

    /// The same, to the last byte: the workload has ended.
    pub(super) fn drain(&mut self, take: &mut dyn FnMut(Stream, &[u8])) {
        self.read_out(usize::MAX, take);
    }

    fn read_out(&mut self, rounds: usize, take: &mut dyn FnMut(Stream, &[u8])) {
        let mut bytes = vec![0; CHUNK];
        for (stream, output) in &mut self.outputs {
            for _ in 0..rounds {
                let Some(file) = output else { break };
                match file.read(&mut bytes) {
                    Ok(0) => *output = None,
                    Ok(count) => take(*stream, &bytes[..count]),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => *output = None,
                }
            }
        }
    }

    /// Takes input for the workload. With `once`, its end is the end.
    pub(super) fn give(&mut self, input: Vec<Input>, once: bool) {
        for part in input {
            match part {
                Input::Bytes(bytes) if self.stdin.is_some() && !self.input_ends => {
                    self.pending.extend(bytes);
                }
                Input::Bytes(_) => {}
                Input::End => self.input_ends |= once,
            }
        }
        self.write_in();
    }

    /// Whether there is no room for more input.
    pub(super) fn is_full(&self) -> bool {
        self.pending.len() >= ROOM
    }

    fn write_in(&mut self) {
        while let Some(stdin) = self.stdin.as_mut().filter(|_| !self.pending.is_empty()) {
            match stdin.write(&self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // The workload has closed it.
                Err(_) => {
                    self.stdin = None;
                    self.pending.clear();
                }
            }
        }
        if self.input_ends && self.pending.is_empty() {
            self.stdin = None;
        }
    }
}

/// Only the end on this side: the workload's is a description of its own.
fn ready(fd: OwnedFd) -> io::Result<File> {
    fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(File::from(fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_waits_for_a_reader_and_ends_when_it_was_all_read() {
        let (stdio, mut streams) = Streams::new(true).unwrap();
        let long = vec![b'x'; 300_000];
        streams.give(vec![Input::Bytes(long.clone()), Input::End], true);
        assert!(streams.stdin.is_some());
        let mut reader = File::from(stdio.stdin);
        let mut read = Vec::new();
        let mut some = vec![0; 10_000];
        while read.len() < long.len() {
            let count = reader.read(&mut some).unwrap();
            read.extend_from_slice(&some[..count]);
            streams.write_in();
        }
        assert_eq!(read, long);
        assert_eq!(reader.read(&mut some).unwrap(), 0, "it ends");
    }

    #[test]
    fn output_is_taken_to_the_last_byte() {
        let (stdio, mut streams) = Streams::new(false).unwrap();
        let mut writer = File::from(stdio.stdout);
        writer.write_all(b"said").unwrap();
        drop((writer, stdio.stderr));
        let mut said = Vec::new();
        streams.drain(&mut |stream, bytes| said.push((stream, bytes.to_vec())));
        assert_eq!(said, [(Stream::Stdout, b"said".to_vec())]);
        let mut fds = Vec::new();
        streams.poll_with(&mut fds);
        assert!(fds.is_empty(), "nothing is left to wait for");
    }
}
