#![allow(dead_code, reason = "every test file uses its part of it")]
//! Runtimes that misbehave, and what they are to run.

mod probe;

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bulkhead_bench::{
    BenchConfig, Blocks, Extent, Ladder, NativeRuntime, Profile, Progress, Storms, WORKLOADS,
    Workload,
};
use bulkhead_runtime::{
    Availability, Bundle, Capabilities, Create, Error, Isolation, Missing, Rootfs, Runtime,
    Sandbox, SandboxId,
};
use oci_spec::runtime::{ProcessBuilder, SpecBuilder};

pub use probe::layer_with_probe;

pub fn probe_bundle(layer: &tempfile::TempDir) -> Bundle {
    let process =
        ProcessBuilder::default().args(vec!["/probe".to_owned()]).cwd("/").build().unwrap();
    let spec = SpecBuilder::default().process(process).build().unwrap();
    Bundle { spec, rootfs: Rootfs::Layers(vec![layer.path().to_owned()]) }
}

/// Processes whose program is in `layer`.
pub fn running_from(layer: &tempfile::TempDir) -> usize {
    let program = |entry: fs::DirEntry| fs::read_link(entry.path().join("exe")).ok();
    let programs = fs::read_dir("/proc").unwrap().flatten().filter_map(program);
    programs.filter(|program| program.starts_with(layer.path())).count()
}

/// Workloads by their names, in the order of all.
pub fn workloads(names: &[&str]) -> Vec<&'static dyn Workload> {
    let chosen = WORKLOADS.iter().filter(|workload| names.contains(&workload.name()));
    chosen.copied().collect()
}

/// As little as gives every figure.
pub fn config() -> BenchConfig {
    let blocks =
        Blocks { warm_up: 1, min: 6, max: 8, budget: Duration::from_secs(60), max_weight: 2 };
    BenchConfig {
        // What the others do they do in the same ways.
        workloads: workloads(&["boot", "syscalls", "density"]),
        profile: Profile {
            name: "test",
            boot: blocks,
            idle_before_start: Duration::from_millis(1),
            density: Ladder {
                repetitions: 2,
                max: 4,
                budget: Duration::from_secs(60),
                settle: Duration::from_millis(1),
                reserve_bytes: 0,
            },
            syscalls: blocks,
            further: blocks,
            storm: Storms { climbs: blocks, max: 2, budget: Duration::from_secs(60) },
            operation_budget_ms: 1,
            sandbox_timeout: Duration::from_secs(60),
        },
        extent: Extent::Profile,
        earlier: None,
        seed: 42,
        program: "/probe".to_owned(),
        tool_version: "0".to_owned(),
        command: vec![],
        image: "probe".to_owned(),
        image_digest: "sha256:0".to_owned(),
        virtualisation: None,
        guest_kernel: None,
    }
}

/// How a [`Double`] misbehaves.
#[derive(Debug, Clone, Copy)]
pub enum Behaviour {
    Works,
    FailsAlways,
    /// The start with this number fails, counted from 1.
    FailsOnStart(u32),
    /// Runs `probe idle` whatever it is asked for.
    Hangs,
    Unavailable,
    /// Takes this much longer.
    Delays(Duration),
}

/// A runtime without a wall under another name.
#[derive(Debug)]
pub struct Double {
    name: &'static str,
    isolation: Isolation,
    behaviour: Behaviour,
    starts: AtomicU32,
}

impl Double {
    pub fn new(name: &'static str, isolation: Isolation, behaviour: Behaviour) -> Self {
        Self { name, isolation, behaviour, starts: AtomicU32::new(0) }
    }

    /// How often it was asked for a sandbox.
    pub fn starts(&self) -> u32 {
        self.starts.load(Ordering::Relaxed)
    }
}

impl Runtime for Double {
    fn name(&self) -> &str {
        self.name
    }

    fn isolation(&self) -> Isolation {
        self.isolation
    }

    fn availability(&self) -> Availability {
        match self.behaviour {
            Behaviour::Unavailable => Availability::Unavailable(vec![Missing {
                what: "/dev/wall".to_owned(),
                remedy: "build one".to_owned(),
            }]),
            _ => Availability::Ready,
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn create(&self, request: Create<'_>) -> Result<Box<dyn Sandbox>, Error> {
        let start = self.starts.fetch_add(1, Ordering::Relaxed) + 1;
        let fails = match self.behaviour {
            Behaviour::FailsAlways => true,
            Behaviour::FailsOnStart(number) => start == number,
            _ => false,
        };
        if fails {
            return Err(Error::Wall {
                isolation: self.isolation,
                step: "building a wall",
                source: "out of walls".into(),
            });
        }
        if let Behaviour::Delays(time) = self.behaviour {
            std::thread::sleep(time);
        }
        let mut bundle = request.bundle.clone();
        if matches!(self.behaviour, Behaviour::Hangs) {
            let args = vec!["/probe".to_owned(), "idle".to_owned()];
            bundle.spec.process_mut().as_mut().unwrap().set_args(Some(args));
        }
        NativeRuntime.create(Create { bundle: &bundle, ..request })
    }

    fn load(&self, id: &SandboxId) -> Result<Box<dyn Sandbox>, Error> {
        NativeRuntime.load(id)
    }

    fn purge(&self, id: &SandboxId) -> Result<(), Error> {
        NativeRuntime.purge(id)
    }
}

/// Sets a flag when it has got a number of messages.
pub struct Counting<'a> {
    left: AtomicU32,
    flag: &'a AtomicBool,
}

impl<'a> Counting<'a> {
    pub fn stopping_after(messages: u32, flag: &'a AtomicBool) -> Self {
        Self { left: AtomicU32::new(messages), flag }
    }
}

impl Progress for Counting<'_> {
    fn begin(&self, _: &str, _: u64) {}

    fn advance(&self, _: u64, _: u64) {}

    fn message(&self, _: &str) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.flag.store(true, Ordering::Relaxed);
        }
    }

    fn end(&self) {}
}
