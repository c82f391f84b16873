//! Made-up results of a run that measured everything there is to measure, with
//! as many runtimes as a report is to be legible with.

use std::collections::BTreeMap;

use super::{MIB, cell, clock_shares, fits_of, ratio};
use crate::clocks::START_METRIC;
use crate::schema::{
    Attempt, AttemptOutcome, BootSample, Cell, CommandOutcome, DensitySample, Measurement,
    NoiseFloor, OperationSample, ProfileFigure, Ratio, Results, RuntimeInfo, Start, Surface,
    SurfaceProcess, VirtualisationKind, VirtualisationProfile,
};
use crate::units::float;

/// One runtime, with the factors its figures are made of.
#[derive(Clone, Copy)]
struct Peer {
    name: &'static str,
    isolation: &'static str,
    version: &'static str,
    start_ns: u64,
    bytes_each: f64,
    /// Cost of anything of the kernel's, compared with native.
    kernel: f64,
}

const PEERS: [Peer; 8] = [
    peer("native", "native", "0.1.0", 900_000, 0.2, 1.0),
    peer("container", "container", "0.1.0", 3_100_000, 0.5, 1.25),
    peer("microvm", "microvm", "0.1.0", 5_200_000_000, 14.0, 900.0),
    peer("crun", "container", "1.14.4", 6_400_000, 0.6, 1.22),
    peer("runc", "container", "1.1.12", 19_000_000, 1.4, 1.26),
    peer("runsc", "container", "20260101.0", 240_000_000, 38.0, 9.5),
    peer("qemu-microvm", "microvm", "7.2.15", 6_900_000_000, 52.0, 910.0),
    peer("firecracker", "microvm", "1.13.1", 5_600_000_000, 17.0, 905.0),
];

const fn peer(
    name: &'static str,
    isolation: &'static str,
    version: &'static str,
    start_ns: u64,
    mebibytes_each: f64,
    kernel: f64,
) -> Peer {
    Peer { name, isolation, version, start_ns, bytes_each: mebibytes_each * MIB, kernel }
}

/// Operation of the probe and nanoseconds natively; the last two are controls.
const OPERATIONS: [(&str, f64); 9] = [
    ("getppid", 70.0),
    ("clock_gettime", 25.0),
    ("read_64k", 4_600.0),
    ("open_close", 2_500.0),
    ("mmap_touch_unmap", 7_600.0),
    ("pipe_round_trip", 6_400.0),
    ("fork_exec", 246_000.0),
    ("cpu_hash", 5_000.0),
    ("cpu_matrix", 12_800.0),
];

/// Workload, metric, unit, value natively.
const FURTHER: [(&str, &str, &str, f64); 11] = [
    ("storm", "2 at once: last first_output", "ns", 1.9e6),
    ("storm", "8 at once: last first_output", "ns", 7.7e6),
    ("storm", "16 at once: last first_output", "ns", 16.0e6),
    ("files", "read sequential, image layer", "bytes/s", 2.6e9),
    ("files", "read random, image layer", "bytes/s", 0.9e9),
    ("files", "write sequential, writable layer, fsync", "bytes/s", 1.1e9),
    ("compute", "copy over 96 MiB", "bytes/s", 9.1e9),
    ("lifecycle", "exec→first_output", "ns", 0.8e6),
    ("lifecycle", "exit_observed→released", "ns", 0.3e6),
    ("custom", "time to exit", "ns", 41.0e6),
    ("custom", "peak memory", "bytes", 6.0 * MIB),
];

/// Results with every part filled.
pub fn rich() -> Results {
    let mut results = Results {
        runtimes: PEERS.iter().map(runtime).collect(),
        boot: boot(),
        density: density(),
        syscalls: syscalls(),
        measurements: measurements(),
        outcomes: outcomes(),
        noise: noise(),
        virtualisation: Some(virtualisation()),
        attempts: attempts(),
        surfaces: PEERS.iter().map(surface).collect(),
        cells: cells(),
        ratios: ratios(),
        fits: PEERS.iter().flat_map(|peer| fits_of(peer.name, peer.bytes_each)).collect(),
        ..super::results()
    };
    results.run.profile = "full".to_owned();
    results
}

fn runtime(peer: &Peer) -> RuntimeInfo {
    RuntimeInfo {
        name: peer.name.to_owned(),
        isolation: peer.isolation.to_owned(),
        version: peer.version.to_owned(),
        unavailable: vec![],
        runtime: None,
        start: Start::Cold,
    }
}

fn boot() -> Vec<BootSample> {
    let mut samples = Vec::new();
    for block in 0..25_u32 {
        for (position, peer) in (0..).zip(PEERS) {
            let step = u64::from((block * 7 + position * 3) % 23);
            let total = peer.start_ns * (920 + 8 * step) / 1000;
            let shares = clock_shares(peer.isolation).iter();
            let mut clocks: BTreeMap<String, u64> = shares
                .map(|(clock, share)| ((*clock).to_owned(), total / 1000 * share))
                .collect();
            clocks.insert("request".to_owned(), 0);
            samples.push(BootSample {
                runtime: peer.name.to_owned(),
                block,
                position,
                warm_up: block == 0,
                clocks_ns: clocks,
                kvm: BTreeMap::new(),
                kvm_at: BTreeMap::new(),
                exit_code: 0,
            });
        }
    }
    samples
}

fn density() -> Vec<DensitySample> {
    let mut samples = Vec::new();
    for (peer, count) in PEERS.iter().flat_map(|peer| [1_u32, 4, 8, 16].map(|n| (peer, n))) {
        #[expect(clippy::cast_possible_truncation, reason = "small example values")]
        let used = (peer.bytes_each * f64::from(count)) as i64;
        samples.push(DensitySample {
            runtime: peer.name.to_owned(),
            repetition: 0,
            count,
            used_bytes: used,
            pss_bytes: BTreeMap::from([("workload".to_owned(), used.unsigned_abs())]),
            private_bytes: BTreeMap::new(),
            kernel_bytes: Some(used.unsigned_abs() / 4),
        });
    }
    samples
}

/// What one operation costs behind one wall.
fn cost(peer: &Peer, operation: &str, native: f64) -> f64 {
    if operation.starts_with("cpu_") { native * 1.002 } else { native * peer.kernel }
}

fn syscalls() -> Vec<OperationSample> {
    let pairs = PEERS.iter().flat_map(|peer| OPERATIONS.map(|operation| (peer, operation)));
    pairs
        .flat_map(|(peer, (operation, native))| {
            (1..9_u32).map(move |block| OperationSample {
                runtime: peer.name.to_owned(),
                block,
                operation: operation.to_owned(),
                iterations: 1000,
                ns_per_operation: cost(peer, operation, native)
                    * (1.0 + f64::from(block) / 1e3),
            })
        })
        .collect()
}

/// What a further workload measures behind one wall.
fn further(peer: &Peer, unit: &str, native: f64) -> f64 {
    let factor = 1.0 + (peer.kernel.ln() / 2.0);
    if unit == "bytes/s" { native / factor } else { native * factor }
}

fn measurements() -> Vec<Measurement> {
    let pairs = PEERS.iter().flat_map(|peer| FURTHER.map(|metric| (peer, metric)));
    pairs
        .flat_map(|(peer, (workload, metric, unit, native))| {
            (1..9_u32).map(move |block| Measurement {
                workload: workload.to_owned(),
                metric: metric.to_owned(),
                unit: unit.to_owned(),
                runtime: peer.name.to_owned(),
                block,
                value: further(peer, unit, native) * (1.0 + f64::from(block) / 1e3),
            })
        })
        .collect()
}

/// Each metric with its unit and its value behind one wall.
fn medians(peer: &Peer) -> Vec<(&'static str, &'static str, &'static str, f64)> {
    let start = [("boot", START_METRIC, "ns", float(peer.start_ns))];
    let calls =
        OPERATIONS.map(|(name, native)| ("syscalls", name, "ns", cost(peer, name, native)));
    let others = FURTHER.map(|(workload, metric, unit, native)| {
        (workload, metric, unit, further(peer, unit, native))
    });
    start.into_iter().chain(calls).chain(others).collect()
}

fn cells() -> Vec<Cell> {
    let of = |peer: &Peer| {
        medians(peer).into_iter().map(|(workload, metric, unit, median)| {
            cell(workload, metric, peer.name, unit, median)
        })
    };
    let mut cells: Vec<Cell> =
        PEERS.iter().flat_map(|peer| of(peer).collect::<Vec<_>>()).collect();
    // As the harness has them: by metric, then by runtime.
    let order: Vec<(&str, &str)> = medians(&PEERS[0]).iter().map(|m| (m.0, m.1)).collect();
    cells.sort_by_key(|c| {
        order.iter().position(|o| *o == (c.workload.as_str(), c.metric.as_str()))
    });
    cells
}

fn ratios() -> Vec<Ratio> {
    let mut ratios = Vec::new();
    for (index, above) in PEERS.iter().enumerate() {
        for below in &PEERS[..index] {
            for (a, b) in medians(above).into_iter().zip(medians(below)) {
                let quotient = a.3 / b.3;
                let told_apart = (quotient.ln().abs()) > 0.06;
                let mut found = ratio(a.0, a.1, above.name, quotient, told_apart);
                below.name.clone_into(&mut found.baseline);
                ratios.push(found);
            }
        }
    }
    ratios
}

/// All the same but for the third.
fn outcomes() -> Vec<CommandOutcome> {
    let of = |peer: &Peer| CommandOutcome {
        runtime: peer.name.to_owned(),
        exit_code: 0,
        stdout_sha256: if peer.name == "microvm" { "ab" } else { "cd" }.repeat(32),
        stdout_bytes: 1_234,
        times: 9,
    };
    PEERS.iter().map(of).collect()
}

fn noise() -> Vec<NoiseFloor> {
    let metrics = [
        ("boot", START_METRIC),
        ("syscalls", "getppid"),
        ("files", "read random, image layer"),
    ];
    let pairs =
        metrics.iter().flat_map(|metric| PEERS.iter().take(3).map(move |p| (metric, p)));
    pairs
        .zip(1_u32..)
        .map(|((metric, peer), index)| NoiseFloor {
            workload: metric.0.to_owned(),
            metric: metric.1.to_owned(),
            runtime: peer.name.to_owned(),
            n: 20,
            ratio: 1.0 + f64::from(index % 5) / 500.0,
            low: 0.985,
            high: 1.021,
            floor: 0.01 + f64::from(index) / 400.0,
        })
        .collect()
}

fn virtualisation() -> VirtualisationProfile {
    let figures = [
        ("vm_create", "ns", 310_000.0),
        ("vcpu_create", "ns", 95_000.0),
        ("first_entry", "ns", 61_000.0),
        ("pio_exit", "ns", 3_900.0),
        ("cpuid_exit", "ns", 2_700.0),
        ("ring0_rate", "instructions/s", 1.1e6),
        ("ring3_rate", "instructions/s", 2.9e9),
    ];
    VirtualisationProfile {
        kind: VirtualisationKind::Emulated,
        reasons: vec![
            "code in ring 0 runs 2,636 times slower than code in ring 3".to_owned(),
            "KVM counts one emulated instruction for each that ring 0 executes".to_owned(),
        ],
        figures: figures
            .map(|(name, unit, median)| ProfileFigure {
                name: name.to_owned(),
                unit: unit.to_owned(),
                samples: vec![median * 0.98, median, median * 1.03],
                median,
                low: median * 0.98,
                high: median * 1.03,
            })
            .to_vec(),
    }
}

/// What was attempted, and how that ends natively, in a container and in a microVM.
const ATTEMPTS: [(&str, [AttemptOutcome; 3]); 18] = {
    use AttemptOutcome::{Contained, Limited, NotRun, Reached, Refused};
    [
        ("host_processes", [Reached, Contained, Contained]),
        ("host_files", [Reached, Contained, Contained]),
        ("mount", [Reached, Refused, Contained]),
        ("load_module", [Reached, Refused, Refused]),
        ("ptrace_neighbour", [Reached, Contained, Contained]),
        ("raw_socket", [Reached, Refused, Contained]),
        ("set_clock", [Reached, Refused, Contained]),
        ("write_proc_sys", [Reached, Refused, Contained]),
        ("keyctl", [Reached, Refused, Contained]),
        ("bpf", [Reached, Refused, Refused]),
        ("perf_event_open", [Reached, Refused, Refused]),
        ("io_uring", [Reached, Refused, Contained]),
        ("nested_user_namespace", [Reached, Reached, Contained]),
        ("fork_bomb", [Limited, Limited, Limited]),
        ("memory_bomb", [Limited, Limited, Contained]),
        ("disk_bomb", [NotRun, Limited, Contained]),
        ("fd_bomb", [Limited, Limited, Contained]),
        ("a_new_attempt", [NotRun, NotRun, NotRun]),
    ]
};

fn attempts() -> Vec<Attempt> {
    let pairs = PEERS.iter().flat_map(|peer| ATTEMPTS.map(|attempt| (peer, attempt)));
    pairs
        .map(|(peer, (attempt, outcomes))| {
            let outcome = match peer.isolation {
                "native" => outcomes[0],
                "container" => outcomes[1],
                _ => outcomes[2],
            };
            Attempt {
                runtime: peer.name.to_owned(),
                attempt: attempt.to_owned(),
                outcome,
                evidence: format!("what the host saw of {attempt} in {}", peer.name),
                inside: "errno 1, Operation not permitted".to_owned(),
            }
        })
        .collect()
}

fn surface(peer: &Peer) -> Surface {
    let (calls, role, namespaces): (usize, &str, &[&str]) = match peer.isolation {
        "native" => (62, "workload", &[]),
        "container" => (58, "workload", &["pid", "mnt", "net", "ipc", "uts"]),
        _ => (24, "monitor", &["mnt"]),
    };
    Surface {
        runtime: peer.name.to_owned(),
        workload: "every operation of the probe once".to_owned(),
        system_calls: (0..calls).map(|i| (format!("call_{i:02}"), 1_u64 << (i % 9))).collect(),
        processes: vec![SurfaceProcess {
            role: role.to_owned(),
            capabilities: if peer.isolation == "native" {
                vec!["CAP_SYS_ADMIN".to_owned(), "CAP_NET_ADMIN".to_owned()]
            } else {
                vec![]
            },
            namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
            seccomp_filter: peer.isolation != "native",
            no_new_privileges: peer.isolation != "native",
        }],
    }
}
