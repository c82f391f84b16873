//! A balloon between two requests: it keeps nothing.

use serde::{Deserialize, Serialize};

use super::Balloon;
use crate::devices::virtio::persist::{Persist, RestoreError};

/// Nothing: what the guest has given back is not in its memory any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalloonState;

impl Persist for Balloon {
    type State = BalloonState;

    fn save(&self) -> BalloonState {
        BalloonState
    }

    fn restore(&mut self, _state: &BalloonState) -> Result<(), RestoreError> {
        Ok(())
    }
}
