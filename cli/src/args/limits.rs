//! Limits of a sandbox beyond memory, processors and processes.

use bulkhead_image::spec::{Limits, RunOptions, Swap, Throttle, Ulimit};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::values::{cpus, memory};

/// Limits that few ask for, and that can be changed while a sandbox runs.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct ShareArgs {
    /// Limit of memory and swap together; -1 for no limit [default: that of memory]
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, value_parser = swap)]
    pub memory_swap: Option<i64>,
    /// Memory that is left to the sandbox when others need some
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub memory_reservation: Option<u64>,
    /// Share of processor time when others want some, 1024 being usual
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=262_144))]
    pub cpu_shares: Option<u64>,
    /// Processors to run on, such as 0-2,5
    #[arg(long, value_name = "LIST", value_parser = processors)]
    pub cpuset_cpus: Option<String>,
    /// Share of disk time when others want some, 10 to 1000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(10..=1000))]
    pub blkio_weight: Option<u16>,
}

/// Limits that hold from the start to the end.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceArgs {
    #[command(flatten)]
    pub shares: ShareArgs,
    /// Bytes a second that may be read from a disk of the host
    #[arg(long, value_name = "PATH:RATE")]
    pub device_read_bps: Vec<Throttle>,
    /// Bytes a second that may be written to it
    #[arg(long, value_name = "PATH:RATE")]
    pub device_write_bps: Vec<Throttle>,
    /// Reads a second
    #[arg(long, value_name = "PATH:RATE")]
    pub device_read_iops: Vec<Throttle>,
    /// Writes a second
    #[arg(long, value_name = "PATH:RATE")]
    pub device_write_iops: Vec<Throttle>,
    /// Resource limit of the command, such as nofile=1024:2048; -1 is no limit
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub ulimit: Vec<Ulimit>,
    /// Size of /dev/shm [default: 64m]
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub shm_size: Option<u64>,
    /// Rank for being killed when memory is short, -1000 to 1000
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub oom_score_adj: Option<i32>,
}

/// What `bulkhead update` changes.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Memory limit: bytes, or with a suffix b, k, m, g
    #[arg(long, short = 'm', value_parser = memory, value_name = "SIZE")]
    pub memory: Option<u64>,
    /// CPU limit in processors, for example 0.5
    #[arg(long, value_parser = cpus, value_name = "N")]
    pub cpus: Option<f64>,
    /// Limit of processes and threads
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub pids_limit: Option<u64>,
    #[command(flatten)]
    pub shares: ShareArgs,
    /// The sandboxes
    #[arg(required = true)]
    pub sandboxes: Vec<String>,
}

impl ShareArgs {
    fn limits(&self) -> Limits {
        let swap = |swap: i64| u64::try_from(swap).map_or(Swap::Unlimited, Swap::Bytes);
        Limits {
            memory_swap: self.memory_swap.map(swap),
            memory_reservation: self.memory_reservation,
            cpu_shares: self.cpu_shares,
            cpuset_cpus: self.cpuset_cpus.clone(),
            blkio_weight: self.blkio_weight,
            ..Limits::default()
        }
    }
}

impl ResourceArgs {
    /// The limits asked for.
    pub fn limits(&self) -> Limits {
        Limits {
            read_bps: self.device_read_bps.clone(),
            write_bps: self.device_write_bps.clone(),
            read_iops: self.device_read_iops.clone(),
            write_iops: self.device_write_iops.clone(),
            ulimits: self.ulimit.clone(),
            shm_bytes: self.shm_size,
            oom_score_adj: self.oom_score_adj,
            ..self.shares.limits()
        }
    }
}

impl UpdateArgs {
    /// The limits asked for.
    pub fn options(&self) -> RunOptions {
        RunOptions {
            memory_bytes: self.memory,
            cpus: self.cpus,
            pids_limit: self.pids_limit,
            limits: self.shares.limits(),
            ..RunOptions::default()
        }
    }
}

/// A size, or -1.
fn swap(text: &str) -> Result<i64, String> {
    if text == "-1" {
        return Ok(-1);
    }
    i64::try_from(memory(text)?).map_err(|_| "too large".to_owned())
}

/// A list of processors, as the kernel writes them.
fn processors(text: &str) -> Result<String, String> {
    let number = |text: &str| text.parse::<u16>().ok();
    let part = |part: &str| match part.split_once('-') {
        Some((first, last)) => number(first).zip(number(last)).is_some_and(|(a, b)| a <= b),
        None => number(part).is_some(),
    };
    if text.split(',').all(part) {
        Ok(text.to_owned())
    } else {
        Err("expected processors such as 0-2,5".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_a_list() {
        for good in ["0", "0-2", "0-2,5", "1,3"] {
            assert_eq!(processors(good), Ok(good.to_owned()));
        }
        for wrong in ["", "a", "2-1", "0,", "-1", "1-"] {
            assert!(processors(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn swap_may_be_without_limit() {
        assert_eq!((swap("-1"), swap("1m")), (Ok(-1), Ok(1 << 20)));
        assert!(swap("-2").is_err());
    }
}
