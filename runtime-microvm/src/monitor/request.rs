//! What a monitor can be asked for while its machine runs.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use bulkhead_runtime::Clock;
use serde::{Deserialize, Serialize};

use super::channel::Channel;
use super::event_loop::Watched;
use super::report::{NotDone, NotSaved, Report, SavedFiles, SetupFailure};
use crate::devices::virtio::net::Link;
use crate::kvm::{KvmError, VcpuState};
use crate::machine::Rest;
use crate::snapshot;

/// A message to the monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Save the machine, if its processor waits for an interrupt: its memory into the
    /// first file that comes with this message, the rest of it into the second. The
    /// monitor itself can open nothing any more.
    Save,
    /// Have the restored machine, which nobody has yet. With a network to connect it
    /// to, whose tap device comes with this message.
    Take(Option<Link>),
    /// Hold the processor.
    Pause,
    /// Let it go on.
    Unpause,
}

/// A machine that cannot be saved.
#[derive(Debug, thiserror::Error)]
enum SaveError {
    /// The files are missing.
    #[error("no files to save the machine to")]
    NoFiles,
    /// It is a bare one.
    #[error("a machine without devices is not saved")]
    NoDevices,
    /// What its guest has open, only the file server knows, which is not saved.
    #[error("a machine with volumes or files of the host mounted cannot be saved")]
    Shares,
    /// The machine ended meanwhile.
    #[error("the machine has ended")]
    Ended,
    /// KVM does not tell.
    #[error("cannot take the state of the machine")]
    Kvm(#[from] KvmError),
    /// The state cannot be encoded.
    #[error("cannot encode the state of the machine")]
    Encode(#[source] postcard::Error),
    /// A file cannot be written.
    #[error("cannot write the {what}")]
    Write {
        what: &'static str,
        #[source]
        source: std::io::Error,
    },
}

/// Receives a request and answers it. True when nobody is at the other end any more, or
/// somebody who sends nonsense.
pub fn serve(channel: &Channel, watched: &Watched<'_>, rest: &Rest) -> bool {
    let (request, fds) = match channel.receive::<Request>(false) {
        Ok(Some(message)) => message,
        Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        Ok(None) => return true,
    };
    let answer =
        match request {
            Request::Take(_) => return true,
            Request::Save => Report::Saved(save(watched, rest, fds).unwrap_or_else(|error| {
                Err(NotSaved::Failed(SetupFailure::from_error(&error)))
            })),
            Request::Pause => Report::Done(pause(watched)),
            Request::Unpause => Report::Done(unpause(watched)),
        };
    // The caller may have gone at the same moment; the next event tells.
    drop(channel.send(&answer, &[]));
    false
}

/// Holds the machine once its workload runs: before that it is watched for getting
/// there.
fn pause(watched: &Watched<'_>) -> Result<(), NotDone> {
    if watched.processor.is_held() {
        Err(NotDone::Already)
    } else if runs(watched) && watched.processor.hold() {
        Ok(())
    } else {
        Err(NotDone::NotRunning)
    }
}

fn unpause(watched: &Watched<'_>) -> Result<(), NotDone> {
    if !watched.processor.is_held() {
        return Err(NotDone::Already);
    }
    watched.processor.let_go();
    Ok(())
}

/// Whether a workload runs in it.
fn runs(watched: &Watched<'_>) -> bool {
    watched.timeline.get(Clock::WorkloadExec).is_some() || watched.config.resumes
}

type Outcome = Result<Result<SavedFiles, NotSaved>, SaveError>;

fn save(watched: &Watched<'_>, rest: &Rest, fds: Vec<OwnedFd>) -> Outcome {
    let files: Result<[OwnedFd; 2], _> = fds.try_into();
    let [memory, state] = files.map_err(|_| SaveError::NoFiles)?.map(File::from);
    let devices = rest.devices.as_ref().ok_or(SaveError::NoDevices)?;
    if devices.have_shares() {
        return Err(SaveError::Shares);
    }
    // The devices are served by the processor's thread, which stands still, and by
    // this one: all of the machine does. When the processor waits and nothing is on its
    // way, no message between guest and host is cut in two.
    let saved = watched.processor.pause(&rest.msr_indices, |vcpu| -> Outcome {
        let vcpu = vcpu?;
        if !vcpu.is_halted() || !devices.are_quiet() {
            return Ok(Err(NotSaved::Busy));
        }
        let pages = write(rest, vcpu, &memory, &state)?;
        Ok(Ok(SavedFiles { pages, running: runs(watched), machine: watched.config.clone() }))
    });
    saved.ok_or(SaveError::Ended)?
}

fn write(
    rest: &Rest,
    vcpu: VcpuState,
    memory: &File,
    mut state: &File,
) -> Result<u64, SaveError> {
    let machine = rest.save(vcpu)?.ok_or(SaveError::NoDevices)?;
    let bytes = postcard::to_allocvec(&machine).map_err(SaveError::Encode)?;
    let failed = |what| move |source| SaveError::Write { what, source };
    state.write_all(&bytes).map_err(failed("state of the machine"))?;
    snapshot::write(&rest.ram, memory).map_err(failed("guest memory"))
}
