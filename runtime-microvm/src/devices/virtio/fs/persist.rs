//! The shares of a machine that is saved: there must be none yet. A machine that goes on
//! gets its own.

use serde::{Deserialize, Serialize};

use super::Fs;
use crate::devices::virtio::persist::{Persist, RestoreError};

/// Nothing but that nothing was mounted: what a guest has open, only the server knows
/// that opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FsState {
    mounted: bool,
}

impl Persist for Fs {
    type State = FsState;

    fn save(&self) -> FsState {
        FsState { mounted: self.mounted }
    }

    fn restore(&mut self, state: &FsState) -> Result<(), RestoreError> {
        if state.mounted { Err(RestoreError::Mounted) } else { Ok(()) }
    }
}
