//! The templates of a run: made for it, and removed with it. The user's own are neither
//! used nor replaced.

use std::cell::RefCell;
use std::fs;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

use bulkhead_microvm::application::{Readiness, Ready};
use bulkhead_microvm::saving::Save;
use bulkhead_microvm::snapshot::Snapshots;
use bulkhead_microvm::{MicroVmRuntime, RootDisk};
use bulkhead_runtime::{Bundle, Error, SandboxId};

use crate::context::Context;
use crate::progress::Bar;

/// What it is of, for people.
const LABEL: &str = "(bench)";

/// How long the application may take.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// Where the microVMs of a run go on from.
pub struct Templates<'a> {
    place: PathBuf,
    interrupt: BorrowedFd<'a>,
    bar: &'a Bar,
    made: RefCell<Vec<(RootDisk, bool)>>,
}

/// A template that is to be there. Those of one run differ in how machines are shown
/// their root filesystem, and in whether the application is saved in them.
#[derive(Debug)]
pub struct Wanted {
    root_disk: RootDisk,
    bundle: Bundle,
    ready: Option<Readiness>,
}

impl Wanted {
    /// Of a machine that waits for work.
    pub fn machine(root_disk: RootDisk, bundle: &Bundle) -> Self {
        Self { root_disk, bundle: bundle.clone(), ready: None }
    }

    /// Of the application that the harness has greet it.
    pub fn application(root_disk: RootDisk, bundle: Bundle) -> Self {
        let ready = Readiness { when: Ready::HandOver, within: READY_WITHIN };
        Self { root_disk, bundle, ready: Some(ready) }
    }
}

impl<'a> Templates<'a> {
    /// None yet. Making one gives up when `interrupt` becomes readable.
    pub fn new(context: &Context, interrupt: BorrowedFd<'a>, bar: &'a Bar) -> Self {
        Self { place: context.own_templates(), interrupt, bar, made: RefCell::default() }
    }

    /// The directory they are found in.
    pub fn snapshots(&self) -> Snapshots {
        Snapshots::in_dir(&self.place)
    }

    /// Boots a machine, called `id` meanwhile, and keeps it, unless that has been done.
    pub fn make(
        &self,
        id: &SandboxId,
        runtime: &MicroVmRuntime,
        wanted: &Wanted,
    ) -> Result<(), Error> {
        let kind = (wanted.root_disk, wanted.ready.is_some());
        if self.made.borrow().contains(&kind) {
            return Ok(());
        }
        self.bar.begin("booting once for a template", None);
        runtime.save(&Save {
            id,
            bundle: &wanted.bundle,
            ready: wanted.ready.as_ref(),
            init: false,
            into: &self.snapshots(),
            name: None,
            label: LABEL,
            interrupt: Some(self.interrupt),
        })?;
        self.made.borrow_mut().push(kind);
        Ok(())
    }
}

impl Drop for Templates<'_> {
    fn drop(&mut self) {
        // What cannot be removed is found by `gc`; there may be nothing.
        let _ = fs::remove_dir_all(&self.place);
    }
}
