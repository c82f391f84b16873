//! A disk between two requests: it keeps nothing but its size.

use serde::{Deserialize, Serialize};

use super::Block;
use crate::devices::virtio::persist::{Persist, RestoreError};

/// What a disk was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockState {
    len: u64,
}

impl Persist for Block {
    type State = BlockState;

    fn save(&self) -> BlockState {
        BlockState { len: self.len }
    }

    fn restore(&mut self, state: &BlockState) -> Result<(), RestoreError> {
        if state.len == self.len {
            Ok(())
        } else {
            Err(RestoreError::DiskLength { found: self.len, expected: state.len })
        }
    }
}
