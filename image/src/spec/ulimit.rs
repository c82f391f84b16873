//! Resource limits of processes, as people write them.

use std::str::FromStr;

use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder, PosixRlimitType as Kind};
use serde::{Deserialize, Serialize};

use super::SpecError;

/// A limit of one resource (getrlimit(2)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    name: String,
    soft: u64,
    hard: u64,
}

/// Text that is no resource limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseUlimitError {
    /// No such resource.
    #[error("`{0}` is no resource with a limit (such as nofile, nproc, core, memlock, stack)")]
    Name(String),
    /// No limit.
    #[error("expected NAME=SOFT[:HARD], such as nofile=1024:2048; -1 is no limit")]
    Form,
    /// More than there may be.
    #[error("the soft limit {soft} is above the hard limit {hard}")]
    Order {
        /// What is in force.
        soft: u64,
        /// What it may be raised to.
        hard: u64,
    },
}

impl FromStr for Ulimit {
    type Err = ParseUlimitError;

    /// `NAME=SOFT[:HARD]`, as docker and ulimit(1) name them.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, limits) = text.split_once('=').ok_or(ParseUlimitError::Form)?;
        kind(name).ok_or_else(|| ParseUlimitError::Name(name.to_owned()))?;
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        let (soft, hard) = (number(soft)?, number(hard)?);
        if soft > hard {
            return Err(ParseUlimitError::Order { soft, hard });
        }
        Ok(Self { name: name.to_owned(), soft, hard })
    }
}

fn number(text: &str) -> Result<u64, ParseUlimitError> {
    match text {
        // `RLIM_INFINITY`
        "-1" => Ok(u64::MAX),
        text if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().map_err(|_| ParseUlimitError::Form)
        }
        _ => Err(ParseUlimitError::Form),
    }
}

fn kind(name: &str) -> Option<Kind> {
    Some(match name {
        "as" => Kind::RlimitAs,
        "core" => Kind::RlimitCore,
        "cpu" => Kind::RlimitCpu,
        "data" => Kind::RlimitData,
        "fsize" => Kind::RlimitFsize,
        "locks" => Kind::RlimitLocks,
        "memlock" => Kind::RlimitMemlock,
        "msgqueue" => Kind::RlimitMsgqueue,
        "nice" => Kind::RlimitNice,
        "nofile" => Kind::RlimitNofile,
        "nproc" => Kind::RlimitNproc,
        "rss" => Kind::RlimitRss,
        "rtprio" => Kind::RlimitRtprio,
        "rttime" => Kind::RlimitRttime,
        "sigpending" => Kind::RlimitSigpending,
        "stack" => Kind::RlimitStack,
        _ => return None,
    })
}

/// As the runtime-spec has them; the last of a name counts.
pub(super) fn rlimits(ulimits: &[Ulimit]) -> Result<Vec<PosixRlimit>, SpecError> {
    let mut last: Vec<&Ulimit> = Vec::new();
    for ulimit in ulimits {
        last.retain(|other| other.name != ulimit.name);
        last.push(ulimit);
    }
    let limit = |ulimit: &Ulimit| {
        let kind = kind(&ulimit.name).unwrap_or(Kind::RlimitCore);
        PosixRlimitBuilder::default().typ(kind).soft(ulimit.soft).hard(ulimit.hard).build()
    };
    Ok(last.into_iter().map(limit).collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulimits_are_written_as_docker_has_them() {
        let limit = |text: &str| {
            let limits = rlimits(&[text.parse().unwrap()]).unwrap();
            (limits[0].typ(), limits[0].soft(), limits[0].hard())
        };
        assert_eq!(limit("nofile=1024:2048"), (Kind::RlimitNofile, 1024, 2048));
        assert_eq!(limit("core=0"), (Kind::RlimitCore, 0, 0));
        assert_eq!(limit("memlock=-1"), (Kind::RlimitMemlock, u64::MAX, u64::MAX));
        assert_eq!(limit("stack=5:-1"), (Kind::RlimitStack, 5, u64::MAX));
    }

    #[test]
    fn what_is_none_is_refused() {
        let error = |text: &str| text.parse::<Ulimit>().unwrap_err();
        for wrong in
            ["", "nofile", "nofile=", "nofile=x", "nofile=1:", "nofile=-2", "core=1:2:3"]
        {
            assert_eq!(error(wrong), ParseUlimitError::Form, "{wrong}");
        }
        assert_eq!(error("files=1"), ParseUlimitError::Name("files".to_owned()));
        assert_eq!(error("core=2:1"), ParseUlimitError::Order { soft: 2, hard: 1 });
        assert!(matches!(error("core=-1:7"), ParseUlimitError::Order { .. }));
    }

    #[test]
    fn the_last_of_a_name_counts() {
        let all = ["core=1", "cpu=5", "core=2"].map(|text| text.parse().unwrap());
        let limits = rlimits(&all).unwrap();
        assert_eq!(limits.len(), 2);
        assert_eq!((limits[1].typ(), limits[1].soft()), (Kind::RlimitCore, 2));
    }
}
