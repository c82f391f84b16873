//! `bulkhead template` and `bulkhead snapshot`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

use super::run::{InsideArgs, ProcessArgs};
use super::values::{duration, memory};
use super::{Output, PrivilegeArgs, RootDiskChoice};

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

/// The application that is to be kept in the machine, ready for work.
#[derive(Debug, Args)]
pub struct ApplicationArgs {
    #[command(flatten)]
    pub ready: ReadyArgs,
    /// How long the application may take to get ready: seconds, or with a suffix ms, s, m, h
    #[arg(long, value_parser = duration, value_name = "TIME", default_value = "5m")]
    pub ready_within: Duration,
    #[command(flatten)]
    pub process: ProcessArgs,
    #[command(flatten)]
    pub inside: InsideArgs,
    #[command(flatten)]
    pub privileges: PrivilegeArgs,
    /// The application and its arguments [default: the image's]
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        requires = "ReadyArgs",
        value_name = "COMMAND"
    )]
    pub command: Vec<String>,
}

/// When the application is ready.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct ReadyArgs {
    /// Start the application and keep the microVM once it is ready
    #[arg(long, value_enum, value_name = "WHEN")]
    pub ready: Option<ReadyChoice>,
    /// The same, once it accepts TCP connections to this port of the loopback interface
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub ready_port: Option<u16>,
    /// The same, once this exits with 0, run beside it by /bin/sh
    #[arg(long, value_name = "COMMAND")]
    pub ready_cmd: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReadyChoice {
    /// It has written something to its standard output
    FirstOutput,
    /// It opens the file that $BULKHEAD_HANDOVER names, to wait for arguments, environment
    /// and host name of a run; runs may then have other arguments behind the command, and
    /// another environment
    HandOver,
}

#[derive(Debug, Subcommand)]
pub enum TemplateVerb {
    /// Boot a microVM for an image once, or start an application in it until it is ready;
    /// from then on `bulkhead run --isolation microvm` with the same image, memory, kernel
    /// and application goes on from there
    Build {
        #[command(flatten)]
        machine: MachineArgs,
        #[command(flatten)]
        application: Box<ApplicationArgs>,
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
        sandbox: String,
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
    /// Write a snapshot or a template to an OCI layout
    Export {
        /// Its name
        name: String,
        /// The layout, which is made: an archive if it ends in `.tar`, or a directory
        #[arg(value_hint = ValueHint::AnyPath)]
        path: PathBuf,
    },
    /// Take in a snapshot or a template from an OCI layout; its kernel and its image's disk
    /// have to be here
    Import {
        /// The layout, an archive or a directory
        #[arg(value_hint = ValueHint::AnyPath)]
        path: PathBuf,
        /// Name of the snapshot [default: its own; a template stays one]
        name: Option<String>,
    },
    /// Check a snapshot or a template, its memory included, and print what it needs as JSON
    Inspect {
        /// Its name
        name: String,
    },
}
