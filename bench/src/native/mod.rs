//! The baseline: the workload as a plain child process, without any wall.
//!
//! It exists for comparison only. The program is the same file the walls run,
//! executed straight from the image's layers; nothing else of the image is
//! visible to it, and nothing of the host is hidden from it.

mod program;
mod sandbox;
#[cfg(test)]
mod tests;

use bulkhead_runtime::{
    Availability, Capabilities, Clock, Create, Error, Isolation, Lifetime, Runtime, Sandbox,
    SandboxId, StateError, Timeline,
};

use crate::spawn;
use sandbox::NativeSandbox;

/// Runs workloads as plain child processes.
#[derive(Debug, Clone, Copy, Default)]
pub struct NativeRuntime;

const ISOLATION: Isolation = Isolation::Native;

fn unsupported(what: &'static str) -> Error {
    Error::Unsupported { isolation: ISOLATION, what }
}

fn failed(step: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::Wall { isolation: ISOLATION, step, source: Box::new(source) }
}

impl Runtime for NativeRuntime {
    fn name(&self) -> &str {
        ISOLATION.as_str()
    }

    fn isolation(&self) -> Isolation {
        ISOLATION
    }

    fn availability(&self) -> Availability {
        Availability::Ready
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn create(&self, request: Create<'_>) -> Result<Box<dyn Sandbox>, Error> {
        request.refuse_changes(Isolation::Native)?;
        if request.lifetime == Lifetime::Detached {
            return Err(unsupported("outliving the creator"));
        }
        if request.init {
            return Err(unsupported("an init process"));
        }
        let mut timeline = Timeline::starting_at(request.requested);
        let process = request.bundle.process()?;
        let program = program::find(request.bundle.layers()?, process)?;
        timeline.mark(Clock::RootfsReady);
        let child = spawn::Plan::new(
            &program.path,
            process.args().as_deref().unwrap_or_default(),
            process.env().as_deref().unwrap_or_default(),
            process.cwd(),
            &request.stdio,
        )
        .map_err(failed("preparing the process"))?;
        Ok(Box::new(NativeSandbox::new(
            request.id.clone(),
            program.command,
            child,
            request.stdio,
            timeline,
        )?))
    }

    fn load(&self, id: &SandboxId) -> Result<Box<dyn Sandbox>, Error> {
        // Nothing is kept on disk: the process ends with the one that started it.
        Err(StateError::NotFound(id.clone()).into())
    }

    fn purge(&self, _: &SandboxId) -> Result<(), Error> {
        Ok(())
    }
}
