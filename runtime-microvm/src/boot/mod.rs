//! Getting a kernel into guest memory, by the 64-bit Linux boot protocol.
//!
//! Every ELF `vmlinux` and every 64-bit bzImage can be entered this way
//! (Documentation/arch/x86/boot.rst), and it leaves the guest less to do than
//! PVH, whose 32-bit entry has to build page tables and a zero page first.

pub mod command_line;
pub mod layout;
mod loader;
mod mapped;
mod mptable;
mod paging;
mod zero_page;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use vm_memory::{Bytes, GuestAddress};

use crate::kvm::{Entry, GuestRam};

/// A kernel that cannot be booted.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The image could not be opened or read.
    #[error("cannot read the kernel {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Neither an ELF file nor a bzImage.
    #[error("{} is no kernel: neither an ELF vmlinux nor a bzImage", path.display())]
    NotAKernel {
        /// Which file.
        path: PathBuf,
    },
    /// The image is damaged, or does not fit into guest memory.
    #[error("cannot load the kernel {}", path.display())]
    Load {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: linux_loader::loader::Error,
    },
    /// A bzImage without a 64-bit entry point.
    #[error("{} has no 64-bit entry point", path.display())]
    No64BitEntry {
        /// Which file.
        path: PathBuf,
    },
    /// The entry point is outside guest memory.
    #[error("{} starts at {entry:#x}, which is outside guest memory", path.display())]
    EntryOutside {
        /// Which file.
        path: PathBuf,
        /// The entry point.
        entry: u64,
    },
    /// The command line is too long for the kernel.
    #[error("the kernel command line has {len} bytes, {} are allowed", layout::COMMAND_LINE_MAX - 1)]
    CommandLineTooLong {
        /// Its length.
        len: usize,
    },
    /// The command line contains a NUL byte.
    #[error("the kernel command line contains a NUL byte")]
    CommandLineNul,
    /// A structure of the boot protocol does not fit into guest memory.
    #[error("cannot write the {what} to guest memory")]
    Write {
        /// Which structure.
        what: &'static str,
        /// Why.
        #[source]
        source: vm_memory::GuestMemoryError,
    },
}

/// Privilege level of a raw guest's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ring {
    /// Ring 0, a kernel's.
    Kernel,
    /// Ring 3, a program's.
    User,
}

fn write_error(what: &'static str) -> impl FnOnce(vm_memory::GuestMemoryError) -> BootError {
    move |source| BootError::Write { what, source }
}

/// Loads the kernel and everything the boot protocol wants beside it; returns
/// how to enter it.
///
/// # Errors
///
/// [`BootError`].
pub fn linux(ram: &GuestRam, kernel: &Path, command_line: &str) -> Result<Entry, BootError> {
    let mut file = File::open(kernel)
        .map_err(|source| BootError::Read { path: kernel.to_owned(), source })?;
    let loaded = loader::load(ram, kernel, &mut file)?;
    command_line::write(ram, command_line)?;
    zero_page::write(ram, loaded.setup_header, command_line.len())?;
    mptable::write(ram)?;
    paging::write(ram, Ring::Kernel)?;
    Ok(Entry::Long { rip: loaded.entry })
}

/// Loads a tiny guest without an operating system, entered in real mode.
///
/// # Errors
///
/// [`BootError::Write`] when it does not fit.
pub fn raw(ram: &GuestRam, code: &[u8]) -> Result<Entry, BootError> {
    ram.write_slice(code, layout::RAW_ENTRY).map_err(write_error("raw guest"))?;
    Ok(Entry::Real { rip: layout::RAW_ENTRY })
}

/// Loads a tiny guest without an operating system, entered in 64-bit mode with
/// the first GiB identity-mapped.
///
/// # Errors
///
/// [`BootError::Write`] when it does not fit.
pub fn raw_long(ram: &GuestRam, code: &[u8]) -> Result<Entry, BootError> {
    bare(ram, code, Ring::Kernel)
}

/// As [`raw_long`], in a privilege level of its own choice.
///
/// # Errors
///
/// [`BootError::Write`] when it does not fit.
pub fn bare(ram: &GuestRam, code: &[u8], ring: Ring) -> Result<Entry, BootError> {
    let rip: GuestAddress = layout::HIGH_MEMORY;
    ram.write_slice(code, rip).map_err(write_error("raw guest"))?;
    paging::write(ram, ring)?;
    Ok(match ring {
        Ring::Kernel => Entry::Long { rip },
        Ring::User => Entry::User { rip },
    })
}
