//! `bulkhead volume`, and the mounts of a run.

use bulkhead_image::volume::VolumeName;
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use super::Output;

/// What of the host, or of a volume, is seen inside.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct MountArgs {
    /// Mount a volume, or a file or directory of the host
    #[arg(long, short = 'v', value_name = "[NAME|/HOST/PATH:]/PATH[:ro]")]
    pub volume: Vec<String>,
    /// The same in words, for example type=bind,source=/host/path,target=/path,readonly;
    /// types are bind, volume and tmpfs (with tmpfs-size=, tmpfs-mode=)
    #[arg(long, value_name = "KEY=VALUE,...")]
    pub mount: Vec<String>,
    /// Mount a filesystem in memory, with options of mount(8): size=, mode=, exec, ...
    #[arg(long, value_name = "/PATH[:OPTIONS]")]
    pub tmpfs: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum VolumeVerb {
    /// Make a volume, unless there is one of that name
    Create(CreateVolumeArgs),
    /// List volumes
    Ls {
        /// Only those with label=KEY[=VALUE], name=PART or dangling=true|false
        #[arg(long, short = 'f', value_name = "FILTER")]
        filter: Vec<String>,
        /// Only the names
        #[arg(long, short = 'q')]
        quiet: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Remove volumes and their data
    Rm {
        /// One that is not there is no failure
        #[arg(long, short = 'f')]
        force: bool,
        /// The volumes
        #[arg(required = true, value_name = "VOLUME")]
        names: Vec<VolumeName>,
    },
    /// Print what is known of volumes as JSON
    Inspect {
        /// The volumes
        #[arg(required = true, value_name = "VOLUME")]
        names: Vec<VolumeName>,
    },
    /// Remove the volumes that no sandbox uses and nobody named
    Prune {
        /// Those with a name, too
        #[arg(long, short = 'a')]
        all: bool,
        /// Only those with label=KEY[=VALUE]
        #[arg(long, value_name = "FILTER")]
        filter: Vec<String>,
        /// Nothing is asked anyway
        #[arg(long, short = 'f', hide = true)]
        force: bool,
    },
}

#[derive(Debug, Args)]
pub struct CreateVolumeArgs {
    /// Give it a label
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub label: Vec<String>,
    /// Its name [default: random]
    #[arg(value_name = "NAME")]
    pub name: Option<VolumeName>,
}
