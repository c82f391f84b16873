//! The templates of a run: made for it, and removed with it. The user's own are neither
//! used nor replaced.

use std::cell::RefCell;
use std::fs;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use bulkhead_microvm::saving::Save;
use bulkhead_microvm::snapshot::Snapshots;
use bulkhead_microvm::{MicroVmRuntime, RootDisk};
use bulkhead_runtime::{Bundle, Error, SandboxId};

use crate::context::Context;
use crate::progress::Bar;

/// What it is of, for people.
const LABEL: &str = "(bench)";

/// Where the microVMs of a run go on from.
pub struct Templates<'a> {
    place: PathBuf,
    interrupt: BorrowedFd<'a>,
    bar: &'a Bar,
    made: RefCell<Vec<RootDisk>>,
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

    /// Boots a machine of `bundle`, called `id` meanwhile, and keeps it, unless that has been done. Machines of
    /// one run differ in how they are shown their root filesystem.
    pub fn make(
        &self,
        id: &SandboxId,
        runtime: &MicroVmRuntime,
        root_disk: RootDisk,
        bundle: &Bundle,
    ) -> Result<(), Error> {
        if self.made.borrow().contains(&root_disk) {
            return Ok(());
        }
        self.bar.begin("booting once for a template", None);
        runtime.save(&Save {
            id,
            bundle,
            ready: None,
            init: false,
            into: &self.snapshots(),
            name: None,
            label: LABEL,
            interrupt: Some(self.interrupt),
        })?;
        self.made.borrow_mut().push(root_disk);
        Ok(())
    }
}

impl Drop for Templates<'_> {
    fn drop(&mut self) {
        // What cannot be removed is found by `gc`; there may be nothing.
        let _ = fs::remove_dir_all(&self.place);
    }
}
