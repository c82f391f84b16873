//! The terminal of whoever calls, while a command inside has one of its own.
//!
//! What is typed belongs to the command: Ctrl-C ends what runs in its foreground, not us.
//! So ours passes every byte on as it is (`cfmakeraw`) and shows what comes as it is,
//! until it is put back, whichever way we end.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};
use std::panic;
use std::sync::{Mutex, PoisonError};

use bulkhead_runtime::{Bundle, Sandbox, Stdio, TerminalSize};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::args::TerminalArgs;
use crate::failure::Failure;

/// How the terminal was, while it is another way.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Our terminal as long as a command inside has one.
#[derive(Debug)]
pub struct Screen {
    /// What is typed is for the command.
    _raw: Option<Raw>,
}

impl Screen {
    /// Hands our terminal over to the command, if it has one and what is typed is for it.
    pub fn enter(args: TerminalArgs) -> Result<Option<Self>, Failure> {
        if !args.tty {
            return Ok(None);
        }
        Ok(Some(Self { _raw: args.interactive.then(Raw::begin).transpose()? }))
    }

    /// Tells the command's terminal how much ours shows.
    pub fn resize(&self, sandbox: &mut dyn Sandbox) {
        if let Some(size) = size() {
            // It may have just ended.
            drop(sandbox.resize(size));
        }
    }
}

/// Our terminal passing every key on, until this is dropped.
#[derive(Debug)]
pub struct Raw(());

impl Raw {
    /// From here on.
    pub fn begin() -> Result<Self, Failure> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        restore_after_panic();
        tcsetattr(io::stdin(), SetArg::TCSADRAIN, &raw)?;
        Ok(Self(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // Nothing is left to do about a terminal that is gone.
        let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &before);
    }
}

/// A panic ends the process without anything being dropped.
fn restore_after_panic() {
    let next = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        restore();
        next(info);
    }));
}

/// Refuses, as docker does, a terminal for what is typed where nobody types.
pub fn check(args: TerminalArgs) -> Result<(), Failure> {
    if args.tty && args.interactive && !io::stdin().is_terminal() {
        return Err(Failure::new("the input device is not a TTY")
            .hint("leave --tty out, or call from a terminal"));
    }
    Ok(())
}

/// Our streams as those of a command; its input ends at once unless `carried`.
pub fn stdio(carried: bool) -> io::Result<Stdio> {
    let own = Stdio::inherit()?;
    Ok(if carried { own } else { Stdio { stdin: Stdio::null()?.stdin, ..own } })
}

/// Has the terminal of the command in `bundle`, if it has one, begin with the size of ours.
pub fn size_of(bundle: &mut Bundle) {
    let process = bundle.spec.process_mut().as_mut();
    if let Some(process) = process.filter(|process| process.terminal() == Some(true)) {
        process.set_console_size(size().and_then(TerminalSize::to_console));
    }
}

/// How much our terminal shows, if we have one.
pub fn size() -> Option<TerminalSize> {
    let (stdout, stdin, stderr) = (io::stdout(), io::stdin(), io::stderr());
    [stdout.as_fd(), stdin.as_fd(), stderr.as_fd()].into_iter().find_map(size_at)
}

fn size_at(fd: BorrowedFd<'_>) -> Option<TerminalSize> {
    let size = rustix::termios::tcgetwinsize(fd).ok()?;
    let known = size.ws_col > 0 && size.ws_row > 0;
    known.then_some(TerminalSize { columns: size.ws_col, rows: size.ws_row })
}
