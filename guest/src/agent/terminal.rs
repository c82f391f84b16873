//! A process's terminal.
//!
//! It has to be one of the workload's own, which are there once the sandbox is built:
//! in the first process, after its mounts. That one shares its table of descriptors
//! with this process until it has made its terminal, so that both have it.

use core::ffi::c_int;

use super::path::PathBuffer;
use super::spawn::failed;
use super::sys::{self, Errno, Fd};
use crate::protocol::{Failure, Step, TerminalSize};

/// Both ends of a terminal, in every process that shares the table of descriptors.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    /// Ours.
    pub master: c_int,
    /// The process's.
    pub slave: c_int,
}

/// Makes a terminal; in a new sandbox it is its console.
pub fn make(size: TerminalSize, is_first: bool) -> Result<Ends, Failure> {
    let made = || -> sys::Result<Ends> {
        let master = sys::new_terminal(c"/dev/pts/ptmx")?;
        let slave = sys::peer(&master)?;
        sys::set_terminal_size(&master, size.columns, size.rows)?;
        if is_first {
            bind_console(&master)?;
        }
        let ends = Ends { master: master.raw(), slave: slave.raw() };
        master.leak();
        slave.leak();
        Ok(ends)
    };
    made().map_err(failed(Step::Terminal))
}

/// Shows it at `/dev/console`, as every container's is.
fn bind_console(master: &Fd) -> sys::Result<()> {
    match sys::create(c"/dev/console", 0o600) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let mut path = PathBuffer::new();
    path.push(b"/dev/pts/")?;
    path.push_number(sys::terminal_number(master)?)?;
    let bind = libc::MS_BIND;
    sys::mount(Some(path.c_str()?), c"/dev/console", None, bind, None)
}

/// Makes the terminal that of the calling process: its standard streams, and its
/// session's.
pub fn attach(ends: Ends) -> sys::Result<()> {
    for stream in 0..=2 {
        sys::dup_onto(ends.slave, stream)?;
    }
    sys::control_terminal(0)
}
