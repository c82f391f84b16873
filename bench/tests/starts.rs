//! Runtimes that are started in more than one way.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use bulkhead_bench::{
    BenchConfig, Candidate, NativeRuntime, NoCheckpoint, Silent, Stop, WORKLOADS, Workload, run,
};
use bulkhead_reports::schema::{Results, Start};
use bulkhead_runtime::pool::{Claim, Offer, Pool, PoolKey};
use bulkhead_runtime::{
    Availability, Bundle, Capabilities, Create, Error, Isolation, Lifetime, Prepare, Record,
    Runtime, Sandbox, SandboxId, StateDir,
};
use tempfile::TempDir;

use support::{config, layer_with_probe, probe_bundle};

/// Prepares sandboxes of which nothing is made but the record.
struct Pooled {
    root: TempDir,
    keepers: Mutex<Vec<StateDir>>,
    /// Whether what it prepared can be completed.
    works: bool,
}

impl Pooled {
    fn new(works: bool) -> Self {
        Self { root: tempfile::tempdir().unwrap(), keepers: Mutex::default(), works }
    }

    fn pool(&self) -> Pool {
        Pool::at(self.root.path())
    }

    fn key(&self, bundle: &Bundle) -> PoolKey {
        PoolKey::of(self.isolation(), bundle).unwrap()
    }

    fn left(&self) -> usize {
        fs::read_dir(self.root.path()).unwrap().count()
    }
}

impl Runtime for Pooled {
    fn name(&self) -> &str {
        "wall"
    }

    fn isolation(&self) -> Isolation {
        Isolation::Container
    }

    fn availability(&self) -> Availability {
        Availability::Ready
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { prepare: true, ..Capabilities::default() }
    }

    fn create(&self, request: Create<'_>) -> Result<Box<dyn Sandbox>, Error> {
        NativeRuntime.create(request)
    }

    fn prepare(&self, request: Prepare<'_>) -> Result<(), Error> {
        let (pool, key) = (self.pool(), self.key(request.bundle));
        let passage = pool.enter()?;
        let record = Record::creating(request.id, self.isolation(), Lifetime::Attached);
        let dir = StateDir::create(self.root.path(), &record)?;
        Pool::mark(&passage, &dir, &key)?;
        self.keepers.lock().unwrap().push(dir);
        pool.offer(&passage, &key, &Offer::now(request.id, self.isolation(), request.image))?;
        Ok(())
    }

    fn claim(&self, bundle: &Bundle) -> Result<Option<Claim>, Error> {
        Ok(self.pool().claim(&self.key(bundle))?)
    }

    fn complete(&self, claim: Claim, request: Create<'_>) -> Result<Box<dyn Sandbox>, Error> {
        let mut dir = claim.open()?;
        self.keepers.lock().unwrap().clear();
        claim.take_over(&mut dir)?;
        dir.remove()?;
        let id = request.id.clone();
        if self.works { NativeRuntime.create(request) } else { Err(Error::NotRunning { id }) }
    }

    fn load(&self, id: &SandboxId) -> Result<Box<dyn Sandbox>, Error> {
        NativeRuntime.load(id)
    }

    fn purge(&self, id: &SandboxId) -> Result<(), Error> {
        let _claim = self.pool().claim_this(id)?;
        self.keepers.lock().unwrap().clear();
        StateDir::open(self.root.path(), id)?.remove()?;
        Ok(())
    }
}

fn measured(runtime: &Pooled) -> Results {
    let layer = layer_with_probe();
    let bundle = probe_bundle(&layer);
    let started = |start| Candidate { runtime, version: "1", bundle: Ok(&bundle), start };
    let candidates = [started(Start::Pool), started(Start::Cold)];
    let wanted = |workload: &&&dyn Workload| ["boot", "lifecycle"].contains(&workload.name());
    let workloads = WORKLOADS.iter().filter(wanted).copied().collect();
    let config = BenchConfig { workloads, ..config() };
    let never = AtomicBool::new(false);
    run(&config, &candidates, Stop::on_flag(&never), &Silent, &NoCheckpoint).unwrap()
}

#[test]
fn another_way_of_starting_has_boot_figures_of_its_own() {
    let runtime = Pooled::new(true);
    let results = measured(&runtime);
    let [cold, pool] = &results.runtimes[..] else { panic!("{:?}", results.runtimes) };
    assert_eq!((cold.name.as_str(), cold.start, &cold.runtime), ("wall", Start::Cold, &None));
    assert_eq!((pool.name.as_str(), pool.runtime()), ("wall-pool", "wall"));
    assert_eq!(pool.start, Start::Pool);
    for name in ["wall", "wall-pool"] {
        let starts = results.boot.iter().filter(|sample| sample.runtime == name);
        assert!(starts.count() > 5, "{name}");
    }
    let compared = |ratio: &&bulkhead_reports::schema::Ratio| {
        (ratio.runtime.as_str(), ratio.baseline.as_str()) == ("wall-pool", "wall")
    };
    assert!(results.ratios.iter().any(|ratio| compared(&ratio)), "it is compared with cold");
    // How a sandbox was started makes no difference to the rest.
    let others = results.cells.iter().filter(|cell| cell.workload != "boot");
    assert!(others.clone().count() > 0);
    assert!(others.clone().all(|cell| cell.runtime == "wall"));
    assert!(results.omitted.iter().all(|omission| omission.runtime == "wall"));
    assert_eq!(runtime.left(), 0);
}

#[test]
fn a_prepared_sandbox_that_fails_leaves_nothing_waiting() {
    let runtime = Pooled::new(false);
    let results = measured(&runtime);
    assert!(results.boot.iter().all(|sample| sample.runtime == "wall"));
    let told = results.omitted.iter().find(|omission| omission.runtime == "wall-pool").unwrap();
    assert!(told.reason.contains("completing a prepared sandbox"), "{}", told.reason);
    assert_eq!(runtime.left(), 0);
}
