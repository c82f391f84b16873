//! The registers of the transport and its queues, with the device behind them.

use serde::{Deserialize, Serialize};

use super::MmioTransport;
use crate::devices::virtio::persist::{Persist, RestoreError};
use crate::devices::virtio::{QueueState, VirtQueue};

/// A device on its transport, between two requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransportState<S> {
    device: S,
    queues: Vec<QueueState>,
    status: u32,
    interrupt: u32,
    device_features_select: u32,
    driver_features_select: u32,
    driver_features: u64,
    queue_select: u32,
}

impl<D: Persist> MmioTransport<D> {
    /// The state now.
    pub fn save(&self) -> TransportState<D::State> {
        TransportState {
            device: self.device.save(),
            queues: self.queues.iter().map(VirtQueue::save).collect(),
            status: self.status,
            interrupt: self.interrupt,
            device_features_select: self.device_features_select,
            driver_features_select: self.driver_features_select,
            driver_features: self.driver_features,
            queue_select: self.queue_select,
        }
    }

    /// Takes over a state; nothing was done with the transport yet.
    ///
    /// # Errors
    ///
    /// [`RestoreError`] when it cannot be the state of this device with this memory.
    pub fn restore(&mut self, state: &TransportState<D::State>) -> Result<(), RestoreError> {
        let (device, sizes) = (self.device.id(), self.device.queue_sizes());
        if state.queues.len() != sizes.len() {
            let (found, expected) = (state.queues.len(), sizes.len());
            return Err(RestoreError::QueueCount { device, found, expected });
        }
        let mut queues = Vec::with_capacity(sizes.len());
        for (index, (queue, max_size)) in state.queues.iter().zip(sizes).enumerate() {
            let sound = |queue: &VirtQueue| !queue.is_ready() || queue.is_sound(&self.ram);
            let queue = VirtQueue::restored(queue, *max_size).filter(sound);
            queues.push(queue.ok_or(RestoreError::Queue { device, queue: index })?);
        }
        self.device.restore(&state.device)?;
        self.queues = queues;
        self.status = state.status;
        self.interrupt = state.interrupt;
        self.device_features_select = state.device_features_select;
        self.driver_features_select = state.driver_features_select;
        self.driver_features = state.driver_features;
        self.queue_select = state.queue_select;
        if self.is_live() {
            self.agree();
        }
        Ok(())
    }
}
