//! From results to something to read.
//!
//! The harness writes [`schema::Results`]; everything in this crate reads it.
//! Nothing here measures, and nothing here does statistics: the figures in a
//! report are the figures in the file.

#![deny(missing_docs)]

pub mod schema;
