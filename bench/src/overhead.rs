//! What the harness itself adds to a start.

use std::sync::Mutex;

use bulkhead_runtime::{
    Availability, Bundle, Capabilities, Create, Error, Instant, Isolation, Runtime, Sandbox,
    SandboxId,
};

use crate::sandbox::Observed;
use crate::stop::Stop;

/// Starts to take the time of.
const STARTS: usize = 100;

/// From the instant a sandbox is asked for to the call of the runtime, for each
/// of [`STARTS`] starts, nanoseconds.
pub fn request_to_call_ns(bundle: &Bundle, stop: Stop<'_>) -> Vec<u64> {
    let stopwatch = Stopwatch::default();
    for _ in 0..STARTS {
        // It fails by design: the time is taken when it is called.
        drop(Observed::start(&stopwatch, bundle, stop));
    }
    stopwatch.0.into_inner().unwrap_or_default()
}

/// A runtime that notes when it is called and starts nothing.
#[derive(Debug, Default)]
struct Stopwatch(Mutex<Vec<u64>>);

impl Runtime for Stopwatch {
    fn name(&self) -> &str {
        "stopwatch"
    }

    fn isolation(&self) -> Isolation {
        Isolation::Native
    }

    fn availability(&self) -> Availability {
        Availability::Ready
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn create(&self, request: Create<'_>) -> Result<Box<dyn Sandbox>, Error> {
        let delay = Instant::now().since(request.requested);
        if let (Ok(mut delays), Ok(ns)) = (self.0.lock(), u64::try_from(delay.as_nanos())) {
            delays.push(ns);
        }
        Err(refused())
    }

    fn load(&self, _: &SandboxId) -> Result<Box<dyn Sandbox>, Error> {
        Err(refused())
    }

    fn purge(&self, _: &SandboxId) -> Result<(), Error> {
        Err(refused())
    }
}

fn refused() -> Error {
    Error::Unsupported { isolation: Isolation::Native, what: "starting anything" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn every_start_is_timed() {
        let bundle = Bundle {
            spec: oci_spec::runtime::Spec::default(),
            rootfs: bulkhead_runtime::Rootfs::Layers(vec![]),
        };
        let flag = AtomicBool::new(false);
        let delays = request_to_call_ns(&bundle, Stop::on_flag(&flag));
        assert_eq!(delays.len(), STARTS);
        assert!(delays.iter().all(|&ns| ns > 0), "the clock has advanced: {delays:?}");
    }
}
