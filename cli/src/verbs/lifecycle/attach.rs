//! `bulkhead attach`: a terminal, or pipes, on the streams of a sandbox's command.

use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;

use bulkhead_instances::Instance;
use bulkhead_instances::control::{
    Attach, Client, ControlError, DetachKeys, Frame, Reply, Request,
};
use bulkhead_runtime::TerminalSize;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::connect;
use crate::args::AttachArgs;
use crate::context::Context;
use crate::failure::Failure;
use crate::signals::Signals;
use crate::terminal::{self, Raw};

/// What is carried.
#[derive(Debug, Clone, Copy)]
pub struct Streams {
    /// Standard input goes to the command.
    pub stdin: bool,
    /// Signals do.
    pub signals: bool,
    /// There is a terminal at both ends.
    pub terminal: bool,
}

pub fn run(context: &Context, args: &AttachArgs) -> Result<ExitCode, Failure> {
    let instance = context.instances().find(&args.name)?;
    let mut client = connect(&instance)?;
    let streams = Streams {
        stdin: !args.no_stdin && instance.config.interactive,
        signals: !args.no_signals,
        terminal: instance.config.terminal && io::stdin().is_terminal(),
    };
    let watch = Watch::begin(streams)?;
    let asked = Attach { stdin: streams.stdin, output: true, size: watch.size() };
    client.ask(&Request::Attach(asked)).map_err(Failure::from_control)?;
    watch.carry(client, &instance)
}

/// This end: its signals, and its terminal as long as it is not its own.
pub struct Watch {
    streams: Streams,
    signals: Option<Signals>,
    raw: Option<Raw>,
}

impl Watch {
    /// From here on signals are read, not taken, and keys are passed on as they come.
    pub fn begin(streams: Streams) -> Result<Self, Failure> {
        let signals = match (streams.signals, streams.terminal) {
            (true, _) => Some(Signals::watched()?),
            (false, true) => Some(Signals::resizes()?),
            (false, false) => None,
        };
        let raw = (streams.terminal && streams.stdin).then(Raw::begin).transpose()?;
        Ok(Self { streams, signals, raw })
    }

    /// How large the terminal is.
    pub fn size(&self) -> Option<TerminalSize> {
        self.streams.terminal.then(terminal::size).flatten()
    }

    /// Carries everything until the command ends, which gives the exit code, or the user
    /// detaches.
    pub fn carry(
        mut self,
        mut client: Client,
        instance: &Instance,
    ) -> Result<ExitCode, Failure> {
        let mut stdin = self.streams.stdin;
        let mut keys = DetachKeys::default();
        loop {
            while let Some(frame) = client.buffered().map_err(Failure::from_control)? {
                if let Some(code) = print(&frame)? {
                    return Ok(ExitCode::from(code));
                }
            }
            let [from_supervisor, from_signals, from_stdin] =
                self.await_news(&client, stdin)?;
            if from_supervisor {
                match client.fill() {
                    Ok(()) => {}
                    Err(ControlError::Ended) => {
                        let name = &instance.config.name;
                        let error = format!("the supervisor of sandbox {name} is gone");
                        return Err(Failure::new(error));
                    }
                    Err(error) => return Err(Failure::from_control(error)),
                }
            }
            if from_signals {
                self.pass_signals_on(&mut client)?;
            }
            if from_stdin {
                let mut bytes = [0; 16 * 1024];
                let count = match io::stdin().lock().read(&mut bytes) {
                    Ok(count) => count,
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(_) => 0,
                };
                let mut sent = bytes[..count].to_vec();
                if self.raw.is_some() && keys.take(&mut sent) {
                    drop(self.raw.take());
                    eprintln!("bulkhead: detached from {}", instance.config.name);
                    return Ok(ExitCode::SUCCESS);
                }
                stdin = count > 0;
                if count == 0 || !sent.is_empty() {
                    // The command may end just now; what it wrote is still to come.
                    let _ = client.put(&Frame::Stdin(sent));
                }
            }
        }
    }

    fn await_news(&self, client: &Client, stdin: bool) -> Result<[bool; 3], Failure> {
        let input = io::stdin();
        let mut fds = vec![PollFd::new(client.as_fd(), PollFlags::POLLIN)];
        if let Some(signals) = &self.signals {
            fds.push(PollFd::new(signals.as_fd(), PollFlags::POLLIN));
        }
        if stdin {
            fds.push(PollFd::new(input.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let any = |fd: Option<&PollFd<'_>>| fd.and_then(PollFd::any).unwrap_or(false);
        let signalled = usize::from(self.signals.is_some());
        Ok([
            any(fds.first()),
            signalled == 1 && any(fds.get(1)),
            stdin && any(fds.get(1 + signalled)),
        ])
    }

    fn pass_signals_on(&mut self, client: &mut Client) -> Result<(), Failure> {
        let size = self.size();
        let Some(signals) = &mut self.signals else { return Ok(()) };
        while let Some(signal) = signals.next()? {
            let request = match size {
                Some(size) if signal.number() == libc::SIGWINCH => Request::Resize(size),
                _ if signal.number() == libc::SIGWINCH => continue,
                _ => Request::Signal(signal),
            };
            let _ = client.send(&request);
        }
        Ok(())
    }
}

/// Writes what came; gives the exit code when it is one.
fn print(frame: &Frame) -> Result<Option<u8>, Failure> {
    let written = match frame {
        Frame::Stdout(bytes) => write(&mut io::stdout().lock(), bytes),
        Frame::Stderr(bytes) => write(&mut io::stderr().lock(), bytes),
        Frame::Stdin(_) => Ok(()),
        Frame::Message(_) => match frame.read::<Reply>() {
            Some(Reply::Exited { code, oom_killed }) => {
                if oom_killed {
                    eprintln!("bulkhead: out of memory: a process was killed");
                }
                return Ok(Some(code));
            }
            // The answers to signals.
            _ => Ok(()),
        },
    };
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(None),
    }
}

fn write(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}
