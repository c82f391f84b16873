//! `bulkhead pool`.

use bulkhead_runtime::Isolation;
use clap::{Args, Subcommand};

use super::Output;
use super::run::{LimitArgs, walled};

#[derive(Debug, Subcommand)]
pub enum PoolVerb {
    /// Prepare sandboxes, so that `bulkhead run` finds them half made: everything
    /// but the process. Each is used once
    Fill(FillArgs),
    /// List prepared sandboxes
    Ls {
        #[command(flatten)]
        output: Output,
    },
    /// Remove prepared sandboxes
    Drain {
        /// Only those of these images, as they were called
        #[arg(value_name = "IMAGE")]
        images: Vec<String>,
    },
}

/// A run takes a prepared sandbox of the same image with the same limits.
#[derive(Debug, Args)]
pub struct FillArgs {
    /// The wall
    #[arg(long, short = 'i', default_value = "container", value_parser = walled, value_name = "WALL")]
    pub isolation: Isolation,
    /// How many are to wait; those there are already count
    #[arg(long, short = 'n', value_name = "K", default_value_t = 1)]
    pub count: usize,
    #[command(flatten)]
    pub limits: LimitArgs,
    /// The image
    pub image: String,
}
