//! The harness.

#![deny(missing_docs)]

pub mod statistics;
