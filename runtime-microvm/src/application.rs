//! Machines that are saved with an application in them, ready for work: when it is
//! ready, which runs go on from there, and what each of them hands over to it.
//!
//! What was given to the application when it started cannot be changed any more: its
//! user, its working directory, its limits. Such a template fits runs in which all of
//! that is the same. Arguments and environment are part of that, unless the
//! application waits for its hand-over, from which it takes both. Standard streams,
//! host name and processor limit always come with the run.

use std::ffi::CStr;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bulkhead_guest::protocol::{self, CStrings, HAND_OVER, Start};
use bulkhead_runtime::Bundle;
use oci_spec::runtime::{LinuxDeviceBuilder, LinuxDeviceType, Process};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::snapshot::SnapshotError;

/// The variable in which an application that is being saved finds where its hand-over
/// will be.
pub const HAND_OVER_VARIABLE: &str = "BULKHEAD_HANDOVER";

/// For its owner to read.
const HAND_OVER_MODE: u32 = 0o400;

/// When an application is ready to be saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ready {
    /// It has written something to its standard output.
    FirstOutput,
    /// It accepts TCP connections to this port of the loopback interface.
    Port(u16),
    /// This command, run beside it by `/bin/sh -c`, exits with 0.
    Command(String),
    /// It reads its hand-over.
    HandOver,
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstOutput => f.write_str("first output"),
            Self::Port(port) => write!(f, "port {port}"),
            Self::Command(command) => write!(f, "`{command}`"),
            Self::HandOver => f.write_str("hand-over"),
        }
    }
}

impl Ready {
    /// What has not happened, as long as it is not ready.
    pub(crate) fn missing(&self) -> String {
        match self {
            Self::FirstOutput => "nothing came from its standard output".to_owned(),
            Self::Port(port) => format!("nobody accepted connections to its port {port}"),
            Self::Command(command) => format!("`{command}` did not exit with 0"),
            Self::HandOver => format!("it did not open ${HAND_OVER_VARIABLE}"),
        }
    }
}

/// An application that is to be saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// When it is ready.
    pub when: Ready,
    /// How long that may take.
    pub within: Duration,
}

/// The application in a saved machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Application {
    /// Its command and arguments.
    pub args: Vec<String>,
    /// By what it was ready, for a person.
    pub ready: String,
    /// It takes arguments and environment from its hand-over.
    pub hands_over: bool,
}

impl Application {
    pub(crate) fn new(process: &Process, ready: &Ready) -> Self {
        Self {
            args: process.args().clone().unwrap_or_default(),
            ready: ready.to_string(),
            hands_over: *ready == Ready::HandOver,
        }
    }
}

/// The bundle of an application that is to be saved: it finds a place for its
/// hand-over.
pub(crate) fn with_hand_over(bundle: &Bundle) -> Bundle {
    let mut bundle = bundle.clone();
    let path = HAND_OVER.to_string_lossy().into_owned();
    let mut owner = (0, 0);
    if let Some(process) = bundle.spec.process_mut() {
        owner = (process.user().uid(), process.user().gid());
        let variable = format!("{HAND_OVER_VARIABLE}={path}");
        process.env_mut().get_or_insert_default().push(variable);
    }
    if let Some(linux) = bundle.spec.linux_mut() {
        let fifo = LinuxDeviceBuilder::default()
            .path(PathBuf::from(path))
            .typ(LinuxDeviceType::P)
            .major(0_i64)
            .minor(0_i64)
            .file_mode(HAND_OVER_MODE)
            .uid(owner.0)
            .gid(owner.1)
            .build();
        linux.devices_mut().get_or_insert_default().extend(fifo);
    }
    bundle
}

/// What an application that waits is told of the run: JSON, an object.
pub(crate) fn hand_over(bundle: &Bundle) -> Vec<u8> {
    let process = bundle.spec.process().as_ref();
    let args = process.and_then(|process| process.args().as_deref()).unwrap_or_default();
    let env = process.and_then(|process| process.env().as_deref()).unwrap_or_default();
    let env: serde_json::Map<String, serde_json::Value> = env
        .iter()
        .filter_map(|variable| variable.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let hostname = bundle.spec.hostname();
    let text = serde_json::json!({ "args": args, "env": env, "hostname": hostname });
    format!("{text}\n").into_bytes()
}

/// The end of the name of the template of this application.
pub(crate) fn key(start: &Start, ready: &Ready) -> Result<String, SnapshotError> {
    let hands_over = *ready == Ready::HandOver;
    Ok(keys(start, hands_over)?.pop().unwrap_or_default())
}

/// The ends of the names of the templates that fit a run, the best first.
pub(crate) fn fitting(start: &Start) -> Result<Vec<String>, SnapshotError> {
    let exact = keys(start, false)?.pop();
    let hands_over = keys(start, true)?.into_iter().rev();
    Ok(exact.into_iter().chain(hands_over).collect())
}

/// Of the commands that are made of the first argument, of the first two, and so on.
fn keys(start: &Start, hands_over: bool) -> Result<Vec<String>, SnapshotError> {
    let mut common = start.clone();
    let args = std::mem::take(&mut common.process.args);
    common.process.stdin = true;
    common.fresh = None;
    common.network = None;
    if hands_over {
        common.process.env = CStrings::default();
    }
    if let Some(sandbox) = &mut common.sandbox {
        sandbox.hostname = None;
        sandbox.files.clear();
    }
    let bytes = postcard::to_allocvec(&common).map_err(SnapshotError::Encode)?;
    let mut digest = Sha256::new();
    digest.update([u8::from(hands_over)]);
    digest.update(bytes);
    let key = |arg: &CStr| {
        digest.update(arg.to_bytes_with_nul());
        digest.clone().finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    };
    Ok(args.iter().map(key).collect())
}

/// What a machine with a process in it is told when it goes on.
#[derive(Debug)]
pub(crate) struct Resumption {
    /// What is handed over; empty when nobody waits for it.
    pub hand_over: Vec<u8>,
    /// The process reads the run's standard input, instead of finding its end.
    pub stdin: bool,
}

impl Resumption {
    /// Of a machine with this application, or with a process that was not asked
    /// whether it is ready.
    pub fn new(application: Option<&Application>, bundle: &Bundle) -> Self {
        Self {
            hand_over: application.map(|_| hand_over(bundle)).unwrap_or_default(),
            stdin: application.is_some(),
        }
    }

    /// The message, of a machine that would otherwise run `start`.
    pub fn message(self, fresh: protocol::Fresh, start: Start) -> protocol::Resume {
        let protocol::Sandbox { hostname, files, .. } = start.sandbox.unwrap_or_default();
        let network = start.network;
        protocol::Resume { fresh, hostname, hand_over: self.hand_over, network, files }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_guest::protocol::Sandbox;
    use bulkhead_runtime::Rootfs;
    use oci_spec::runtime::Spec;

    fn start(args: &[&str], env: &[&str], hostname: &CStr) -> Start {
        let process = protocol::Process {
            args: CStrings::from_texts(args).unwrap(),
            env: CStrings::from_texts(env).unwrap(),
            ..protocol::Process::default()
        };
        let hostname = Some(hostname.to_owned());
        let sandbox = Some(Sandbox { hostname, ..Sandbox::default() });
        Start { process, sandbox, fresh: None, network: None }
    }

    #[test]
    fn a_template_fits_the_same_run_and_with_a_hand_over_longer_ones() {
        let made = start(&["app", "serve"], &["A=1"], c"one");
        let fits = |ready: &Ready, run: &Start| {
            fitting(run).unwrap().contains(&key(&made, ready).unwrap())
        };
        let same = start(&["app", "serve"], &["A=1"], c"two");
        let longer = start(&["app", "serve", "-v"], &["A=2", "B=3"], c"two");
        let shorter = start(&["app"], &["A=1"], c"two");
        let other = start(&["app", "serv", "e"], &["A=1"], c"two");
        for ready in [Ready::FirstOutput, Ready::HandOver] {
            assert!(fits(&ready, &same));
            assert!(!fits(&ready, &shorter) && !fits(&ready, &other));
            assert_eq!(fits(&ready, &longer), ready == Ready::HandOver);
        }
        let mut user = longer;
        user.process.uid = 7;
        assert!(!fits(&Ready::HandOver, &user));
    }

    #[test]
    fn the_longest_command_that_fits_comes_first() {
        let run = start(&["a", "b", "c"], &[], c"x");
        let of = |args: &[&str]| key(&start(args, &[], c"x"), &Ready::HandOver).unwrap();
        let [exact, longest, .., shortest] = &fitting(&run).unwrap()[..] else { panic!() };
        assert_eq!(exact, &key(&run, &Ready::FirstOutput).unwrap());
        assert_eq!((longest, shortest), (&of(&["a", "b", "c"]), &of(&["a"])));
    }

    #[test]
    fn what_is_handed_over_is_what_the_run_was_given() {
        let mut process = Process::default();
        process.set_args(Some(vec!["app".to_owned(), "\"quoted\"".to_owned()]));
        process.set_env(Some(vec!["A=b=c".to_owned(), "EMPTY=".to_owned()]));
        let mut spec = Spec::default();
        spec.set_process(Some(process));
        spec.set_hostname(Some("box".to_owned()));
        let bundle = Bundle { spec, rootfs: Rootfs::Disk(PathBuf::new()) };
        let told: serde_json::Value = serde_json::from_slice(&hand_over(&bundle)).unwrap();
        let expected = serde_json::json!({
            "args": ["app", "\"quoted\""], "env": { "A": "b=c", "EMPTY": "" }, "hostname": "box",
        });
        assert_eq!(told, expected);

        let prepared = with_hand_over(&bundle);
        let env = prepared.process().unwrap().env().clone().unwrap();
        assert_eq!(env.last().unwrap(), "BULKHEAD_HANDOVER=/dev/bulkhead-handover");
        let devices = prepared.linux().unwrap().devices().clone().unwrap();
        assert_eq!(devices.last().unwrap().typ(), LinuxDeviceType::P);
    }
}
