//! [`ContainerRuntime`]: the wall's entry point.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use bulkhead_runtime::pool::{Claim, Pool, PoolKey};
use bulkhead_runtime::{
    Availability, Bundle, Capabilities, Create, Error, Isolation, Prepare, Runtime, Sandbox,
    SandboxId, StateDir, StateError,
};

use crate::container::Container;
use crate::error::wall;
use crate::{availability, cgroup, create, plan, prepared};

/// How long a keeper may take to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs bundles as namespace containers.
#[derive(Debug, Clone)]
pub struct ContainerRuntime {
    root: PathBuf,
}

impl ContainerRuntime {
    /// A runtime that keeps the state of its sandboxes under `root`, usually
    /// [`bulkhead_runtime::state::default_root`].
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }
}

impl Runtime for ContainerRuntime {
    fn name(&self) -> &'static str {
        Isolation::Container.as_str()
    }

    fn isolation(&self) -> Isolation {
        Isolation::Container
    }

    fn availability(&self) -> Availability {
        availability::check()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            exec: true,
            limits: cgroup::Layout::detect().is_ok(),
            private_network: true,
            private_kernel: false,
            detached: true,
            prepare: rustix::process::geteuid().is_root(),
        }
    }

    /// The kill of an attached sandbox is tied to the calling *thread*
    /// (`PR_SET_PDEATHSIG`): it must live as long as the sandbox.
    fn create(&self, request: Create<'_>) -> Result<Box<dyn Sandbox>, Error> {
        Ok(Box::new(create::create(&self.root, request)?))
    }

    fn pool_key(&self, bundle: &Bundle) -> Result<PoolKey, Error> {
        Ok(prepared::key(bundle)?)
    }

    fn prepare(&self, request: Prepare<'_>) -> Result<(), Error> {
        prepared::prepare(&self.root, &request)
    }

    fn claim(&self, bundle: &Bundle) -> Result<Option<Claim>, Error> {
        let pool = Pool::at(&self.root);
        if pool.is_empty() || !plan::fits_ahead(&bundle.spec) {
            return Ok(None);
        }
        Ok(pool.claim(&prepared::key(bundle)?)?)
    }

    /// As for [`create`](Self::create): to the calling thread.
    fn complete(&self, claim: Claim, request: Create<'_>) -> Result<Box<dyn Sandbox>, Error> {
        let id = claim.id().clone();
        match prepared::complete(&self.root, claim, request) {
            Ok(container) => Ok(Box::new(container)),
            Err(error) => {
                // What went wrong matters more than what cannot be removed, which is
                // found again.
                let _ = self.purge(&id);
                Err(error)
            }
        }
    }

    fn load(&self, id: &SandboxId) -> Result<Box<dyn Sandbox>, Error> {
        Ok(Box::new(Container::load(&self.root, id)?))
    }

    fn purge(&self, id: &SandboxId) -> Result<(), Error> {
        let step = "removing what is left of a container";
        // While it is being removed nobody takes it.
        let _claim = Pool::at(&self.root).claim_this(id)?;
        let state = match StateDir::open(&self.root, id) {
            Ok(state) => Some(state),
            Err(StateError::NotFound(_)) => None,
            Err(error) => return Err(error.into()),
        };
        if let Ok(layout) = cgroup::Layout::detect() {
            let configured = state.as_ref().and_then(|state| state.read_config().ok());
            let path = match configured {
                Some(spec) => cgroup::path(&spec, id).map_err(wall(step))?,
                None => cgroup::default_path(id),
            };
            let cgroup = cgroup::at(&layout, &path);
            cgroup.kill().map_err(wall(step))?;
            cgroup.remove().map_err(wall(step))?;
        }
        if let Some(state) = state {
            await_keeper(&state);
            state.remove()?;
        }
        Ok(())
    }
}

/// The keeper of a prepared container ends when that is killed, and only then is what
/// it held, such as the image, free.
fn await_keeper(state: &StateDir) {
    let deadline = Instant::now() + PATIENCE;
    while state.is_owned() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
}
