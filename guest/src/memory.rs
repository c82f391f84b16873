//! What the compiler calls for copying and comparing memory, normally from a C
//! library. String instructions, so that the compiler cannot turn a loop in here
//! into a call of itself.

use core::arch::asm;
use core::ffi::{c_char, c_int};

/// # Safety
///
/// As of C's `memcpy`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "rep movsb",
            inout("rcx") len => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags),
        );
    }
    to
}

/// # Safety
///
/// As of C's `memmove`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= len {
        // SAFETY: the regions do not overlap, or a forward copy is right.
        return unsafe { memcpy(to, from, len) };
    }
    // SAFETY: the caller's promise; the direction flag is restored.
    unsafe {
        asm!(
            "std",
            "rep movsb",
            "cld",
            inout("rcx") len => _,
            inout("rdi") to.wrapping_add(len).wrapping_sub(1) => _,
            inout("rsi") from.wrapping_add(len).wrapping_sub(1) => _,
            options(nostack),
        );
    }
    to
}

/// # Safety
///
/// As of C's `memset`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: c_int, len: usize) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "rep stosb",
            inout("rcx") len => _, inout("rdi") to => _, in("eax") byte,
            options(nostack, preserves_flags),
        );
    }
    to
}

/// # Safety
///
/// As of C's `memcmp`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, len: usize) -> c_int {
    let (mut after_left, mut after_right) = (left, right);
    let equal: u8;
    // SAFETY: the caller's promise. With a length of zero nothing is read and
    // the preceding `cmp` has set the flags to equal.
    unsafe {
        asm!(
            "cmp rax, rax",
            "repe cmpsb",
            "sete al",
            inout("rcx") len => _,
            inout("rsi") after_left,
            inout("rdi") after_right,
            out("al") equal,
            options(nostack, readonly),
        );
    }
    if equal == 1 {
        return 0;
    }
    // SAFETY: the bytes before the pointers are the ones that differ.
    unsafe { c_int::from(*after_left.sub(1)) - c_int::from(*after_right.sub(1)) }
}

/// # Safety
///
/// As of the compiler's `bcmp`.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, len: usize) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { memcmp(left, right, len) }
}

/// # Safety
///
/// As of C's `strlen`.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const c_char) -> usize {
    let mut after = text;
    // SAFETY: the caller's promise: there is a NUL.
    unsafe {
        asm!(
            "repne scasb",
            inout("rdi") after, inout("rcx") usize::MAX => _, in("al") 0_u8,
            options(nostack, readonly),
        );
    }
    after.addr() - text.addr() - 1
}
