//! Holding the processor's thread while another one looks at its state.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::kvm::{KvmError, VcpuState};

/// How long one signal may take to be noticed before the next: one that arrives
/// just before `KVM_RUN` is lost.
const ASK_AGAIN: Duration = Duration::from_millis(2);

/// Where the two threads meet.
#[derive(Debug, Default)]
pub struct Pause {
    meeting: Mutex<Meeting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Meeting {
    phase: Phase,
    /// The processor stays where it is after it was looked at.
    held: bool,
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Running,
    /// Somebody waits for the state, with these MSRs.
    Asked(Vec<u32>),
    Paused(Option<Box<Result<VcpuState, KvmError>>>),
}

impl Pause {
    /// On the processor's thread, between two instructions: stays here if somebody has
    /// asked for that. `save` takes the processor's state, these MSRs included.
    pub fn stop_here(&self, save: impl Fn(&[u32]) -> Result<VcpuState, KvmError>) {
        let mut meeting = self.lock();
        loop {
            match &meeting.phase {
                Phase::Running => return,
                // Also if this thread has slept through its release.
                Phase::Asked(msr_indices) => {
                    meeting.phase = Phase::Paused(Some(Box::new(save(msr_indices))));
                    self.changed.notify_all();
                }
                Phase::Paused(_) => {
                    let waited = self.changed.wait(meeting);
                    meeting = waited.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// On another thread: has the processor stop and returns its state; it stays until
    /// [`Self::release`]. `again` interrupts the processor once more, and says
    /// whether there still is one; without, there is no state.
    pub fn ask(
        &self,
        msr_indices: &[u32],
        mut again: impl FnMut() -> bool,
    ) -> Option<Result<VcpuState, KvmError>> {
        let mut meeting = self.lock();
        meeting.phase = Phase::Asked(msr_indices.to_vec());
        // One that is held waits for a word, not for a signal.
        self.changed.notify_all();
        loop {
            if let Phase::Paused(state) = &mut meeting.phase {
                return state.take().map(|state| *state);
            }
            if !again() {
                *meeting = Meeting::default();
                return None;
            }
            let waited = self.changed.wait_timeout(meeting, ASK_AGAIN);
            meeting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Lets the processor go on, unless it is held.
    pub fn release(&self) {
        let mut meeting = self.lock();
        meeting.phase = if meeting.held { Phase::Paused(None) } else { Phase::Running };
        self.changed.notify_all();
    }

    /// On another thread: has the processor stop until [`Self::let_go`]; false when
    /// there is none any more. `again` as for [`Self::ask`].
    pub fn hold(&self, again: impl FnMut() -> bool) -> bool {
        self.lock().held = true;
        self.ask(&[], again).is_some()
    }

    /// Ends a hold.
    pub fn let_go(&self) {
        *self.lock() = Meeting::default();
        self.changed.notify_all();
    }

    /// Whether the processor is held.
    pub fn is_held(&self) -> bool {
        self.lock().held
    }

    fn lock(&self) -> MutexGuard<'_, Meeting> {
        self.meeting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::time::Instant;

    /// On a crowded host the processor's thread may sleep through the time between two
    /// questions.
    #[test]
    fn who_asks_again_at_once_is_answered_again() {
        let (pause, done) = (Pause::default(), AtomicBool::new(false));
        let deadline = Instant::now() + Duration::from_secs(60);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    pause.stop_here(|_| Err(KvmError::TscWentBack));
                }
            });
            let answered = (0..500).all(|_| {
                let answer = pause.ask(&[], || Instant::now() < deadline);
                if answer.is_some() {
                    pause.release();
                }
                matches!(answer, Some(Err(KvmError::TscWentBack)))
            });
            done.store(true, Ordering::Release);
            // Lets the thread see that, wherever it waits.
            pause.release();
            assert!(answered);
        });
    }

    #[test]
    fn who_is_held_stays_after_it_was_looked_at() {
        let (pause, rounds) = (Pause::default(), AtomicU64::new(0));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    rounds.fetch_add(1, Ordering::AcqRel);
                    pause.stop_here(|_| Err(KvmError::TscWentBack));
                }
            });
            let held = pause.hold(|| true);
            let before = rounds.load(Ordering::Acquire);
            let looked_at = pause.ask(&[], || true).is_some();
            pause.release();
            std::thread::sleep(ASK_AGAIN);
            let after = rounds.load(Ordering::Acquire);
            let still = pause.is_held();
            pause.let_go();
            let deadline = Instant::now() + Duration::from_secs(60);
            while rounds.load(Ordering::Acquire) == after && Instant::now() < deadline {
                std::thread::yield_now();
            }
            let went_on = rounds.load(Ordering::Acquire) > after;
            done.store(true, Ordering::Release);
            assert!(held && looked_at && still && went_on);
            assert_eq!(before, after);
        });
    }
}
