//! Progress bars. They are drawn when something is reported and never by a
//! thread of their own, which would disturb what is measured.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bulkhead_image::Digest;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// One line at the bottom of the terminal; nothing where standard error is none.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Bar {
    /// For an amount of data.
    pub fn bytes() -> Self {
        Self::with_template("{msg:>10} [{bar:30}] {binary_bytes}/{binary_total_bytes} {eta}")
    }

    /// For a number of steps.
    pub fn steps() -> Self {
        Self::with_template("{msg:>27} [{bar:30}] {pos}/{len} {elapsed} (eta {eta}) {prefix}")
    }

    fn with_template(template: &str) -> Self {
        let bar = ProgressBar::with_draw_target(None, target());
        Self(bar.with_style(style(template)))
    }

    /// Begins something new.
    pub fn begin(
        &self,
        message: impl Into<std::borrow::Cow<'static, str>>,
        total: Option<u64>,
    ) {
        self.0.reset();
        match total {
            Some(total) => self.0.set_length(total),
            None => self.0.unset_length(),
        }
        self.0.set_message(message);
    }

    /// Where it is, of a total that may be revised.
    pub fn set(&self, position: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(position);
    }

    /// What is being done within the current step.
    pub fn detail(&self, text: &str) {
        self.0.set_prefix(text.to_owned());
    }

    /// Says something above the bar.
    pub fn warn(&self, text: &str) {
        self.0.suspend(|| eprintln!("{text}"));
    }

    /// Takes the bar off the terminal.
    pub fn clear(&self) {
        self.0.finish_and_clear();
    }
}

fn target() -> ProgressDrawTarget {
    ProgressDrawTarget::stderr_with_hz(10)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// A line for each blob that is on its way from or to a registry.
#[derive(Debug)]
pub struct Transfers {
    lines: MultiProgress,
    bars: Mutex<HashMap<Digest, ProgressBar>>,
}

impl Transfers {
    pub fn new() -> Self {
        Self { lines: MultiProgress::with_draw_target(target()), bars: Mutex::default() }
    }

    /// Takes all lines off the terminal.
    pub fn clear(&self) {
        for bar in self.bars().values() {
            bar.finish_and_clear();
        }
    }

    fn bars(&self) -> MutexGuard<'_, HashMap<Digest, ProgressBar>> {
        self.bars.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl bulkhead_image::registry::Transfers for Transfers {
    fn begin(&self, blob: Digest, total_bytes: u64, there_bytes: u64) {
        let bar = ProgressBar::new(total_bytes).with_position(there_bytes).with_style(style(
            "{msg:>12} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}",
        ));
        bar.set_message(blob.hex()[..12].to_owned());
        self.bars().insert(blob, self.lines.add(bar));
    }

    fn at(&self, blob: Digest, position_bytes: u64) {
        if let Some(bar) = self.bars().get(&blob) {
            bar.set_position(position_bytes);
        }
    }

    fn end(&self, blob: Digest) {
        if let Some(bar) = self.bars().remove(&blob) {
            bar.finish_and_clear();
        }
    }
}

impl bulkhead_image::Progress for Bar {
    fn begin(&self, stage: bulkhead_image::Stage, total_bytes: Option<u64>) {
        let message = match stage {
            bulkhead_image::Stage::Copy => "copying",
            bulkhead_image::Stage::Unpack => "unpacking",
            bulkhead_image::Stage::Publish => "publishing",
        };
        Self::begin(self, message, total_bytes);
    }

    fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}
