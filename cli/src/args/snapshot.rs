//! `bulkhead template` and `bulkhead snapshot`.

use std::path::PathBuf;

use bulkhead_runtime::SandboxId;
use clap::{Args, Subcommand, ValueHint};

use super::values::memory;
use super::{Output, RootDiskChoice};

/// The machine to boot.
#[derive(Debug, Args)]
pub struct MachineArgs {
    /// Guest memory: bytes, or with a suffix b, k, m, g; `bulkhead run` has to ask for
    /// the same
    #[arg(long, short = 'm', value_parser = memory, value_name = "SIZE")]
    pub memory: Option<u64>,
    /// Guest kernel [default: the one `bulkhead kernel build` made]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub kernel: Option<PathBuf>,
    /// How the microVM is shown its root filesystem
    #[arg(long, value_enum, default_value_t, value_name = "DEVICE")]
    pub root_disk: RootDiskChoice,
    /// The image
    pub image: String,
}

#[derive(Debug, Subcommand)]
pub enum TemplateVerb {
    /// Boot a microVM for an image once; from then on `bulkhead run --isolation microvm`
    /// with the same image, memory and kernel goes on from there
    Build {
        #[command(flatten)]
        machine: MachineArgs,
    },
    /// List templates
    Ls {
        #[command(flatten)]
        output: Output,
    },
    /// Remove templates
    Rm {
        /// Their names
        #[arg(required = true)]
        names: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum SnapshotVerb {
    /// Boot a microVM for an image and keep it, waiting for work, for
    /// `bulkhead run --from-snapshot`
    Create {
        /// The snapshot's name
        name: String,
        #[command(flatten)]
        machine: MachineArgs,
    },
    /// Keep a microVM that runs as it is now, its workload included; it goes on
    Take {
        /// The snapshot's name
        name: String,
        /// The sandbox (see `bulkhead run --name`)
        sandbox: SandboxId,
    },
    /// List snapshots
    Ls {
        #[command(flatten)]
        output: Output,
    },
    /// Remove snapshots
    Rm {
        /// Their names
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Check a snapshot or a template, its memory included, and print what it needs as JSON
    Inspect {
        /// Its name
        name: String,
    },
}
