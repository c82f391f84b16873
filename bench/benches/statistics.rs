//! What the bootstrap costs: it runs twice for every figure of a report.

use std::hint::black_box;

use bulkhead_bench::statistics::{Generator, median_interval, permutation_p_value};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rand::{RngExt, SeedableRng};

fn statistics(criterion: &mut Criterion) {
    let mut generator = Generator::seed_from_u64(1);
    for n in [12_u32, 200] {
        let values: Vec<f64> = (0..n).map(|_| generator.random()).collect();
        let id = BenchmarkId::new("median_interval", n);
        criterion.bench_with_input(id, &values, |bencher, values| {
            bencher.iter(|| median_interval(black_box(values), &mut generator));
        });
        let id = BenchmarkId::new("permutation_p_value", n);
        criterion.bench_with_input(id, &values, |bencher, values| {
            let (left, right) = values.split_at(values.len() / 2);
            bencher.iter(|| permutation_p_value(black_box(left), right, &mut generator));
        });
    }
}

criterion_group!(benches, statistics);
criterion_main!(benches);
