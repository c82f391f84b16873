//! `probe`: see the library.

// Without the runtime start-up of the standard library (signal stack, stdio
// checks, thread naming), which costs system calls and page faults that would
// be measured as part of every start.
#![no_main]

use std::ffi::{c_char, c_int};

use bulkhead_probe::Arguments;

/// The C library's entry point.
#[unsafe(no_mangle)]
extern "C" fn main(count: c_int, arguments: *const *const c_char) -> c_int {
    // SAFETY: the C library calls `main` with `count` valid strings (C17 5.1.2.2.1),
    // which live as long as the process.
    let arguments = unsafe { Arguments::from_main(count, arguments) };
    c_int::from(bulkhead_probe::run(arguments))
}
