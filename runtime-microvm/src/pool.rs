//! MicroVMs made ahead: restored from their template, not yet going on.
//!
//! There is no keeper beside the monitor: that holds the machine, the sandbox's lock
//! and the socket on which the guest's PID 1 has called, and waits for somebody to ask
//! for them ([`crate::monitor::waiting`]). Whoever does becomes the one it serves and
//! dies with. Up to then not an instruction of the guest has run since it was saved,
//! so that what a clone gets afresh it gets from its taker, and when it is taken.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use bulkhead_runtime::pool::{Claim, Offer, Pool, PoolKey};
use bulkhead_runtime::{
    Bundle, Clock, Create, Error, Isolation, Lifetime, Prepare, Record, StateDir, Timeline,
};

use crate::affinity;
use crate::config::{Console, StartFrom};
use crate::error::{MicroVmError, io_error, wall};
use crate::hosting;
use crate::monitor::config::{MonitorConfig, files};
use crate::monitor_process::{MonitorProcess, Taken};
use crate::runtime::MicroVmRuntime;
use crate::sandbox::{MicroVm, Parts};
use crate::saving::Save;
use crate::session::convert;
use crate::snapshot::Snapshots;
use crate::template;
use crate::timeline::SharedTimeline;

/// What the caller was told to be doing when it failed.
const PREPARING: &str = "preparing a microVM";
const CLAIMING: &str = "looking for a prepared microVM";
const COMPLETING: &str = "completing a prepared microVM";

/// Where the templates are that machines are prepared from; `None` when machines begin
/// elsewhere.
pub(crate) fn templates(runtime: &MicroVmRuntime) -> Option<&Snapshots> {
    let config = runtime.config();
    match &config.start {
        StartFrom::Template(templates) if config.console != Console::Always => Some(templates),
        _ => None,
    }
}

/// The key under which a machine for `bundle` is offered: beside the bundle, what its
/// template is found by.
pub(crate) fn key(runtime: &MicroVmRuntime, bundle: &Bundle) -> Result<PoolKey, Error> {
    key_of(&wanted(runtime, bundle, PREPARING)?, bundle)
}

/// The machine that `bundle` needs, for whichever sandbox.
fn wanted(
    runtime: &MicroVmRuntime,
    bundle: &Bundle,
    step: &'static str,
) -> Result<MonitorConfig, Error> {
    runtime.monitor_config(bundle, Path::new("")).map_err(wall(step))
}

fn key_of(config: &MonitorConfig, bundle: &Bundle) -> Result<PoolKey, Error> {
    let machine = template::template_for(config).key();
    let machine = machine.map_err(|error| wall(PREPARING)(error.into()))?;
    Ok(PoolKey::of(Isolation::MicroVm, bundle, &machine)?)
}

/// Takes a prepared machine that fits `bundle` out of the pool, if there is one.
pub(crate) fn claim(runtime: &MicroVmRuntime, bundle: &Bundle) -> Result<Option<Claim>, Error> {
    let pool = Pool::at(&runtime.config().root);
    let Some(templates) = templates(runtime).filter(|_| !pool.is_empty()) else {
        return Ok(None);
    };
    // Where its application waits as well, a run goes on from there.
    let start = convert::workload(bundle, false, true)
        .map_err(|error| wall("reading the bundle")(error.into()))?;
    let config = wanted(runtime, bundle, CLAIMING)?;
    let has_application = template::has_application(templates, &config, &start);
    if has_application.map_err(|error| wall(CLAIMING)(error.into()))? {
        return Ok(None);
    }
    Ok(pool.claim(&key_of(&config, bundle)?)?)
}

/// Restores a machine and leaves it in the pool. On failure nothing of it remains, but
/// for the template, which is made if there is none.
pub(crate) fn prepare(runtime: &MicroVmRuntime, request: &Prepare<'_>) -> Result<(), Error> {
    let Some(templates) = templates(runtime) else {
        let what = "preparing machines that do not begin at a template";
        return Err(Error::Unsupported { isolation: Isolation::MicroVm, what });
    };
    let &Prepare { id, bundle, image, .. } = request;
    if !convert::shares(bundle).is_empty() {
        // Whose file server would have to wait as well.
        let what = "preparing machines that share files of the host";
        return Err(Error::Unsupported { isolation: Isolation::MicroVm, what });
    }
    make_template(runtime, templates, request)?;
    let (pool, key) = (Pool::at(&runtime.config().root), key(runtime, bundle)?);
    let passage = pool.enter()?;
    // It dies with its owner, who is the monitor.
    let record = Record::creating(id, Isolation::MicroVm, Lifetime::Attached);
    let mut dir = StateDir::create(&runtime.config().root, &record)?;
    let kept = Pool::mark(&passage, &dir, &key).map_err(Error::from).and_then(|()| {
        let (monitor, config) = restore(runtime, templates, request, &dir)?;
        dir.write(&hosting::created(record, &monitor, &config))?;
        pool.offer(&passage, &key, &Offer::now(id, Isolation::MicroVm, image))?;
        Ok(monitor)
    });
    match kept {
        Ok(monitor) => {
            monitor.leave();
            dir.hand_over();
            Ok(())
        }
        Err(error) => {
            // The error at hand says more than one about the directory would.
            drop(dir.remove());
            Err(error)
        }
    }
}

/// Boots a machine and keeps it, unless there is a template for the bundle.
fn make_template(
    runtime: &MicroVmRuntime,
    templates: &Snapshots,
    request: &Prepare<'_>,
) -> Result<(), Error> {
    let &Prepare { id, bundle, image, .. } = request;
    let config = wanted(runtime, bundle, PREPARING)?;
    let found = template::waiting(templates, &config);
    if found.map_err(|error| wall(PREPARING)(error.into()))?.is_some() {
        return Ok(());
    }
    let save = Save {
        id,
        bundle,
        ready: None,
        init: false,
        into: templates,
        name: None,
        label: image,
        interrupt: None,
    };
    runtime.save(&save).map(drop)
}

/// A monitor with the restored machine, which waits for its taker.
fn restore(
    runtime: &MicroVmRuntime,
    templates: &Snapshots,
    request: &Prepare<'_>,
    dir: &StateDir,
) -> Result<(MonitorProcess, MonitorConfig), Error> {
    let failed = || wall(PREPARING);
    let mut config = runtime.monitor_config(request.bundle, dir.path()).map_err(failed())?;
    let template = template::waiting(templates, &config);
    let template = template.map_err(|error| failed()(error.into()))?;
    let template = template.ok_or(MicroVmError::NoTemplate).map_err(failed())?;
    config.waits = true;
    let devices = template.manifest.fingerprint.devices;
    (config.card, config.shares) = (devices.card, devices.shares);
    config.restore = Some(template.dir().to_owned());
    SharedTimeline::create(&dir.path().join(files::TIMELINE))
        .map_err(io_error("make the timeline"))
        .map_err(failed())?;
    let listener = hosting::listener(dir.path()).map_err(failed())?;
    let lock = dir.lock().map(File::as_fd);
    let held: Vec<BorrowedFd<'_>> = lock
        .into_iter()
        .chain([listener.as_fd()])
        .chain(request.held.iter().copied())
        .collect();
    let monitor = MonitorProcess::start(runtime.config(), &config, &held).map_err(failed())?;
    Ok((monitor, config))
}

/// Makes the microVM `request` asks for of the prepared one that was taken.
pub(crate) fn complete(claim: Claim, request: Create<'_>) -> Result<MicroVm, Error> {
    let failed = || wall(COMPLETING);
    request.refuse_changes(Isolation::MicroVm)?;
    let Create {
        id, bundle, stdio, init, requested, lifetime, interface, files: placed, ..
    } = request;
    hosting::refuse_detached(lifetime)?;
    let start = convert::workload(bundle, init, true)
        .and_then(|start| convert::add_network(start, interface.as_ref(), placed))
        .map_err(|error| wall("reading the bundle")(error.into()))?;
    let mut timeline = Timeline::starting_at(requested);
    let mut dir = claim.open()?;
    let taken = MonitorProcess::take(dir.path(), interface.as_ref()).map_err(failed())?;
    let Taken { monitor, config, lock, listener } = taken;
    claim.take_over(&mut dir, lock)?;
    affinity::confine_to(monitor.pid(), &bundle.spec).map_err(failed())?;
    timeline.mark(Clock::RootfsReady);
    let record = Record::creating(id, Isolation::MicroVm, lifetime);
    let record = hosting::created(record, &monitor, &config);
    dir.write(&record)?;
    dir.write_config(&bundle.spec)?;
    let shared = SharedTimeline::open(&dir.path().join(files::TIMELINE))
        .map_err(io_error("map the timeline"))
        .map_err(failed())?;
    MicroVm::new(Parts {
        record,
        dir,
        monitor,
        listener,
        stdio,
        start,
        resumes: None,
        to_record: None,
        answer_within: Some(config.boot_timeout),
        shared,
        timeline,
    })
    .map_err(failed())
}
