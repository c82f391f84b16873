//! Holding the processor's thread while another one looks at its state.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::kvm::{KvmError, Vcpu, VcpuState};

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
    /// asked for that.
    pub fn stop_here(&self, vcpu: &Vcpu) {
        let mut phase = self.lock();
        let Phase::Asked(msr_indices) = &*phase else { return };
        *phase = Phase::Paused(Some(Box::new(vcpu.save(msr_indices))));
        self.changed.notify_all();
        while !matches!(*phase, Phase::Running) {
            phase = self.changed.wait(phase).unwrap_or_else(PoisonError::into_inner);
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
