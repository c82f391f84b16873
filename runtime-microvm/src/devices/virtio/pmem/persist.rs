//! A mapped disk between two requests: it keeps nothing but where it is.

use serde::{Deserialize, Serialize};

use super::Pmem;
use crate::devices::virtio::persist::{Persist, RestoreError};

/// Where a disk was in the guest's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PmemState {
    start: u64,
    size: u64,
}

impl Persist for Pmem {
    type State = PmemState;

    fn save(&self) -> PmemState {
        PmemState { start: self.file().start().0, size: self.file().size() }
    }

    fn restore(&mut self, state: &PmemState) -> Result<(), RestoreError> {
        let found = self.save();
        if *state == found {
            Ok(())
        } else {
            Err(RestoreError::DiskLength { found: found.size, expected: state.size })
        }
    }
}
