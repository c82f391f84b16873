//! Arguments of `bulkhead build`, and of what else brings images in by itself.

use std::path::PathBuf;

use bulkhead_image::ImageRef;
use bulkhead_runtime::Isolation;
use clap::{Args, ValueEnum, ValueHint};
use serde::{Deserialize, Serialize};

use super::run::{LimitArgs, walled};

/// When an image is brought in from its registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PullChoice {
    /// If it is not here
    #[default]
    Missing,
    /// Each time
    Always,
    /// Not at all
    Never,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The context is read from a directory of this machine, without what its .dockerignore names. Steps
that were done before are taken from the cache, which `bulkhead image prune` empties. With
SOURCE_DATE_EPOCH in the environment two builds of the same make the same image, byte for byte.
The digest of the image is printed to standard output, all else to standard error.")]
pub struct BuildArgs {
    /// The Dockerfile; - reads it from standard input [default: CONTEXT/Dockerfile]
    #[arg(long, short, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
    /// A name for the image
    #[arg(long, short, value_name = "NAME[:TAG]")]
    pub tag: Vec<ImageRef>,
    /// Set an argument of the Dockerfile; without a value, pass the caller's variable on
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub build_arg: Vec<String>,
    /// Add a label to the image
    #[arg(long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,
    /// The stage to build [default: the last]
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// Do every step, even what was done before
    #[arg(long)]
    pub no_cache: bool,
    /// The wall that commands of RUN run behind: container or microvm
    #[arg(long, short = 'i', default_value = "container", value_parser = walled, value_name = "WALL")]
    pub isolation: Isolation,
    #[command(flatten)]
    pub limits: LimitArgs,
    /// When base images are pulled
    #[arg(
        long,
        value_enum,
        default_value_t,
        default_missing_value = "always",
        num_args = 0..=1,
        require_equals = true,
        value_name = "WHEN"
    )]
    pub pull: PullChoice,
    /// Say nothing but the digest of the image, unless the build fails
    #[arg(long, short)]
    pub quiet: bool,
    /// The directory that files are copied from
    #[arg(value_hint = ValueHint::DirPath)]
    pub context: PathBuf,
}
