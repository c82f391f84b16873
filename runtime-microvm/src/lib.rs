//! The microVM: a virtual machine monitor of our own behind the `Runtime` trait.
//!
//! - [`kvm`]: the kernel's objects; [`boot`]: getting a kernel to run;
//!   [`devices`]: what the guest sees; [`machine`]: these put together.
//! - [`profile`]: what the hypervisor costs here, without an operating system.
//! - `monitor`: the process that runs one machine, started by
//!   [`MicroVmRuntime`] with [`monitor_main`] as its entry point.
//! - `session`: the host's half of the conversation with the guest's PID 1.

#![deny(missing_docs)]

mod accounting;
mod affinity;
pub mod application;
mod asking;
pub mod boot;
mod calling;
mod config;
pub mod devices;
mod error;
mod exec;
mod files;
pub mod foreign;
pub mod guest_log;
mod hosting;
pub mod kvm;
mod leftovers;
mod loaded;
pub mod machine;
mod monitor;
mod monitor_process;
mod pool;
pub mod profile;
mod runtime;
mod sandbox;
pub mod saving;
pub mod session;
pub mod snapshot;
pub mod template;
mod throttle;
pub mod timeline;
pub mod vcpu_loop;
pub mod vhost_user;

pub use config::{Console, MicroVmConfig, Prefetch, RootDisk, StartFrom};
pub use error::MicroVmError;
pub use monitor::monitor_main;
pub use monitor::report::{Awaited, FailureKind, GuestFailure, SetupFailure};
pub use runtime::MicroVmRuntime;
pub use session::SessionError;
pub use session::convert::ConvertError;
