//! The program that the guest's kernel starts as PID 1.
//!
//! Linked without a C runtime: the kernel jumps to `_start`, and what the
//! compiler expects of a C library is here. See `bulkhead_guest::agent` for what
//! it does.

#![no_std]
#![no_main]

extern crate alloc;

mod heap;
mod memory;

use core::arch::global_asm;
use core::ffi::{CStr, c_char};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicPtr, Ordering};

use bulkhead_guest::agent::{self, Device};
use bulkhead_guest::timer::PowerOff;

#[global_allocator]
static HEAP: heap::Heap = heap::Heap::new();

// At entry rsp points to argc, argv and envp (AMD64 ABI, 3.4.1).
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {entry}",
    "ud2",
    entry = sym entry,
);

/// The device, for the panic handler.
static DEVICE: AtomicPtr<Device> = AtomicPtr::new(core::ptr::null_mut());

extern "C" fn entry(stack: *const usize) -> ! {
    let mut device = Device::default();
    let known = &raw mut device;
    DEVICE.store(known, Ordering::Relaxed);
    // SAFETY: the kernel has put argc, argc pointers, a null pointer, and the
    // null-terminated environment here, all of which stay for ever.
    let environment = unsafe {
        let mut next = stack.add(1 + *stack + 1).cast::<*const c_char>();
        core::iter::from_fn(move || {
            let variable = *next;
            next = next.add(1);
            (!variable.is_null()).then(|| CStr::from_ptr(variable))
        })
    };
    // SAFETY: `device` lives as long as the program, on one thread.
    let reason = agent::live(environment, unsafe { &mut *known });
    power_off(reason)
}

fn power_off(reason: PowerOff) -> ! {
    // SAFETY: null before `entry` has set it, and valid afterwards.
    let device = unsafe { DEVICE.load(Ordering::Relaxed).as_ref() };
    device.copied().unwrap_or_default().power_off(reason)
}

/// There is nobody to read a message: the line goes into the power-off register.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let line = info.location().map_or(0, core::panic::Location::line);
    power_off(PowerOff::Panicked { line })
}
