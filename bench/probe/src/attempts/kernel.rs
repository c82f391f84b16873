//! Parts of the kernel that programs rarely need and holes are often found in.

use std::ffi::CString;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use super::{Done, Words, word};
use crate::sys::check;

/// A key of ours, revoked when dropped.
struct Key(libc::c_long);

/// `KEYCTL_REVOKE` (linux/keyctl.h).
const KEYCTL_REVOKE: libc::c_long = 3;

/// `KEY_SPEC_PROCESS_KEYRING` (linux/keyctl.h): goes with the process.
const KEY_SPEC_PROCESS_KEYRING: libc::c_long = -2;

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: a request with numbers only.
        unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_REVOKE, self.0) };
    }
}

/// Puts a key called `NAME` into the kernel's key store.
pub fn add_key(words: &Words<'_>) -> io::Result<Done> {
    let name = CString::new(word(words, 0)?)?;
    let payload = *b"x";
    // SAFETY: terminated strings and a payload as long as said.
    let key = unsafe {
        libc::syscall(
            libc::SYS_add_key,
            c"user".as_ptr(),
            name.as_ptr(),
            payload.as_ptr(),
            payload.len(),
            KEY_SPEC_PROCESS_KEYRING,
        )
    };
    let key = Key(check(key)?);
    let says = format!("key {}", key.0);
    Ok(Done::holding(key, says))
}

/// A descriptor as a system call returned it.
fn descriptor(result: libc::c_long) -> io::Result<OwnedFd> {
    let fd = i32::try_from(check(result)?).map_err(|_| io::ErrorKind::InvalidData)?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The part of `union bpf_attr` that loading a program needs (linux/bpf.h).
#[repr(C)]
struct ProgramLoad {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log: [u32; 2],
    log_buffer: u64,
    version_and_flags: [u32; 2],
}

/// `BPF_PROG_LOAD`, `BPF_PROG_TYPE_SOCKET_FILTER` (linux/bpf.h).
const PROGRAM_LOAD: libc::c_long = 5;
const SOCKET_FILTER: u32 = 1;

/// Loads the shortest program there is: `r0 = 0; exit`.
pub fn load_program(_: &Words<'_>) -> io::Result<Done> {
    let program = [0xb7_u64, 0x95]; // BPF_ALU64 | BPF_MOV | BPF_K; BPF_JMP | BPF_EXIT
    let license = c"GPL";
    let request = ProgramLoad {
        kind: SOCKET_FILTER,
        instruction_count: 2,
        instructions: program.as_ptr().addr() as u64,
        license: license.as_ptr().addr() as u64,
        log: [0; 2],
        log_buffer: 0,
        version_and_flags: [0; 2],
    };
    // SAFETY: the request is as long as said, and what it points to is alive.
    let loaded = unsafe {
        let size = size_of::<ProgramLoad>();
        libc::syscall(libc::SYS_bpf, PROGRAM_LOAD, &raw const request, size)
    };
    Ok(Done::holding(descriptor(loaded)?, "a program in the kernel"))
}

/// `struct perf_event_attr` in its first published size (`PERF_ATTR_SIZE_VER0`,
/// linux/perf_event.h).
#[repr(C)]
#[derive(Default)]
struct EventRequest {
    kind: u32,
    size: u32,
    config: u64,
    rest: [u64; 6],
}

/// `PERF_TYPE_SOFTWARE`; its event 0 is the CPU clock (linux/perf_event.h).
const SOFTWARE: u32 = 1;

/// Counts on a whole processor, all its processes and the kernel included.
pub fn count_events(_: &Words<'_>) -> io::Result<Done> {
    const SIZE: usize = size_of::<EventRequest>();
    let size = u32::try_from(SIZE).unwrap_or(0);
    let request = EventRequest { kind: SOFTWARE, size, ..EventRequest::default() };
    let (every_process, first_processor, no_group) = (-1, 0, -1);
    // SAFETY: the request says its own size.
    let event = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const request,
            every_process,
            first_processor,
            no_group,
            0_u64,
        )
    };
    Ok(Done::holding(descriptor(event)?, "a counter of processor 0"))
}

/// Size of `struct io_uring_params` (linux/io_uring.h), in words of 8 bytes.
const RING_PARAMETERS: usize = 15;

/// Makes a ring for asynchronous system calls, which pass by seccomp filters.
pub fn make_ring(_: &Words<'_>) -> io::Result<Done> {
    let mut parameters = [0_u64; RING_PARAMETERS];
    // SAFETY: the kernel writes as much as the structure is long.
    let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr()) };
    Ok(Done::holding(descriptor(ring)?, "a ring"))
}

/// Makes a user namespace and with it, in there, every capability.
pub fn enter_user_namespace(_: &Words<'_>) -> io::Result<Done> {
    // SAFETY: this process has a single thread and nothing to lose by it.
    check(unsafe { libc::unshare(libc::CLONE_NEWUSER) })?;
    Ok(Done::saying("a user namespace"))
}
