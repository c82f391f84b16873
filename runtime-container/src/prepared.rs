//! Containers made ahead: everything but the process.
//!
//! A prepared container is its cgroup and its namespaces, the tree mounted in them,
//! held by a keeper: a process of ours that waits to be killed. To complete it, a
//! child is made in a new pid namespace, which enters the others, mounts what shows
//! its pid namespace, and goes on as any other child does. It is PID 1 and the
//! child of whoever completes it, as if the container had been made at once.
//!
//! The pid namespace cannot be made ahead: its first process is the workload, and
//! only a parent learns how that ended.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use bulkhead_runtime::pool::{Claim, Offer, Pool, PoolKey};
use bulkhead_runtime::{
    Create, Error, Isolation, Lifetime, Prepare, Record, Signal, StateDir, StateError, Stdio,
    Timeline,
};
use rustix::io::fcntl_dupfd_cloexec;

use crate::cgroup::{Cgroup, Entry};
use crate::child::Duty;
use crate::container::{Container, Parts};
use crate::create::{add_cgroup_steps, command_name, enter_cgroup, find_cgroup, joining};
use crate::error::{ContainerError, wall};
use crate::plan::{Namespaces, Part, Plan, Setting};
use crate::spawn::{self, Recipe};
use crate::step::Step;
use crate::workload::Workload;

/// What the caller was told to be doing when it failed.
const PREPARING: &str = "preparing a container";
const COMPLETING: &str = "completing a prepared container";

/// Makes a container up to its process and leaves it in the pool under `root`. On
/// failure nothing of it remains.
pub(crate) fn prepare(root: &Path, request: &Prepare<'_>) -> Result<(), Error> {
    let &Prepare { id, bundle, image, held } = request;
    let spec = &bundle.spec;
    let setting = Setting {
        scratch: &root.join(id),
        privileged: rustix::process::geteuid().is_root(),
        attached: false,
        init: false,
    };
    let mut plan = Plan::part(bundle, setting, Part::Ahead).map_err(wall(PREPARING))?;
    let cgroup = find_cgroup(spec, id).map_err(wall(PREPARING))?;
    let (pool, key) = (Pool::at(root), PoolKey::of(Isolation::Container, bundle)?);

    let passage = pool.enter()?;
    // It dies with its owner, who is the keeper.
    let record = Record::creating(id, Isolation::Container, Lifetime::Attached);
    let state = StateDir::create(root, &record)?;
    let mut container = Container::new(Parts::without_workload(state, record, cgroup))?;
    Pool::mark(&passage, container.state(), &key)?;
    container.store_spec(spec)?;
    let entry = enter_cgroup(&mut container, spec).map_err(wall(PREPARING))?;
    add_cgroup_steps(&mut plan, entry.as_ref());

    let kept = kept(container.state(), held).map_err(wall(PREPARING))?;
    let numbers: Vec<RawFd> = kept.iter().map(AsRawFd::as_raw_fd).collect();
    let recipe = Recipe::of(&plan, Duty::Keeper(&numbers), entry.as_ref());
    let stdio = Stdio::null().map_err(ContainerError::io("open /dev/null"));
    let stdio = stdio.map_err(wall(PREPARING))?;
    let child = spawn::spawn(&recipe, stdio).map_err(wall(PREPARING))?;
    container.adopt(child).ready(&plan.setup).map_err(wall(PREPARING))?;
    let offer = Offer::now(id, Isolation::Container, image);
    container.leave_prepared(|| pool.offer(&passage, &key, &offer))
}

/// Copies of the descriptors a keeper keeps: the lock, which makes it the owner, and
/// those `held` for the caller. In ascending order, above the standard streams.
fn kept(state: &StateDir, held: &[BorrowedFd<'_>]) -> Result<Vec<OwnedFd>, ContainerError> {
    let lock = state.lock().into_iter().map(AsFd::as_fd);
    let mut kept: Vec<OwnedFd> = lock
        .chain(held.iter().copied())
        .map(|fd| fcntl_dupfd_cloexec(fd, 3))
        .collect::<Result<_, _>>()
        .map_err(|errno| ContainerError::io("duplicate a descriptor")(errno.into()))?;
    kept.sort_by_key(AsRawFd::as_raw_fd);
    Ok(kept)
}

/// Makes the container `request` asks for of the prepared one that was taken.
pub(crate) fn complete(
    root: &Path,
    claim: Claim,
    request: Create<'_>,
) -> Result<Container, Error> {
    let spec = &request.bundle.spec;
    debug_assert_eq!(
        Some(claim.key()),
        PoolKey::of(Isolation::Container, request.bundle).ok().as_ref(),
        "the prepared container is another one than was asked for"
    );
    let scratch = root.join(request.id);
    let setting = Setting::of(&scratch, &request);
    let mut plan = Plan::part(request.bundle, setting, Part::Rest).map_err(wall(COMPLETING))?;
    let mut container = Container::new(Parts {
        state: claim.open()?,
        record: Record::creating(request.id, Isolation::Container, request.lifetime),
        cgroup: find_cgroup(spec, request.id).map_err(wall(COMPLETING))?,
        command: command_name(spec),
        launch: plan.launch.iter().map(ToString::to_string).collect(),
        timeline: Timeline::starting_at(request.requested),
        init: request.init,
    })?;
    let keeper = Keeper::find(&container, &plan.namespaces)?;
    plan.enter(keeper.steps());
    let entry = container.cgroup().map(Cgroup::entry).transpose();
    let entry = entry.map_err(ContainerError::from).map_err(wall(COMPLETING))?;
    plan.setup.splice(0..0, joining(entry.as_ref()));

    keeper.kill()?;
    if matches!(entry, Some(Entry::Clone(_))) {
        // Unlike one who joins, a clone is refused when the keeper takes up the last
        // place under a limit of processes.
        keeper.wait_for_end()?;
    }
    let recipe = Recipe::of(&plan, Duty::first(request.init), entry.as_ref());
    let child = spawn::spawn(&recipe, request.stdio).map_err(wall(COMPLETING))?;
    container.adopt(child);
    // While the child sets itself up.
    container.take_over(claim)?;
    container.store_spec(spec)?;
    container.set_up(&plan.setup, COMPLETING)?;
    keeper.wait_for_end()?;
    Ok(container)
}

/// The process that holds a prepared container's namespaces, and the namespaces
/// themselves. It is killed when this is dropped.
struct Keeper {
    process: Workload,
    /// The namespaces and their kinds.
    kept: Vec<(File, i32)>,
}

impl Keeper {
    /// The keeper of `container`.
    fn find(container: &Container, namespaces: &Namespaces) -> Result<Self, Error> {
        let record = container.state().read()?;
        let lost = || StateError::Lost(record.id.clone());
        let pid = record.pid.ok_or_else(lost)?;
        let process = Workload::open(pid).ok_or_else(lost)?;
        let mut kept = Vec::new();
        for (file, kind) in namespaces.kept() {
            let file = File::open(format!("/proc/{pid}/ns/{file}")).map_err(|_| lost())?;
            kept.push((file, kind));
        }
        // Nothing but the keeper is in the container's cgroup. As long as the number
        // is there it is the keeper's, and so was what was opened by it.
        let members = container.cgroup().map(Cgroup::processes).transpose();
        let members = members.map_err(ContainerError::from).map_err(wall(COMPLETING))?;
        let is_keeper = members.is_some_and(|members| members.contains(&pid));
        if is_keeper { Ok(Self { process, kept }) } else { Err(lost().into()) }
    }

    fn steps(&self) -> Vec<Step> {
        let enter =
            |(file, kind): &(File, i32)| Step::Enter { fd: file.as_raw_fd(), kind: *kind };
        self.kept.iter().map(enter).collect()
    }

    fn kill(&self) -> Result<(), Error> {
        self.process.signal(Signal::KILL).map(drop).map_err(wall(COMPLETING))
    }

    fn wait_for_end(&self) -> Result<(), Error> {
        self.process.wait_for_end().map_err(wall(COMPLETING))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Long dead unless something failed in between.
        let _ = self.kill();
    }
}
