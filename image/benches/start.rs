//! The part of a start that is this crate's: from a name to `config.json`.

#![allow(clippy::expect_used, reason = "a step that fails ends the benchmark")]
#![allow(missing_docs, reason = "criterion's macros make public functions without")]

use std::hint::black_box;

use bulkhead_image::spec::{RunOptions, runtime_spec};
use bulkhead_image::{Store, builtin};
use criterion::{Criterion, criterion_group, criterion_main};

fn benchmark(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("room for a store");
    let store = Store::open(dir.path());
    // The size of a static program.
    let program: Vec<u8> = (0..600_000u32).map(|n| (n % 251).to_le_bytes()[0]).collect();
    builtin::probe(&store, &program).expect("the store takes the image");

    let mut group = criterion.benchmark_group("start");
    group.bench_function("resolve", |bencher| {
        bencher.iter(|| store.resolve(black_box("probe")).expect("it is there"));
    });
    group.bench_function("builtin", |bencher| {
        bencher.iter(|| builtin::probe(&store, black_box(&program)).expect("it is there"));
    });
    let image = store.resolve("probe").expect("it is there");
    let options = RunOptions { hostname: Some("box".to_owned()), ..RunOptions::default() };
    group.bench_function("spec", |bencher| {
        bencher.iter(|| {
            runtime_spec(image.config(), image.accounts(), &options).expect("it has a command")
        });
    });
    group.finish();
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
