//! Made-up results of a run that started its runtimes in more than one way.

use std::collections::BTreeMap;

use super::{MIB, cell, fits_of, ratio, results};
use crate::clocks::START_METRIC;
use crate::schema::{BootSample, DensitySample, Results, RuntimeInfo, Start};
use crate::units::float;

/// One more way of starting a runtime.
struct Way {
    runtime: &'static str,
    start: Start,
    /// Part of a cold start's time, in thousandths.
    time: u64,
    /// Memory of a further sandbox.
    mebibytes_each: f64,
}

const WAYS: [Way; 3] = [
    Way { runtime: "container", start: Start::Warm, time: 450, mebibytes_each: 0.5 },
    Way { runtime: "microvm", start: Start::Warm, time: 60, mebibytes_each: 2.5 },
    Way { runtime: "microvm", start: Start::Pool, time: 9, mebibytes_each: 2.75 },
];

/// The three runtimes, two of them in other ways besides.
pub fn warm() -> Results {
    let mut results = results();
    for way in &WAYS {
        add(&mut results, way);
    }
    results
}

fn add(results: &mut Results, way: &Way) {
    let name = way.start.named(way.runtime);
    let info = results.runtimes.iter().find(|info| info.name == way.runtime).cloned();
    results.runtimes.extend(info.map(|info| RuntimeInfo {
        name: name.clone(),
        runtime: Some(way.runtime.to_owned()),
        start: way.start,
        ..info
    }));
    let starts: Vec<BootSample> = results
        .boot
        .iter()
        .filter(|sample| sample.runtime == way.runtime)
        .map(|sample| BootSample {
            runtime: name.clone(),
            clocks_ns: clocks(&sample.clocks_ns, way),
            kvm: sample.kvm.keys().map(|name| (name.clone(), COUNTED)).collect(),
            kvm_at: kvm_at(sample),
            ..sample.clone()
        })
        .collect();
    results.boot.extend(starts);
    let cold = results.cells.iter().find(|c| c.runtime == way.runtime).map(|c| c.median);
    let factor = float(way.time) / 1e3;
    let median = cold.unwrap_or(f64::NAN) * factor;
    results.cells.push(cell("boot", START_METRIC, &name, "ns", median));
    let mut compared = ratio("boot", START_METRIC, &name, factor, true);
    way.runtime.clone_into(&mut compared.baseline);
    results.ratios.push(compared);
    results.fits.extend(fits_of(&name, way.mebibytes_each * MIB));
    results.density.extend([1_u32, 2, 4, 8].map(|count| density(&name, way, count)));
}

/// Of each counter, at the end of a restored microVM.
const COUNTED: u64 = 900;

/// Made-up counters on the way there.
fn kvm_at(cold: &BootSample) -> BTreeMap<String, BTreeMap<String, u64>> {
    let clocks = [("agent_ready", 100), ("workload_exec", 500), ("first_output", 700)];
    let at = |count: u64| cold.kvm.keys().map(|name| (name.clone(), count)).collect();
    let counted = clocks.into_iter().filter(|_| !cold.kvm.is_empty());
    counted.map(|(clock, count)| (clock.to_owned(), at(count))).collect()
}

/// A restored microVM has clocks of its own in place of its kernel's boot.
fn clocks(cold: &BTreeMap<String, u64>, way: &Way) -> BTreeMap<String, u64> {
    let scaled = cold.iter().filter(|(name, _)| name.as_str() != "kernel_done");
    let mut clocks: BTreeMap<String, u64> =
        scaled.map(|(name, at)| (name.clone(), at * way.time / 1000)).collect();
    if let Some(first) = clocks.get("first_guest_instruction").copied() {
        clocks.insert("memory_mapped".to_owned(), first / 3);
        clocks.insert("state_restored".to_owned(), first / 2);
        clocks.insert("agent_ready".to_owned(), first * 40);
    }
    clocks
}

fn density(name: &str, way: &Way, count: u32) -> DensitySample {
    #[expect(clippy::cast_possible_truncation, reason = "small example values")]
    let used = (way.mebibytes_each * MIB) as i64 * i64::from(count);
    let held = |tenths: u64| used.unsigned_abs() / 10 * tenths;
    DensitySample {
        runtime: name.to_owned(),
        repetition: 0,
        count,
        used_bytes: used,
        pss_bytes: BTreeMap::from([("monitor".to_owned(), held(9))]),
        private_bytes: BTreeMap::from([("monitor".to_owned(), held(6))]),
        kernel_bytes: None,
    }
}
