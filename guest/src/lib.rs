//! What runs inside the microVM: the protocol between guest and host, and the
//! agent that is its PID 1.
//!
//! The library is shared: the host side uses [`protocol`] and [`timer`], the
//! program `bulkhead-init` uses all of it. Every page the guest touches and
//! every system call it makes has a price where its kernel is emulated, so
//! there is no `std` here, no C runtime, and nothing the host could do instead.

#![no_std]
#![deny(missing_docs)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod agent;
pub mod protocol;
pub mod timer;
