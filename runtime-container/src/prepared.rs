//! Containers made ahead: everything but the command.
//!
//! A prepared container is complete: its cgroup, its namespaces, its tree, and its
//! first process, which waits to be told what to become. That process is the child of
//! a keeper (`child::keeper`), the only one who learns how it ended, and who therefore
//! stays. To complete the container, its keeper is called and hands over what belongs
//! to it; the process is told the rest and goes on as any other child does.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use bulkhead_runtime::pool::{Claim, Offer, Pool, PoolKey};
use bulkhead_runtime::{
    Bundle, BundleError, Create, Error, Isolation, Lifetime, Prepare, Record, StateDir,
    StateError, Timeline,
};
use rustix::fs::{Mode, OFlags, fchmod, open};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

use crate::brief;
use crate::cgroup::Cgroup;
use crate::child::Then;
use crate::container::{Container, Parts};
use crate::create::{add_cgroup_steps, command_name, enter_cgroup, find_cgroup};
use crate::error::{ContainerError, wall};
use crate::inherit;
use crate::message::{Taken, send_lifetime};
use crate::plan::{Part, Plan, Setting};
use crate::spawn::{self, Child, Recipe};
use crate::workload::Workload;

/// What the caller was told to be doing when it failed.
const PREPARING: &str = "preparing a container";
const COMPLETING: &str = "completing a prepared container";

/// In the directory of a prepared container: the socket of its keeper.
const KEEPER: &str = "keeper";

/// The key under which a container of `bundle` is offered.
pub(crate) fn key(bundle: &Bundle) -> Result<PoolKey, BundleError> {
    PoolKey::of(Isolation::Container, bundle, brief::FORMAT)
}

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
        files: &[],
        is_first: true,
        changes: None,
    };
    let mut plan = Plan::part(bundle, setting, Part::Ahead).map_err(wall(PREPARING))?;
    let cgroup = find_cgroup(spec, id).map_err(wall(PREPARING))?;
    let (pool, key) = (Pool::at(root), key(bundle)?);

    let passage = pool.enter()?;
    // It dies with its owner, who is the keeper.
    let record = Record::creating(id, Isolation::Container, Lifetime::Attached);
    let state = StateDir::create(root, &record)?;
    let mut container = Container::new(Parts::without_workload(state, record, cgroup))?;
    Pool::mark(&passage, container.state(), &key)?;
    container.state().write_config(spec)?;
    let entry = enter_cgroup(&mut container, spec).map_err(wall(PREPARING))?;
    add_cgroup_steps(&mut plan, entry.as_ref());

    let recipe = Recipe {
        clone_flags: plan.namespaces.clone_flags,
        setup: &plan.setup,
        then: Then::Wait,
        entry: entry.as_ref(),
    };
    let first = keep(&recipe, container.state(), held)
        .and_then(|()| find_first(container.cgroup()))
        .map_err(wall(PREPARING))?;
    container.adopt(Child::found(first));
    let offer = Offer::now(id, Isolation::Container, image);
    container.leave_prepared(|| pool.offer(&passage, &key, &offer))
}

/// Has a keeper make the first process and waits for that to be set up.
fn keep(
    recipe: &Recipe<'_>,
    state: &StateDir,
    held: &[BorrowedFd<'_>],
) -> Result<(), ContainerError> {
    // Whoever called for the container could have been given it otherwise.
    let listener = keepers_socket(state, |socket, address| {
        fchmod(socket, Mode::RUSR | Mode::WUSR)?;
        bind(socket, address)?;
        listen(socket, 1)
    })?;
    let listener = spawn::above_streams(listener)?;
    let lock = state.lock().ok_or(ContainerError::Died)?;
    let lock = duplicate(lock.as_fd())?;
    let held = held.iter().copied().map(duplicate).collect::<Result<Vec<_>, _>>()?;
    let conversation = spawn::spawn_kept(recipe, &listener, &lock, &held)?;
    spawn::ready(conversation.as_raw_fd(), recipe.setup).map(drop)
}

/// A copy above the standard streams.
fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd, ContainerError> {
    fcntl_dupfd_cloexec(fd, 3)
        .map_err(|errno| ContainerError::io("duplicate a descriptor")(errno.into()))
}

/// A socket for conversations with the keeper of the sandbox in `state`, put to `use_`
/// with its address.
fn keepers_socket(
    state: &StateDir,
    use_: impl FnOnce(&OwnedFd, &SocketAddrUnix) -> rustix::io::Result<()>,
) -> Result<OwnedFd, ContainerError> {
    // By way of the directory's descriptor: an address has 108 bytes.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let made = open(state.path(), flags, Mode::empty()).and_then(|directory| {
        let path = format!("/proc/self/fd/{}/{KEEPER}", directory.as_raw_fd());
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        use_(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(socket)
    });
    made.map_err(|errno| ContainerError::io("talk to the container's keeper")(errno.into()))
}

/// The only process of a prepared container.
fn find_first(cgroup: Option<&dyn Cgroup>) -> Result<Workload, ContainerError> {
    let inside = cgroup.map(Cgroup::processes).transpose()?.unwrap_or_default();
    inside.first().and_then(|pid| Workload::open(*pid)).ok_or(ContainerError::Died)
}

/// Makes the container `request` asks for of the prepared one that was taken.
pub(crate) fn complete(
    root: &Path,
    claim: Claim,
    request: Create<'_>,
) -> Result<Container, Error> {
    debug_assert_eq!(
        Some(claim.key()),
        key(request.bundle).ok().as_ref(),
        "the prepared container is another one than was asked for"
    );
    let state = claim.open()?;
    let lost = || StateError::Lost(request.id.clone());
    // It answers while we plan.
    let call = keepers_socket(&state, |socket, address| connect(socket, address));
    let call = call.map_err(|_| lost())?;
    send_lifetime(call.as_raw_fd(), request.lifetime).map_err(|_| lost())?;

    request.refuse_changes(Isolation::Container)?;
    let spec = &request.bundle.spec;
    let scratch = root.join(request.id);
    let setting = Setting::of(&scratch, &request);
    let plan = Plan::part(request.bundle, setting, Part::Rest).map_err(wall(COMPLETING))?;
    let brief = brief::write(&plan, request.init).ok_or(ContainerError::NotLeft);
    let brief = brief.map_err(wall(COMPLETING))?;
    let mut container = Container::new(Parts {
        state,
        record: Record::creating(request.id, Isolation::Container, request.lifetime),
        cgroup: find_cgroup(spec, request.id).map_err(wall(COMPLETING))?,
        command: command_name(spec),
        launch: plan.launch.iter().map(ToString::to_string).collect(),
        timeline: Timeline::starting_at(request.requested),
        init: request.init,
    })?;
    let taken = Taken::receive(&call).ok().flatten().ok_or_else(lost)?;
    let (Taken { pid, keeper }, [conversation, lock, process]) = taken;
    container.take_over(claim, lock.into(), keeper)?;
    inherit::give(pid, spec.process().as_ref())
        .map_err(ContainerError::io("give the container what its creator has"))
        .map_err(wall(COMPLETING))?;
    let stdio = container.keep_for_terminal(spec, request.stdio).map_err(wall(COMPLETING))?;
    brief::send(&conversation, &brief, &stdio).map_err(wall(COMPLETING))?;
    // Only the workload holds its streams from here on.
    drop(stdio);
    container.adopt(Child::taken(Workload::kept(pid, process, call), conversation));
    // While the child sets itself up.
    container.state().write_config(spec)?;
    container.set_up(&plan.setup, COMPLETING)?;
    Ok(container)
}
