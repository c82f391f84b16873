//! The verbs whose start is measured, without the C library.
//!
//! Starting the C library touches some 25 pages and makes 14 system calls
//! before `main`. In a guest whose kernel is emulated each of those pages costs
//! milliseconds, which would be reported as the wall's. So the program begins
//! here (`probe_begin` in `main.rs`): a verb that needs nothing is done at once with
//! system calls of our own, and for anything else the C library starts as usual.
//! Unoptimised code cannot run that early (`build.rs`); there, `main` comes here
//! first.
//!
//! Nothing here may call into the C library, also not by way of a memory copy
//! or comparison that the compiler recognises: its functions are not bound yet.
//! Hence the volatile reads and the words packed into numbers.

use std::arch::asm;

use crate::line::{HELLO, READY};

/// x86-64 system call numbers (asm/unistd_64.h).
const SYS_WRITE: usize = 1;
const SYS_RT_SIGPROCMASK: usize = 14;
const SYS_RT_SIGTIMEDWAIT: usize = 128;
const SYS_EXIT_GROUP: usize = 231;

/// The verbs.
const TRUE_VERB: u64 = pack(b"true");
const HELLO_VERB: u64 = pack(b"hello");
const IDLE_VERB: u64 = pack(b"idle");
const EXIT_VERB: u64 = pack(b"exit");

/// What they write.
const HELLO_TEXT: u64 = pack(HELLO.as_bytes());
const READY_TEXT: u64 = pack(READY.as_bytes());

const STDOUT: usize = 1;
const FAILURE: usize = 1;

/// `SIG_BLOCK` (asm-generic/signal-defs.h).
const SIG_BLOCK: usize = 0;
/// Size of the kernel's signal set, bytes.
const SIGNAL_SET_BYTES: usize = 8;
/// Bits of SIGINT (2) and SIGTERM (15) in the kernel's signal set.
const INT_AND_TERM: u64 = (1 << (2 - 1)) | (1 << (15 - 1));

/// Does the verb named by the arguments and exits, or returns when it is not
/// one of those done here.
///
/// # Safety
///
/// `arguments` points to `count` pointers to terminated strings, the program's
/// name first.
#[inline(never)]
pub unsafe extern "C" fn run(count: usize, arguments: *const *const u8) {
    if count < 2 {
        return;
    }
    // SAFETY: the second argument exists.
    let verb = unsafe { word(*arguments.add(1)) };
    match (count, verb) {
        (2, TRUE_VERB) => exit(0),
        (2, HELLO_VERB) => exit(say(HELLO_TEXT, HELLO.len())),
        (2, IDLE_VERB) => exit(idle()),
        (3, EXIT_VERB) => {
            // SAFETY: the third argument exists.
            let code = unsafe { number(*arguments.add(2)) };
            if let Some(code) = code {
                exit(code);
            }
        }
        _ => {}
    }
}

/// Up to eight bytes in a number, the first one lowest.
const fn pack(text: &[u8]) -> u64 {
    let mut packed = 0;
    let mut index = text.len();
    while index > 0 {
        index -= 1;
        packed = packed << 8 | text[index] as u64;
    }
    packed
}

/// A terminated string of at most seven bytes, packed; 0 for a longer one.
///
/// # Safety
///
/// `text` points to a terminated string.
unsafe fn word(text: *const u8) -> u64 {
    let mut packed = 0;
    let mut index = 0;
    loop {
        // SAFETY: not beyond the terminator, at which the loop ends.
        let byte = unsafe { text.add(index).read_volatile() };
        if byte == 0 {
            return packed;
        }
        if index == 7 {
            return 0;
        }
        packed |= u64::from(byte) << (8 * index);
        index += 1;
    }
}

/// A decimal number from 0 to 255.
///
/// # Safety
///
/// `text` points to a terminated string.
unsafe fn number(text: *const u8) -> Option<usize> {
    let mut value = 0;
    let mut index = 0;
    loop {
        // SAFETY: not beyond the terminator, at which the loop ends.
        let byte = unsafe { text.add(index).read_volatile() };
        match byte {
            0 if index > 0 => return Some(value),
            b'0'..=b'9' => value = value * 10 + usize::from(byte - b'0'),
            _ => return None,
        }
        if value > 255 {
            return None;
        }
        index += 1;
    }
}

/// Writes the first `length` bytes of a packed text; gives the exit code.
fn say(packed: u64, length: usize) -> usize {
    // SAFETY: the buffer is eight bytes long, and `length` at most that.
    let written = unsafe { call(SYS_WRITE, [STDOUT, (&raw const packed).addr(), length, 0]) };
    if written == length.cast_signed() { 0 } else { FAILURE }
}

/// Says that it is ready and waits for SIGTERM or SIGINT.
///
/// The signals are blocked and waited for rather than handled: a blocked
/// signal reaches PID 1 of a namespace or a machine too, for which the kernel
/// ignores signals with default action (`sig_ignored`, kernel/signal.c).
fn idle() -> usize {
    let awaited = INT_AND_TERM;
    let set = (&raw const awaited).addr();
    // SAFETY: the set is as large as said and lives during the calls.
    unsafe {
        if call(SYS_RT_SIGPROCMASK, [SIG_BLOCK, set, 0, SIGNAL_SET_BYTES]) != 0 {
            return FAILURE;
        }
        if say(READY_TEXT, READY.len()) != 0 {
            return FAILURE;
        }
        // Without a time limit it fails only when another signal interrupts it.
        while call(SYS_RT_SIGTIMEDWAIT, [set, 0, 0, SIGNAL_SET_BYTES]) < 0 {}
    }
    0
}

fn exit(code: usize) -> ! {
    loop {
        // SAFETY: does not return.
        unsafe { call(SYS_EXIT_GROUP, [code, 0, 0, 0]) };
    }
}

/// A system call; a negative result is an error number.
///
/// # Safety
///
/// As the call with that number demands.
#[inline(always)]
unsafe fn call(number: usize, arguments: [usize; 4]) -> isize {
    let result;
    // SAFETY: the kernel's calling convention (System V ABI, AMD64 supplement,
    // A.2.1): it changes rcx, r11 and the result, and memory as the call says.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}
