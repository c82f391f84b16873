//! One file for each verb.

pub mod advise;
pub mod bench;
pub mod build;
pub mod compare;
pub mod completions;
pub mod doctor;
pub mod exec;
pub mod gc;
pub mod host;
pub mod image;
pub mod kernel;
pub mod lifecycle;
pub mod network;
pub mod pool;
pub mod registry;
pub mod report;
pub mod run;
pub mod snapshot;
pub mod stats;
pub mod template;
pub mod update;
pub mod volume;
