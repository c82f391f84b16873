//! What `bulkhead ps` costs: listing two hundred instances, half of which are taken care of.

#![expect(clippy::expect_used, reason = "a benchmark fails by panicking")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;

use bulkhead_instances::{
    Config, Held, InstanceId, Instances, LogLimits, Phase, RestartPolicy, Timestamp,
};
use bulkhead_runtime::{Isolation, Signal};
use criterion::{Criterion, criterion_group, criterion_main};

const COUNT: usize = 200;

fn config(name: String) -> Config {
    let variables: Vec<String> =
        (0..20).map(|at| format!("VARIABLE_{at}=some value")).collect();
    Config {
        version: Config::VERSION,
        id: InstanceId::random().expect("random bytes"),
        name,
        image: "registry.example/team/image:1.0".to_owned(),
        image_digest: format!("sha256:{}", "0".repeat(64)),
        command: vec!["/usr/bin/server".to_owned(), "--listen".to_owned()],
        isolation: Isolation::Container,
        created: Timestamp::now(),
        labels: BTreeMap::from([("tier".to_owned(), "front".to_owned())]),
        restart: RestartPolicy::Always,
        stop_signal: Signal::TERM,
        stop_timeout: Some(Config::STOP_TIMEOUT),
        timeout: None,
        auto_remove: false,
        interactive: false,
        stdin_once: false,
        terminal: false,
        health: None,
        log: LogLimits::default(),
        directory: "/".into(),
        run: serde_json::json!({ "process": { "env": variables } }),
    }
}

/// The instances, and those of them that are held.
fn fill(dir: &Path) -> (Instances, Vec<Held>) {
    let instances = Instances::of(&dir.join("store"), &dir.join("run"));
    let mut held = Vec::new();
    for at in 0..COUNT {
        let mut one = instances.create(config(format!("web-{at}"))).expect("kept");
        let phase = if at % 2 == 0 { Phase::Running } else { Phase::Exited };
        one.note(|state| state.phase = phase).expect("noted");
        if at % 2 == 0 {
            held.push(one);
        }
    }
    (instances, held)
}

fn list(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let (instances, _held) = fill(dir.path());
    criterion.bench_function("list 200 instances", |bencher| {
        bencher.iter(|| {
            let all = instances.list().expect("listed");
            assert_eq!(all.len(), COUNT);
            black_box(all.iter().filter(|instance| instance.status().is_up()).count())
        });
    });
}

criterion_group!(benches, list);
criterion_main!(benches);
