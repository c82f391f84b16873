//! What the harness tells about how far it is.

/// Receives the progress of a run. What becomes of it (a bar, a log, nothing)
/// and the time left are the receiver's business.
///
/// Called between samples only, on the thread that measures, so whatever it
/// does disturbs no measurement; it should not leave a thread running that
/// would.
pub trait Progress {
    /// A workload begins, of about `steps` steps.
    fn begin(&self, workload: &str, steps: u64);

    /// `done` of about `steps` steps are done. Both may be revised: how much is
    /// measured depends on how long it takes.
    fn advance(&self, done: u64, steps: u64);

    /// What is being done now, in a few words.
    fn message(&self, text: &str);

    /// The workload is over, completely or not.
    fn end(&self);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str, _: u64) {}
    fn advance(&self, _: u64, _: u64) {}
    fn message(&self, _: &str) {}
    fn end(&self) {}
}
