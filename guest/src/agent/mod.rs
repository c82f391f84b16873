//! PID 1 of the microVM.
//!
//! In the order of its life: `boot` makes a root filesystem out of the disk and
//! a connection to the host; `serve` carries processes for the host until the
//! connection that started the workload ends; the machine ends with that.
//!
//! Where the guest's kernel is emulated, a system call costs a third of a
//! millisecond, a page touched for the first time nearly two, a fork eighty. So
//! children borrow the parent's memory until they exec, buffers are touched only
//! as far as they are used, and what the workload does not wait for happens
//! after it runs.

mod boot;
mod changes;
mod credentials;
mod device;
mod hold;
mod init;
mod lookup;
mod network;
mod oom;
mod path;
mod refresh;
mod sandbox;
mod serve;
mod session;
mod spawn;
mod streams;
mod sys;
mod tarball;
mod terminal;

#[cfg(test)]
mod tests;

pub use boot::live;
pub use device::Device;

use core::ffi::c_int;

use crate::timer::PowerOff;

/// Serves one connection with no machine around it: processes run where this
/// one does, and whatever runs at the end of the session is killed.
///
/// # Safety
///
/// `socket` must be a descriptor that nobody else owns; it must not block.
#[must_use]
pub unsafe fn serve_stream(socket: c_int) -> PowerOff {
    // SAFETY: the caller's promise.
    let socket = unsafe { sys::Fd::from_raw(socket) };
    let mut agent = serve::Agent::new(socket, Device::default(), hold::Scope::Process, || {
        Err(sys::Errno::NODEV)
    });
    let reason = agent.run();
    agent.kill();
    reason
}
