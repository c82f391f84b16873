//! Building a container, up to the order to start.

use std::path::Path;

use bulkhead_runtime::{Create, Error, Isolation, Record, SandboxId, StateDir, Timeline};
use oci_spec::runtime::{LinuxResources, Spec};

use crate::cgroup::{self, Cgroup, Entry, Layout};
use crate::container::{Container, Parts};
use crate::error::{ContainerError, wall};
use crate::plan::{self, Plan, Setting, Step};
use crate::spawn::{self, Recipe};

/// What the caller was told to be doing when it failed.
const STEP: &str = "creating the container";

/// Builds the container `request` asks for. On failure nothing of it remains:
/// the half-built [`Container`] takes back what it has when it is dropped.
pub(crate) fn create(root: &Path, request: Create<'_>) -> Result<Container, Error> {
    let spec = &request.bundle.spec;
    let scratch = root.join(request.id);
    let setting = Setting::of(&scratch, &request);
    // Nothing exists yet while this can still refuse.
    let mut plan = Plan::new(request.bundle, setting).map_err(wall(STEP))?;
    let cgroup = find_cgroup(spec, request.id).map_err(wall(STEP))?;

    let record = Record::creating(request.id, Isolation::Container, request.lifetime);
    let state = StateDir::create(root, &record)?;
    let mut container = Container::new(Parts {
        state,
        record,
        cgroup,
        command: command_name(spec),
        launch: plan.launch.iter().map(ToString::to_string).collect(),
        timeline: Timeline::starting_at(request.requested),
        init: request.init,
    })?;
    // Before the cgroup, since only the spec tells where an unusual one is.
    container.state().write_config(spec)?;
    if let Some(changes) = request.changes {
        plan::make_kept(changes)
            .map_err(ContainerError::io("make the directories of the writable layer"))
            .map_err(wall(STEP))?;
    }
    let entry = enter_cgroup(&mut container, spec).map_err(wall(STEP))?;
    add_cgroup_steps(&mut plan, entry.as_ref());

    let recipe = Recipe::first(&plan, request.init, entry.as_ref());
    let stdio = container.keep_for_terminal(spec, request.stdio).map_err(wall(STEP))?;
    let child = spawn::spawn(&recipe, stdio).map_err(wall(STEP))?;
    let child = container.adopt(child);
    if plan.namespaces.user {
        child.map(&plan.mappings).map_err(wall(STEP))?;
    }
    container.set_up(&plan.setup, STEP)?;
    Ok(container)
}

pub(crate) fn command_name(spec: &Spec) -> String {
    let args = spec.process().as_ref().and_then(|process| process.args().as_ref());
    args.and_then(|args| args.first()).cloned().unwrap_or_default()
}

/// The container's cgroup, not yet made; none where the host has no cgroups.
pub(crate) fn find_cgroup(
    spec: &Spec,
    id: &SandboxId,
) -> Result<Option<Box<dyn Cgroup>>, ContainerError> {
    let path = cgroup::path(spec, id)?;
    Ok(Layout::detect().ok().map(|layout| cgroup::at(&layout, &path)))
}

/// Makes the cgroup. Where that is impossible the container runs without, but
/// only if nothing was to be limited.
pub(crate) fn enter_cgroup(
    container: &mut Container,
    spec: &Spec,
) -> Result<Option<Entry>, ContainerError> {
    let nothing = LinuxResources::default();
    let limits = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let limits = limits.unwrap_or(&nothing);
    let error = match container.cgroup() {
        Some(cgroup) => match cgroup.create(limits) {
            Ok(entry) => return Ok(Some(entry)),
            Err(error) if error.is_permission() => error,
            Err(error) => return Err(error.into()),
        },
        None => cgroup::CgroupError::NotMounted,
    };
    let privileged = rustix::process::geteuid().is_root();
    if cgroup::limits_anything(limits) || privileged {
        return Err(ContainerError::LimitsWithoutCgroups(error));
    }
    if !container.is_attached() {
        return Err(ContainerError::DetachedWithoutCgroups(error));
    }
    container.forget_cgroup();
    Ok(None)
}

/// The child joins first, so that all it makes is counted as the container's;
/// the cgroup namespace begins at the cgroup its maker is in.
pub(crate) fn add_cgroup_steps(plan: &mut Plan, entry: Option<&Entry>) {
    let mut first = joining(entry);
    if plan.namespaces.cgroup {
        first.push(Step::Unshare(libc::CLONE_NEWCGROUP));
    }
    plan.setup.splice(0..0, first);
}

/// How a child joins a cgroup that it is not cloned into.
pub(crate) fn joining(entry: Option<&Entry>) -> Vec<Step> {
    entry.into_iter().flat_map(Entry::tasks).map(Step::JoinCgroup).collect()
}
