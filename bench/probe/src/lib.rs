//! The probe: one static program that runs, the same bytes, natively and
//! behind every wall.
//!
//! It is the smallest workload there is (`probe hello`, `probe idle`), the
//! stopwatch for the kernel boundary (`probe ops`), the witness for what a
//! root filesystem looks like from inside (`probe manifest`), and the burglar
//! who tries every wall (`probe attempts`). It depends on libc alone and touches
//! few pages, because inside a microVM every page touched for the first time has
//! a price.
//!
//! The library half holds all of it, so that it can be tested, and the format
//! of its output ([`mod@line`]), so that the harness parses what the probe prints
//! with the code that printed it. It must know nothing about runtimes.

#![deny(missing_docs)]

mod attempts;
mod calibrate;
pub mod line;
mod manifest;
mod ops;
#[doc(hidden)]
pub mod quick;
mod sha256;
mod sys;
mod verbs;

pub use attempts::report;
pub use manifest::manifest;
pub use ops::{OPERATIONS, OperationInfo};
pub use verbs::{Arguments, run};
