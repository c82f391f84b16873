//! The microVM: a virtual machine monitor of our own behind the `Runtime` trait.
//!
//! - [`kvm`]: the kernel's objects; [`boot`]: getting a kernel to run;
//!   [`devices`]: what the guest sees; [`machine`]: these put together.
//! - `monitor`: the process that runs one machine, started by
//!   [`MicroVmRuntime`] with [`monitor_main`] as its entry point.
//! - `session`: the host's half of the conversation with the guest's PID 1.

#![deny(missing_docs)]

pub mod boot;
pub mod devices;
pub mod guest_log;
pub mod kvm;
pub mod machine;
pub mod timeline;
pub mod vcpu_loop;
