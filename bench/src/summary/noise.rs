//! The noise floor: what a runtime shows of a difference to itself.
//!
//! One runtime takes part in every block twice. Which of its samples of a block
//! belong to its first and which to its second self is drawn at random, which
//! is the same as having drawn it before they were taken: the order within a
//! block is random already. Whatever difference the two show is the machine's
//! and the harness's doing.

use std::collections::BTreeMap;

use bulkhead_reports::schema::NoiseFloor;
use rand::seq::SliceRandom;

use super::series::{Column, Series};
use crate::statistics::{Generator, compare};

/// Compares runtime `index` with itself; `None` where it has too few samples for
/// an interval, or a metric that is zero has no ratio.
pub(super) fn measure(
    series: &Series<'_>,
    runtime: &str,
    index: usize,
    generator: &mut Generator,
) -> Option<NoiseFloor> {
    let [first, second] = deal(&series.columns[index], generator);
    let comparison = compare(&first, &second, generator)?;
    let (interval, floor) = (comparison.interval?, comparison.noise_floor()?);
    Some(NoiseFloor {
        workload: series.workload.to_owned(),
        metric: series.metric.to_string(),
        runtime: runtime.to_owned(),
        n: first.len().min(second.len()),
        ratio: comparison.ratio,
        low: interval.low,
        high: interval.high,
        floor,
    })
}

/// The floor of a metric: its own; else, where the runtime that took part twice
/// does not have it, the highest of its workload; else none.
pub(super) fn floor_for(noise: &[NoiseFloor], workload: &str, metric: &str) -> f64 {
    let of_workload = || noise.iter().filter(|floor| floor.workload == workload);
    match of_workload().find(|floor| floor.metric == metric) {
        Some(own) => own.floor,
        None => of_workload().map(|floor| floor.floor).fold(0.0, f64::max),
    }
}

/// Deals the samples of every block into two arms at random, one to each in turn;
/// the odd ones of all blocks likewise.
fn deal(column: &Column, generator: &mut Generator) -> [Vec<f64>; 2] {
    let mut blocks: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    for (&block, &value) in column.blocks.iter().zip(&column.values) {
        blocks.entry(block).or_default().push(value);
    }
    let mut odd = Vec::new();
    let mut arms = [Vec::new(), Vec::new()];
    let deal_pairs = |values: &[f64], arms: &mut [Vec<f64>; 2]| {
        for pair in values.chunks_exact(2) {
            arms[0].push(pair[0]);
            arms[1].push(pair[1]);
        }
        values.chunks_exact(2).remainder().to_vec()
    };
    for values in blocks.values_mut() {
        values.shuffle(generator);
        odd.extend(deal_pairs(values, &mut arms));
    }
    odd.shuffle(generator);
    let last = deal_pairs(&odd, &mut arms);
    arms[0].extend(last);
    arms
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;

    fn floor(workload: &str, metric: &str, floor: f64) -> NoiseFloor {
        NoiseFloor {
            workload: workload.to_owned(),
            metric: metric.to_owned(),
            runtime: "container".to_owned(),
            n: 6,
            ratio: 1.0,
            low: 1.0,
            high: 1.0 + floor,
            floor,
        }
    }

    #[test]
    fn a_metric_without_a_floor_takes_the_highest_of_its_workload() {
        let noise = [
            floor("boot", "request→first_output", 0.03),
            floor("boot", "request→released", 0.05),
            floor("syscalls", "fork_wait", 0.4),
        ];
        let found = |workload, metric| floor_for(&noise, workload, metric);
        assert!((found("boot", "request→first_output") - 0.03).abs() < 1e-12);
        assert!((found("boot", "request→kernel_done") - 0.05).abs() < 1e-12);
        assert!(found("storm", "8 at once").abs() < 1e-12);
    }

    #[test]
    fn a_count_of_nothing_has_no_floor() {
        let columns = vec![Column { values: vec![0.0; 40], blocks: (0..40).collect() }];
        let series =
            Series { workload: "boot", metric: "exits".into(), unit: "count", columns };
        assert_eq!(measure(&series, "microvm", 0, &mut Generator::seed_from_u64(1)), None);
    }

    proptest! {
        #[test]
        fn every_sample_is_dealt_and_blocks_are_split_evenly(
            sizes in proptest::collection::vec(0_u32..7, 1..20), seed: u64,
        ) {
            let blocks: Vec<u32> =
                (0..).zip(&sizes).flat_map(|(block, &size)| (0..size).map(move |_| block)).collect();
            let values: Vec<f64> = (0..blocks.len()).map(crate::statistics::real).collect();
            let column = Column { values: values.clone(), blocks: blocks.clone() };
            let [first, second] = deal(&column, &mut Generator::seed_from_u64(seed));
            prop_assert!(first.len() - second.len() <= 1);
            let mut dealt: Vec<f64> = first.iter().chain(&second).copied().collect();
            dealt.sort_by(f64::total_cmp);
            prop_assert_eq!(dealt, values.clone());
            for block in 0..u32::try_from(sizes.len()).unwrap() {
                let in_block = |arm: &[f64]| {
                    let of_block = |value: &&f64| {
                        values.iter().zip(&blocks).any(|(v, &b)| v == *value && b == block)
                    };
                    arm.iter().filter(of_block).count()
                };
                prop_assert!(in_block(&first).abs_diff(in_block(&second)) <= 1);
            }
        }
    }
}
