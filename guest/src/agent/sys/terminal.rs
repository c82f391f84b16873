//! Terminals.

use core::ffi::{CStr, c_int};

use super::{Fd, Result, open, syscall};

/// The other end of the terminal that `master` is.
pub fn peer(master: &Fd) -> Result<Fd> {
    let unlocked: c_int = 0;
    // SAFETY: the kernel reads an int.
    unsafe { syscall!(SYS_ioctl, master.raw(), libc::TIOCSPTLCK, &raw const unlocked)? };
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: takes a number, and returns a new descriptor.
    Fd::returned(unsafe { syscall!(SYS_ioctl, master.raw(), libc::TIOCGPTPEER, flags)? })
}

/// Opens a new terminal.
pub fn new_terminal(multiplexer: &CStr) -> Result<Fd> {
    open(multiplexer, libc::O_RDWR | libc::O_NOCTTY)
}

/// The number of the terminal that `master` is.
pub fn terminal_number(master: &Fd) -> Result<u32> {
    let mut number = 0_u32;
    // SAFETY: the kernel writes an unsigned int.
    unsafe { syscall!(SYS_ioctl, master.raw(), libc::TIOCGPTN, &raw mut number)? };
    Ok(number)
}

/// Sets how much it shows.
pub fn set_terminal_size(terminal: &Fd, columns: u16, rows: u16) -> Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel reads a winsize.
    unsafe { syscall!(SYS_ioctl, terminal.raw(), libc::TIOCSWINSZ, &raw const size)? };
    Ok(())
}

/// Makes the terminal `fd` that of this process, which leads its session.
pub fn control_terminal(fd: c_int) -> Result<()> {
    // SAFETY: takes a number.
    unsafe { syscall!(SYS_ioctl, fd, libc::TIOCSCTTY, 0)? };
    Ok(())
}
