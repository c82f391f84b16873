//! `probe`: see the library.

// Without the runtime start-up of the standard library (signal stack, stdio
// checks, thread naming), which costs system calls and page faults that would
// be measured as part of every start.
#![no_main]

use std::arch::naked_asm;
use std::ffi::{c_char, c_int};

use bulkhead_probe::Arguments;

/// Where the program begins (`build.rs` makes it the entry point of an optimised
/// one): the verbs that need no C library first, then the C library's own
/// beginning, with registers and stack as they were. The stack begins with the
/// number of arguments and a pointer to each; `rdx` is a function of the dynamic
/// linker's where there is one (System V ABI, AMD64 supplement, 3.4.1).
#[unsafe(no_mangle)]
#[unsafe(naked)]
extern "C" fn probe_begin() {
    naked_asm!(
        "push rdx",
        "push rdx",
        "mov rdi, [rsp + 16]",
        "lea rsi, [rsp + 24]",
        "call {quick}",
        "pop rdx",
        "pop rdx",
        "jmp _start",
        quick = sym bulkhead_probe::quick::run,
    )
}

/// The C library's entry point.
#[unsafe(no_mangle)]
extern "C" fn main(count: c_int, arguments: *const *const c_char) -> c_int {
    // SAFETY: the C library calls `main` with `count` valid strings (C17 5.1.2.2.1),
    // which live as long as the process.
    let arguments = unsafe {
        bulkhead_probe::quick::run(usize::try_from(count).unwrap_or(0), arguments.cast());
        Arguments::from_main(count, arguments)
    };
    c_int::from(bulkhead_probe::run(arguments))
}
