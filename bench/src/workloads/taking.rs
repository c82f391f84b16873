//! Taking one sample: what a workload is handed for it.

use super::{Samples, Sheet};
use crate::profile::Profile;
use crate::progress::Progress;
use crate::sampling::Slot;
use crate::sandbox::Contender;
use crate::stop::Stop;

/// One sample to take: of whom, with what, and where it is written down.
pub struct Taking<'a> {
    pub contender: Contender<'a>,
    /// The probe's path in the image.
    pub program: &'a str,
    pub profile: &'a Profile,
    pub stop: Stop<'a>,
    pub progress: &'a dyn Progress,
    /// Where it stands in the run.
    pub slot: Slot,
    pub samples: &'a mut Samples,
}

impl Taking<'_> {
    /// Where the figures of this sample go, for `workload`.
    pub fn sheet(&mut self, workload: &'static str) -> Sheet<'_> {
        Sheet::new(self.samples, workload, self.contender.name(), self.slot)
    }
}
