//! The thread that runs the virtual processor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use bulkhead_runtime::Clock;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use seccompiler::BpfProgram;

use super::kick;
use super::pause::Pause;
use super::slice;
use crate::kvm::{GuestRam, KvmError, Vcpu, VcpuState};
use crate::machine::Io;
use crate::throttle::{CpuLimit, Throttle};
use crate::timeline::SharedTimeline;
use crate::vcpu_loop::{self, Ending};

/// Stack of the thread: its deepest call is a request of a device, which has
/// its buffers on the heap.
const STACK_BYTES: usize = 64 << 10;
/// A running processor.
#[derive(Debug)]
pub struct Processor {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    thread: std::sync::OnceLock<kick::Thread>,
    pause: Pause,
    ended: EventFd,
    ending: Mutex<Option<Ending>>,
}

/// What the processor's thread may not exceed, and how it is scheduled.
#[derive(Debug, Default)]
pub struct Limits {
    /// Processor time.
    pub cpu: Option<CpuLimit>,
    /// It runs for long at a time; see [`slice`].
    pub long_slices: bool,
    /// System calls.
    pub filter: Option<BpfProgram>,
}

/// Starts the processor; the clock of the first instruction is stamped right
/// before it.
pub fn start(
    mut vcpu: Vcpu,
    mut io: Io,
    ram: Arc<GuestRam>,
    timeline: Arc<SharedTimeline>,
    limits: Limits,
) -> io::Result<Processor> {
    kick::ignore()?;
    let shared = Arc::new(Shared {
        stop: AtomicBool::new(false),
        thread: std::sync::OnceLock::new(),
        pause: Pause::default(),
        ended: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
        ending: Mutex::new(None),
    });
    let of_thread = shared.clone();
    thread::Builder::new().name("vcpu".into()).stack_size(STACK_BYTES).spawn(move || {
        let shared = of_thread;
        shared.thread.get_or_init(kick::this_thread);
        let ending = match limits.apply() {
            Err(reason) => Ending::UnexpectedExit(reason),
            Ok(mut throttle) => {
                timeline.mark(Clock::FirstGuestInstruction);
                vcpu_loop::run_with(&mut vcpu, &mut io, &ram, &shared.stop, |vcpu| {
                    shared.pause.stop_here(|msr_indices| vcpu.save(msr_indices));
                    if let Some(throttle) = &mut throttle {
                        throttle.pause();
                    }
                })
            }
        };
        *shared.ending.lock().unwrap_or_else(PoisonError::into_inner) = Some(ending);
        // The counter of a fresh eventfd cannot overflow by one.
        let _ = shared.ended.write(1);
        // The machine's descriptors are closed by the end of the process, off the
        // path anybody waits for.
        std::mem::forget((vcpu, io));
    })?;
    Ok(Processor { shared })
}

impl Limits {
    /// Puts them in force for the calling thread; the filter last, for it no
    /// longer allows to make timers.
    fn apply(self) -> Result<Option<Throttle>, String> {
        let throttle = self
            .cpu
            .map(|limit| Throttle::start(limit, kick::signal()))
            .transpose()
            .map_err(|error| format!("no processor limit: {error}"))?;
        if self.long_slices {
            // Without, the guest is slower on a crowded host, and right.
            drop(slice::lengthen());
        }
        if let Some(filter) = &self.filter {
            seccompiler::apply_filter(filter)
                .map_err(|error| format!("no system-call filter: {error}"))?;
        }
        Ok(throttle)
    }
}

impl Processor {
    /// Polls readable once the machine has ended.
    pub fn ended(&self) -> BorrowedFd<'_> {
        self.shared.ended.as_fd()
    }

    /// Waits until the machine has ended.
    pub fn wait(&self) -> io::Result<()> {
        let mut fds = [PollFd::new(self.ended(), PollFlags::POLLIN)];
        loop {
            match poll(&mut fds, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => {}
                other => return other.map(drop).map_err(Into::into),
            }
        }
    }

    /// How the machine ended, once it has.
    pub fn ending(&self) -> Option<Ending> {
        self.shared.ending.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Holds the processor between two instructions as long as `use_it` has its state;
    /// `None` when the machine ended first.
    pub fn pause<T>(
        &self,
        msr_indices: &[u32],
        use_it: impl FnOnce(Result<VcpuState, KvmError>) -> T,
    ) -> Option<T> {
        let thread = self.shared.thread.get()?;
        let state = self.shared.pause.ask(msr_indices, || {
            thread.kick();
            !self.has_ended()
        })?;
        let outcome = use_it(state);
        self.shared.pause.release();
        Some(outcome)
    }

    /// Holds the processor until [`Self::let_go`]; false when the machine has ended.
    pub fn hold(&self) -> bool {
        let Some(thread) = self.shared.thread.get() else { return false };
        self.shared.pause.hold(|| {
            thread.kick();
            !self.has_ended()
        })
    }

    /// Lets a held processor go on.
    pub fn let_go(&self) {
        self.shared.pause.let_go();
    }

    /// Whether the processor is held.
    pub fn is_held(&self) -> bool {
        self.shared.pause.is_held()
    }

    fn has_ended(&self) -> bool {
        self.shared.ending.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Asks the processor to stop. A signal that arrives just before `KVM_RUN`
    /// is lost: ask again until it has ended.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.shared.thread.get() {
            thread.kick();
        }
    }
}
