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
    phase: Mutex<Phase>,
    changed: Condvar,
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
        let mut phase = self.lock();
        loop {
            match &*phase {
                Phase::Running => return,
                // Also if this thread has slept through its release.
                Phase::Asked(msr_indices) => {
                    *phase = Phase::Paused(Some(Box::new(save(msr_indices))));
                    self.changed.notify_all();
                }
                Phase::Paused(_) => {
                    let waited = self.changed.wait(phase);
                    phase = waited.unwrap_or_else(PoisonError::into_inner);
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
        let mut phase = self.lock();
        *phase = Phase::Asked(msr_indices.to_vec());
        loop {
            if let Phase::Paused(state) = &mut *phase {
                return state.take().map(|state| *state);
            }
            if !again() {
                *phase = Phase::Running;
                return None;
            }
            let waited = self.changed.wait_timeout(phase, ASK_AGAIN);
            phase = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Lets the processor go on.
    pub fn release(&self) {
        *self.lock() = Phase::Running;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
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
}
