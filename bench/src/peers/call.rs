//! One call of a peer's program, to its end or to its timeout.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use bulkhead_runtime::{Instant, SandboxId, Stdio};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};

use super::error::PeerError;
use super::processes;
use super::rootfs::{Base, Mounts};
use crate::poll::wait_readable;
use crate::spawn::{Child, Plan, SpawnError};

/// Variables of our environment that a peer may need to find its helpers and
/// the places of its user.
const PASSED_ON: [&str; 3] = ["PATH", "HOME", "XDG_RUNTIME_DIR"];

/// Most of a message that is kept, bytes.
const MAX_MESSAGE: usize = 600;

/// A program with the command line of an OCI runtime.
#[derive(Debug, Clone)]
pub struct Program {
    /// The file.
    pub path: PathBuf,
    /// Options before the verb, of the user's.
    pub options: Vec<String>,
    /// The namespace it is called in.
    pub base: Base,
    /// How long a call may take.
    pub patience: Duration,
}

/// What a call is given beside its arguments.
#[derive(Debug, Default)]
pub struct Given<'a> {
    /// The standard streams; without any, input is empty and output goes to the
    /// log of the call.
    pub stdio: Option<&'a Stdio>,
    /// The mounts made before, instead of none.
    pub mounts: Option<Mounts>,
    /// Gives up when this becomes readable.
    pub interrupt: Option<BorrowedFd<'a>>,
    /// Told when this becomes readable: output of a workload that the call lets run.
    pub watched: Option<BorrowedFd<'a>>,
}

/// How a call went that did not fail.
#[derive(Debug)]
pub enum Done {
    /// It succeeded.
    Finished(Seen),
    /// It was given up.
    Interrupted,
}

/// What was seen during a call.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// When the mounts were made.
    pub mounted: Option<Instant>,
    /// When the watched descriptor became readable.
    pub output: Option<Instant>,
}

/// A call that has been started.
#[derive(Debug)]
pub struct Call {
    /// The peer's process.
    pub child: Child,
    command: String,
    log: PathBuf,
}

impl Program {
    /// The program and a verb, for messages.
    fn command(&self, verb: &str) -> String {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        format!("{} {verb}", name.display())
    }

    /// Starts a call. `dir` is the sandbox's directory.
    pub fn spawn(
        &self,
        id: &SandboxId,
        dir: &Path,
        arguments: &[&str],
        given: &mut Given<'_>,
    ) -> Result<Call, PeerError> {
        let verb = arguments.first().copied().unwrap_or_default();
        let log = dir.join(format!("{verb}.log"));
        let mut line = vec![self.path.display().to_string()];
        line.extend(self.options.iter().cloned());
        line.extend(["--root".to_owned(), dir.join("peer").display().to_string()]);
        line.extend(["--log".to_owned(), log.display().to_string()]);
        line.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let own;
        let stdio = match given.stdio {
            Some(stdio) => stdio,
            None => {
                own = to_log(&log)?;
                &own
            }
        };
        let spawn_error = |source| PeerError::Spawn { program: self.path.clone(), source };
        let mounts = given.mounts.take().unwrap_or_else(|| Mounts::none(&self.base));
        let child = Plan::new(&self.path, &line, &environment(id), dir, stdio)
            .map_err(spawn_error)?
            .in_own_session()
            .with_mounts(mounts)
            .spawn()
            .map_err(|error| match error {
                SpawnError::SetUp(source) => {
                    PeerError::io("prepare the root filesystem in", dir)(source)
                }
                SpawnError::Exec(source) => spawn_error(source),
            })?;
        Ok(Call { child, command: self.command(verb), log })
    }

    /// Makes a call and waits for its end; a call that hangs is killed.
    pub fn call(
        &self,
        id: &SandboxId,
        dir: &Path,
        arguments: &[&str],
        mut given: Given<'_>,
    ) -> Result<Done, PeerError> {
        let call = self.spawn(id, dir, arguments, &mut given)?;
        let mut seen = Seen { mounted: call.child.mounted, output: None };
        let deadline = std::time::Instant::now() + self.patience;
        loop {
            if let Some(status) = call.collect()? {
                if status.success() {
                    return Ok(Done::Finished(seen));
                }
                let message = call.message(given.stdio.map(|stdio| &stdio.stderr));
                return Err(PeerError::Failed { command: call.command, status, message });
            }
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                let message = call.message(given.stdio.map(|stdio| &stdio.stderr));
                call.kill(id);
                let after = self.patience;
                return Err(PeerError::Hung { command: call.command, after, message });
            }
            let watched = given.watched.filter(|_| seen.output.is_none());
            let fds = [Some(call.child.pidfd.as_fd()), given.interrupt, watched];
            let [_, interrupted, output] = wait_readable(fds, Some(left))
                .map_err(PeerError::io("wait for the peer in", dir))?;
            if output {
                seen.output = Some(Instant::now());
            }
            if interrupted {
                call.kill(id);
                return Ok(Done::Interrupted);
            }
        }
    }
}

impl Call {
    /// How it ended, if it has.
    pub fn collect(&self) -> Result<Option<ExitStatus>, PeerError> {
        let mut status = 0;
        // SAFETY: `status` is writable; the pid is a child not collected before.
        match unsafe { libc::waitpid(self.child.pid, &raw mut status, libc::WNOHANG) } {
            0 => Ok(None),
            pid if pid > 0 => Ok(Some(ExitStatus::from_raw(status))),
            _ => {
                let error = io::Error::last_os_error();
                Err(PeerError::io("wait for the program of", &self.log)(error))
            }
        }
    }

    /// Kills it and whatever it has started.
    pub fn kill(&self, id: &SandboxId) {
        // SAFETY: the child is the leader of its process group and not collected yet.
        unsafe { libc::kill(-self.child.pid, libc::SIGKILL) };
        processes::kill_marked(id);
        // SAFETY: a killed child of ours, unless it was collected above.
        unsafe { libc::waitpid(self.child.pid, std::ptr::null_mut(), 0) };
    }

    /// What it says about its failure: in its log, or else on standard error.
    fn message(&self, stderr: Option<&OwnedFd>) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let message = last_message(&String::from_utf8_lossy(&log));
        if !message.is_empty() {
            return message;
        }
        stderr
            .and_then(reader_of)
            .map(|reader| {
                let mut bytes = Vec::new();
                // It does not block: what is in the pipe now is all there is.
                let _ = reader.take(1 << 16).read_to_end(&mut bytes);
                last_message(&String::from_utf8_lossy(&bytes))
            })
            .unwrap_or_default()
    }
}

/// Input from nowhere, output to the log of the call.
fn to_log(log: &Path) -> Result<Stdio, PeerError> {
    let file = File::options().append(true).create(true).open(log);
    let file = file.map_err(PeerError::io("open", log))?;
    Stdio::output_to(file.into()).map_err(PeerError::io("open", log))
}

fn environment(id: &SandboxId) -> Vec<String> {
    let passed_on = PASSED_ON
        .iter()
        .filter_map(|name| Some(format!("{name}={}", std::env::var(name).ok()?)));
    passed_on.chain([processes::mark(id)]).collect()
}

/// A reading end of the pipe that `writer` writes to; nothing for other files.
pub fn reader_of(writer: &OwnedFd) -> Option<File> {
    let kind = FileType::from_raw_mode(fstat(writer).ok()?.st_mode);
    if kind != FileType::Fifo {
        return None;
    }
    let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Some(open(path, flags, Mode::empty()).ok()?.into())
}

/// The last line that says something, without what a logger puts around it, and
/// printable whatever it was.
pub fn last_message(text: &str) -> String {
    let line = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    let quoted = line.split_once("msg=\"").and_then(|(_, rest)| rest.rsplit_once('"'));
    let message = match (quoted, line.split_once("Z: ")) {
        (Some((message, _)), _) => message.replace("\\\"", "\""),
        // A time stamp, as crun's.
        (None, Some((stamp, message))) if stamp.starts_with(|c: char| c.is_ascii_digit()) => {
            message.to_owned()
        }
        _ => line.trim().to_owned(),
    };
    let mut printable: String =
        message.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if printable.len() > MAX_MESSAGE {
        let end = (0..=MAX_MESSAGE).rfind(|&at| printable.is_char_boundary(at)).unwrap_or(0);
        printable.truncate(end);
        printable.push('…');
    }
    printable
}

#[cfg(test)]
mod unit_tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn finds_the_message_in_a_log() {
        let runc = "time=\"2026-01-01T00:00:00Z\" level=warning msg=\"x\"\n\
            time=\"2026-01-01T00:00:00Z\" level=error msg=\"exec: \\\"/x\\\": no such file\"\n";
        assert_eq!(last_message(runc), "exec: \"/x\": no such file");
        let crun = "2026-01-01T00:00:00.123456Z: cgroups in hybrid mode not supported\n";
        assert_eq!(last_message(crun), "cgroups in hybrid mode not supported");
        assert_eq!(last_message("oops\n\n"), "oops");
        assert_eq!(last_message(""), "");
    }

    proptest! {
        #[test]
        fn garbage_becomes_one_printable_line(bytes: Vec<u8>) {
            let message = last_message(&String::from_utf8_lossy(&bytes));
            prop_assert!(!message.chars().any(char::is_control));
            prop_assert!(message.len() <= MAX_MESSAGE + '…'.len_utf8());
        }
    }
}
