//! Sandboxes that wait in the pool for their sample.

use bulkhead_runtime::{Bundle, Create, Instant, Prepare, Runtime, Sandbox, SandboxId, Stdio};

use crate::sandbox::{SampleError, runtime_error};

/// A prepared sandbox, removed when it is dropped without having been taken.
pub struct Waiting<'a> {
    runtime: &'a dyn Runtime,
    id: SandboxId,
    taken: bool,
}

impl std::fmt::Debug for Waiting<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Waiting").field(&self.id).finish()
    }
}

impl<'a> Waiting<'a> {
    /// Prepares a sandbox that fits `bundle`.
    pub fn prepare(runtime: &'a dyn Runtime, bundle: &Bundle) -> Result<Self, SampleError> {
        let id = SandboxId::random()?;
        let request = Prepare { id: &id, bundle, image: "(bench)", held: &[] };
        runtime.prepare(request).map_err(runtime_error("preparing a sandbox"))?;
        Ok(Self { runtime, id, taken: false })
    }

    /// Looks in the pool for a sandbox that fits, as any other request would, and
    /// completes it.
    pub fn take(
        mut self,
        bundle: &Bundle,
        stdio: Stdio,
    ) -> Result<Box<dyn Sandbox>, SampleError> {
        let requested = Instant::now();
        let claim = self.runtime.claim(bundle).map_err(runtime_error("looking in the pool"))?;
        let claim = claim.ok_or(SampleError::NoneWaits)?;
        // Another one that fits, if others use this pool.
        self.taken = *claim.id() == self.id;
        let id = claim.id().clone();
        let request = Create { requested, ..Create::attached(&id, bundle, stdio) };
        self.runtime
            .complete(claim, request)
            .map_err(runtime_error("completing a prepared sandbox"))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.taken {
            // Why the sample failed is said; what cannot be removed is found by `gc`.
            let _ = self.runtime.purge(&self.id);
        }
    }
}
