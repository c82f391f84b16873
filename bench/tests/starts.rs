//! Runtimes that are started in more than one way.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use bulkhead_bench::{BenchConfig, Candidate, NativeRuntime, NoCheckpoint, Silent, Stop, run};
use bulkhead_reports::schema::{Results, Start};
use bulkhead_runtime::pool::{Claim, Offer, Pool, PoolKey};
use bulkhead_runtime::{
    Availability, Bundle, Capabilities, Create, Error, Isolation, Lifetime, Prepare, Record,
    Runtime, Sandbox, SandboxId, StateDir,
};
use tempfile::TempDir;

use support::{config, layer_with_probe, probe_bundle, workloads};

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
        PoolKey::of(self.isolation(), bundle, "").unwrap()
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
        let mut keeper = self.keepers.lock().unwrap().pop().unwrap();
        let lock = keeper.lock().unwrap().try_clone().unwrap();
        keeper.hand_over();
        claim.take_over(&mut dir, lock)?;
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
    let candidates = [started(Start::Pool), started(Start::Warm), started(Start::Cold)];
    let workloads = workloads(&["boot", "density", "lifecycle", "storm"]);
    let config = BenchConfig { workloads, ..config() };
    let never = AtomicBool::new(false);
    run(&config, &candidates, Stop::on_flag(&never), &Silent, &NoCheckpoint).unwrap()
}

#[test]
fn another_way_of_starting_has_boot_figures_of_its_own() {
    let runtime = Pooled::new(true);
    let results = measured(&runtime);
    let [cold, warm, pool] = &results.runtimes[..] else { panic!("{:?}", results.runtimes) };
    assert_eq!((cold.name.as_str(), cold.start, &cold.runtime), ("wall", Start::Cold, &None));
    assert_eq!((warm.name.as_str(), warm.runtime()), ("wall-warm", "wall"));
    assert_eq!((pool.name.as_str(), pool.runtime()), ("wall-pool", "wall"));
    assert_eq!((warm.start, pool.start), (Start::Warm, Start::Pool));
    for name in ["wall", "wall-warm", "wall-pool"] {
        let starts = results.boot.iter().filter(|sample| sample.runtime == name);
        assert!(starts.count() > 5, "{name}");
    }
    let compared = |ratio: &&bulkhead_reports::schema::Ratio| {
        (ratio.runtime.as_str(), ratio.baseline.as_str()) == ("wall-pool", "wall")
    };
    assert!(results.ratios.iter().any(|ratio| compared(&ratio)), "it is compared with cold");
    // How a sandbox was started makes no difference to the rest, but that clones may
    // share memory and wait for each other.
    let measured = |workload: &str| -> BTreeSet<&str> {
        let cells = results.cells.iter().filter(|cell| cell.workload == workload);
        cells.map(|cell| cell.runtime.as_str()).collect()
    };
    assert_eq!(measured("lifecycle"), BTreeSet::from(["wall"]));
    assert_eq!(measured("storm"), BTreeSet::from(["wall", "wall-warm"]));
    let kept: BTreeSet<&str> = results.fits.iter().map(|fit| fit.runtime.as_str()).collect();
    assert_eq!(kept, BTreeSet::from(["wall", "wall-warm"]));
    assert!(results.omitted.iter().all(|omission| omission.runtime == "wall"));
    assert_eq!(runtime.left(), 0);
}

#[test]
fn a_prepared_sandbox_that_fails_leaves_nothing_waiting() {
    let runtime = Pooled::new(false);
    let results = measured(&runtime);
    assert!(results.boot.iter().all(|sample| sample.runtime != "wall-pool"));
    let told = results.omitted.iter().find(|omission| omission.runtime == "wall-pool").unwrap();
    assert!(told.reason.contains("completing a prepared sandbox"), "{}", told.reason);
    assert_eq!(runtime.left(), 0);
}
