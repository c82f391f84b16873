//! Made-up results for tests: plausible in shape, never to be shown as measured.

mod rich;
mod warm;

pub use rich::rich;
pub use warm::warm;

use std::collections::BTreeMap;

use crate::clocks::START_METRIC;
use crate::schema::{
    BootSample, Cell, DensitySample, Effort, Fit, Host, Kvm, OperationSample, Ratio, Results,
    Run, RuntimeInfo, SCHEMA_VERSION, Start,
};
use crate::units::float;

const MIB: f64 = 1_048_576.0;

/// Name, isolation, start in ns, bytes per sandbox, ns per getppid.
const RUNTIMES: [(&str, &str, u64, f64, f64); 3] = [
    ("native", "native", 900_000, 0.2 * MIB, 70.0),
    ("container", "container", 3_100_000, 0.5 * MIB, 95.0),
    ("microvm", "microvm", 5_200_000_000, 14.0 * MIB, 340_000.0),
];

/// Results of three runtimes on a host whose KVM emulates guest kernels.
pub fn results() -> Results {
    Results {
        schema_version: SCHEMA_VERSION,
        run: run(),
        host: host(),
        runtimes: RUNTIMES
            .map(|(name, isolation, ..)| RuntimeInfo {
                name: name.to_owned(),
                isolation: isolation.to_owned(),
                version: "0.1.0".to_owned(),
                unavailable: vec![],
                runtime: None,
                start: Start::Cold,
            })
            .to_vec(),
        boot: boot(),
        density: density(),
        syscalls: syscalls(),
        measurements: vec![],
        outcomes: vec![],
        noise: vec![],
        virtualisation: None,
        attempts: vec![],
        surfaces: vec![],
        cells: cells(),
        ratios: ratios(),
        fits: fits(),
        omitted: vec![],
        effort: Effort::default(),
    }
}

fn run() -> Run {
    Run {
        tool_version: "0.1.0".to_owned(),
        command: vec!["bulkhead".to_owned(), "bench".to_owned()],
        started: "2026-01-02T03:04:05Z".to_owned(),
        duration_seconds: 431,
        profile: "default".to_owned(),
        seed: 42,
        partial: false,
        image: "probe".to_owned(),
        image_digest: "sha256:00ff".to_owned(),
        guest_kernel: Some("6.1.0 (config 1234abcd)".to_owned()),
    }
}

fn host() -> Host {
    Host {
        cpu_model: "Example CPU".to_owned(),
        cpus: 2,
        memory_bytes: 8 << 30,
        kernel: "6.18.0".to_owned(),
        os: "Debian GNU/Linux 12 (bookworm)".to_owned(),
        cgroups: "hybrid".to_owned(),
        virtualised: true,
        kvm: Some(Kvm {
            flavour: "kvm_pvm".to_owned(),
            api_version: 12,
            emulates_guest_kernel: true,
        }),
    }
}

/// Parts of a start at which each clock is seen, in thousandths.
fn clock_shares(isolation: &str) -> &'static [(&'static str, u64)] {
    match isolation {
        "native" => &[("workload_exec", 600), ("first_output", 1000), ("exit_observed", 1100)],
        "container" => &[
            ("rootfs_ready", 180),
            ("sandbox_created", 700),
            ("workload_exec", 900),
            ("first_output", 1000),
            ("exit_observed", 1080),
            ("released", 1400),
        ],
        _ => &[
            ("rootfs_ready", 1),
            ("sandbox_created", 2),
            ("first_guest_instruction", 3),
            ("kernel_done", 800),
            ("workload_exec", 960),
            ("first_output", 1000),
            ("exit_observed", 1050),
            ("released", 1060),
        ],
    }
}

fn boot() -> Vec<BootSample> {
    let mut samples = Vec::new();
    for block in 0..21 {
        for (position, (name, isolation, start, ..)) in (0..).zip(RUNTIMES) {
            // A spread of ±10 % with one slow straggler.
            let step = u64::from((block * 7 + position * 3) % 21);
            let total = start * (900 + 10 * step + if step == 20 { 400 } else { 0 }) / 1000;
            let mut clocks: BTreeMap<String, u64> = clock_shares(isolation)
                .iter()
                .map(|(clock, share)| ((*clock).to_owned(), total / 1000 * share))
                .collect();
            clocks.insert("request".to_owned(), 0);
            let kvm = if isolation == "microvm" {
                BTreeMap::from([
                    ("exits".to_owned(), 1_200),
                    ("insn_emulation".to_owned(), 5_000_000),
                ])
            } else {
                BTreeMap::new()
            };
            samples.push(BootSample {
                runtime: name.to_owned(),
                block,
                position,
                warm_up: block == 0,
                clocks_ns: clocks,
                kvm_at: kvm_at(&kvm),
                kvm,
                exit_code: 0,
            });
        }
    }
    samples
}

/// Made-up counters on the way to `kvm`, those at the exit.
fn kvm_at(kvm: &BTreeMap<String, u64>) -> BTreeMap<String, BTreeMap<String, u64>> {
    let part = |of_ten: u64| kvm.iter().map(|(k, v)| (k.clone(), v * of_ten / 10)).collect();
    if kvm.is_empty() {
        return BTreeMap::new();
    }
    BTreeMap::from([("kernel_done", 7), ("workload_exec", 9)])
        .into_iter()
        .map(|(clock, of_ten)| (clock.to_owned(), part(of_ten)))
        .collect()
}

fn density() -> Vec<DensitySample> {
    let mut samples = Vec::new();
    for repetition in 0..2_u32 {
        for (name, _, _, each, _) in RUNTIMES {
            for count in [1_u32, 2, 4, 8] {
                #[expect(clippy::cast_possible_truncation, reason = "small example values")]
                let used = (each * f64::from(count) + f64::from(repetition) * 0.3 * MIB) as i64;
                let pss = used.unsigned_abs() / 10;
                samples.push(DensitySample {
                    runtime: name.to_owned(),
                    repetition,
                    count,
                    used_bytes: used,
                    pss_bytes: BTreeMap::from([
                        ("monitor".to_owned(), pss),
                        ("workload".to_owned(), pss * 8),
                    ]),
                    private_bytes: BTreeMap::from([
                        ("monitor".to_owned(), pss),
                        ("workload".to_owned(), pss * 6),
                    ]),
                    kernel_bytes: Some(pss),
                });
            }
        }
    }
    samples
}

fn syscalls() -> Vec<OperationSample> {
    RUNTIMES
        .iter()
        .map(|(name, _, _, _, each)| OperationSample {
            runtime: (*name).to_owned(),
            block: 1,
            operation: "getppid".to_owned(),
            iterations: 1000,
            ns_per_operation: *each,
        })
        .collect()
}

fn cell(workload: &str, metric: &str, runtime: &str, unit: &str, median: f64) -> Cell {
    Cell {
        workload: workload.to_owned(),
        metric: metric.to_owned(),
        runtime: runtime.to_owned(),
        unit: unit.to_owned(),
        n: 20,
        median,
        low: median * 0.97,
        high: median * 1.04,
        min: median * 0.9,
        max: median * 1.5,
        mad: median * 0.03,
        p90: Some(median * 1.1),
        p99: None,
        outliers: 1,
    }
}

fn cells() -> Vec<Cell> {
    RUNTIMES
        .iter()
        .flat_map(|(name, _, start, _, each)| {
            [
                cell("boot", START_METRIC, name, "ns", float(*start)),
                cell("syscalls", "getppid", name, "ns", *each),
                cell("syscalls", "cpu_hash", name, "ns", 5_000.0),
            ]
        })
        .collect()
}

fn ratio(
    workload: &str,
    metric: &str,
    runtime: &str,
    ratio: f64,
    distinguishable: bool,
) -> Ratio {
    Ratio {
        workload: workload.to_owned(),
        metric: metric.to_owned(),
        runtime: runtime.to_owned(),
        baseline: "native".to_owned(),
        ratio,
        low: ratio * 0.95,
        high: ratio * 1.06,
        p_value: if distinguishable { 0.0002 } else { 0.4 },
        distinguishable,
    }
}

fn ratios() -> Vec<Ratio> {
    let (_, _, native_start, _, native_call) = RUNTIMES[0];
    RUNTIMES[1..]
        .iter()
        .flat_map(|(name, _, start, _, each)| {
            let slower = float(*start) / float(native_start);
            [
                ratio("boot", START_METRIC, name, slower, true),
                ratio("syscalls", "getppid", name, each / native_call, true),
                ratio("syscalls", "cpu_hash", name, 1.003, false),
            ]
        })
        .collect()
}

/// Lines through the two ways of measuring memory, at `bytes_each` a sandbox.
fn fits_of(runtime: &str, bytes_each: f64) -> [Fit; 3] {
    let metrics = [("used_bytes", 1.0), ("pss_bytes", 0.9), ("private_bytes", 0.7)];
    metrics.map(|(metric, part)| (metric, bytes_each * part)).map(|(metric, slope)| Fit {
        runtime: runtime.to_owned(),
        metric: metric.to_owned(),
        slope,
        slope_low: slope * 0.96,
        slope_high: slope * 1.05,
        intercept: 0.1 * MIB,
        n: 8,
    })
}

fn fits() -> Vec<Fit> {
    RUNTIMES.iter().flat_map(|(name, _, _, each, _)| fits_of(name, *each)).collect()
}
