//! The harness.

#![deny(missing_docs)]

mod native;
mod poll;
pub mod statistics;

pub use native::NativeRuntime;
