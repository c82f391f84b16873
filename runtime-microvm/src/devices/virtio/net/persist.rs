//! The card between two frames. Its tap is not saved, nor is a frame that waits for
//! buffers: on a network frames get lost.

use serde::{Deserialize, Serialize};

use super::{Link, Net};
use crate::devices::virtio::persist::{Persist, RestoreError};

/// What the driver knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetState {
    link: Link,
    up: bool,
    starved: bool,
}

impl Persist for Net {
    type State = NetState;

    fn save(&self) -> NetState {
        NetState { link: self.link(), up: self.is_up(), starved: self.starved }
    }

    /// With a tap the card is that network's; without, its link goes down.
    fn restore(&mut self, state: &NetState) -> Result<(), RestoreError> {
        if self.tap.is_none() {
            self.set_link(state.link);
        }
        self.starved = state.starved;
        self.knew(state.up != self.is_up());
        Ok(())
    }
}
