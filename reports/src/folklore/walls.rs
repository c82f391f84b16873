//! What the sayings' rules ask of the walls they are about.

use super::{HOST_MEMORY, Judged, NEAR_NATIVE, Verdict, Walls};
use crate::operations::is_control;
use crate::schema::Fit;
use crate::units::{many, times};
use crate::view::{MARK, SYSCALLS, Wall, is_within_noise};

impl Walls<'_, '_> {
    /// What is slow where guest kernels are emulated may be fast elsewhere.
    pub fn unless_emulated(&self, verdict: Verdict, figure: String) -> Judged {
        if self.view.emulated() {
            let why = format!("{figure}; {MARK} but this KVM emulates the guest's kernel");
            (Verdict::Undecided, why)
        } else {
            (verdict, figure)
        }
    }

    /// Memory for each further sandbox of both: of the host, unless one of the
    /// two does not rise beyond noise; then of their processes.
    pub fn slopes(
        &self,
        one: &Wall<'_>,
        other: &Wall<'_>,
    ) -> Option<(&Fit, &Fit, &'static str)> {
        let pair = |metric| {
            Some((self.view.fit(one.name, metric)?, self.view.fit(other.name, metric)?))
        };
        let rising =
            pair("used_bytes").filter(|(a, b)| !is_within_noise(a) && !is_within_noise(b));
        let host = rising.map(|(a, b)| (a, b, HOST_MEMORY));
        host.or_else(|| pair("pss_bytes").map(|(a, b)| (a, b, "PSS of the processes")))
    }

    /// Kernel memory charged to one sandbox's cgroup, bytes, at the largest
    /// number of sandboxes.
    pub fn kernel_memory(&self, wall: &Wall<'_>) -> Option<f64> {
        let mine = self.view.results.density.iter().filter(|s| s.runtime == wall.name);
        let largest = mine.filter(|s| s.count > 0).max_by_key(|sample| sample.count)?;
        Some(crate::units::float(largest.kernel_bytes?) / f64::from(largest.count))
    }

    /// The factor in the middle of the operations that need the kernel, and a
    /// sentence that names the dearest.
    pub fn kernel_factors(&self, wall: &Wall<'_>) -> Option<(f64, String)> {
        let native = self.native?;
        let mut factors: Vec<(f64, &str)> = self
            .view
            .operations()
            .into_iter()
            .filter(|operation| !is_control(operation))
            .filter_map(|operation| {
                let ratios = self.view.ratios(SYSCALLS, operation, wall.name);
                let ratio = ratios.into_iter().find(|r| r.baseline == native.name)?;
                ratio.ratio.is_finite().then_some((ratio.ratio, operation))
            })
            .collect();
        factors.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (dearest, operation) = factors.last()?;
        let (middle, _) = factors.get((factors.len() - 1) / 2)?;
        let figure = format!(
            "{} operations: {} native is the one in the middle, {operation} the dearest with {} \
             (near native: up to {})",
            many(factors.len()),
            times(*middle),
            times(*dearest),
            times(NEAR_NATIVE)
        );
        Some((*middle, figure))
    }
}
