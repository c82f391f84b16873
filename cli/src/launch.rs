//! From what a run asks for to a sandbox: the one way, whoever runs it, the command in the
//! foreground or a sandbox's supervisor.

use std::os::fd::BorrowedFd;

use bulkhead_image::Image;
use bulkhead_image::spec::RunOptions;
use bulkhead_image::volume::Mounts;
use bulkhead_microvm::StartFrom;
use bulkhead_runtime::{
    Bundle, Create, Instant, Isolation, Runtime, Sandbox, SandboxId, Stdio,
};
use oci_spec::runtime::Spec;

use crate::args::{RunArgs, WallChoice};
use crate::context::{Context, Guest};
use crate::failure::Failure;
use crate::mounts;
use crate::verbs::network::{self, Called, Connection};
use crate::verbs::{advise, pool};
use crate::{privileges, pulling, terminal};

/// What differs from one launch of the same run to another.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Name of the sandbox; without one, a prepared sandbox may be used, or the name is
    /// random.
    pub id: Option<&'a SandboxId>,
    /// The name it gets instead of a random one.
    pub otherwise: Option<&'a SandboxId>,
    /// The workload's standard streams.
    pub stdio: Stdio,
    /// The `request` clock.
    pub requested: Instant,
}

/// A sandbox and what it was made with.
pub struct Launched {
    /// The sandbox.
    pub sandbox: Box<dyn Sandbox>,
    /// Its network, which it leaves when this is dropped.
    pub network: Connection,
    /// What made it.
    pub runtime: Box<dyn Runtime>,
    /// Held as long as the sandbox lives: that keeps it from being removed.
    pub image: Image,
    /// What was made a sandbox.
    pub bundle: Bundle,
    /// The volumes it uses; let go after it.
    #[expect(dead_code, reason = "held, and let go after the sandbox")]
    pub mounts: Mounts,
}

impl Launched {
    /// Starts the workload, unless `interrupt` becomes readable first.
    pub fn start(&mut self, interrupt: Option<BorrowedFd<'_>>) -> Result<(), Failure> {
        Ok(self.sandbox.start(interrupt)?)
    }

    /// Removes everything that was made for it.
    pub fn delete(&mut self) -> Result<(), Failure> {
        self.sandbox.delete()?;
        self.network.leave()
    }
}

/// The wall that is asked for.
pub fn wall(context: &Context, args: &RunArgs) -> Result<Isolation, Failure> {
    match args.isolation {
        WallChoice::Fixed(wall) => Ok(wall),
        WallChoice::Auto => advise::choose(context, &args.trust, args.limits.memory),
    }
}

/// Makes the sandbox, up to the start of its workload.
pub fn create(
    context: &Context,
    args: &RunArgs,
    isolation: Isolation,
    asked: Asked<'_>,
) -> Result<Launched, Failure> {
    let runtime = runtime(context, args, isolation)?;
    if args.warm_pool.is_some() {
        pool::can_prepare(&*runtime)?;
    }
    let (image, mut bundle) = bundle(context, args, isolation)?;
    let mounts = mounts::resolve(context, args, &image, &mut bundle)?;
    network::adapt(&args.network, isolation, &mut bundle.spec)?;
    // A prepared sandbox has its name already.
    let prepared = match args.cold || asked.id.is_some() {
        true => None,
        false => runtime.claim(&bundle)?,
    };
    let id = match (asked.id, &prepared, asked.otherwise) {
        (Some(name), ..) | (None, None, Some(name)) => name.clone(),
        (None, Some(claim), _) => claim.id().clone(),
        (None, None, None) => SandboxId::random()?,
    };
    let hostname = args.hostname.clone().unwrap_or_else(|| id.to_string());
    let called = Called { id: &id, hostname: &hostname, name: args.name.as_ref() };
    let joined = network::join(context, &args.network, isolation, &image, called);
    let mut network = match joined {
        Ok(network) => network,
        Err(failure) => {
            if prepared.is_some() {
                drop(prepared);
                // What went wrong matters more than what cannot be removed, which is
                // found again.
                let _ = runtime.purge(&id);
            }
            return Err(failure);
        }
    };
    bundle.spec.set_hostname(Some(hostname));
    let request = Create {
        init: args.process.init,
        requested: asked.requested,
        interface: network.interface(),
        files: network.files(),
        ..Create::attached(&id, &bundle, asked.stdio)
    };
    let sandbox = match prepared {
        Some(claim) => runtime.complete(claim, request)?,
        None => runtime.create(request)?,
    };
    network.connect(isolation, &*sandbox)?;
    Ok(Launched { sandbox, network, runtime, image, bundle, mounts })
}

/// The runtime of a wall; a microVM begins where the command line says.
fn runtime(
    context: &Context,
    args: &RunArgs,
    isolation: Isolation,
) -> Result<Box<dyn Runtime>, Failure> {
    let start = match (&args.from_snapshot, args.cold) {
        (Some(name), _) => from_snapshot(context, args, name)?,
        (None, true) => StartFrom::Kernel,
        (None, false) => StartFrom::Template(context.templates()),
    };
    match isolation {
        Isolation::MicroVm => Ok(Box::new(context.microvm_from(guest(args), start)?)),
        _ if args.from_snapshot.is_some() => {
            Err(Failure::new("only a microVM can go on from a snapshot")
                .hint("add --isolation microvm"))
        }
        other => context.runtime(other, guest(args)),
    }
}

fn from_snapshot(context: &Context, args: &RunArgs, name: &str) -> Result<StartFrom, Failure> {
    let snapshot = context.snapshots().open(name)?;
    let manifest = &snapshot.manifest;
    let told = manifest.application.as_ref().is_some_and(|it| it.hands_over);
    if manifest.running && !told && !args.command.is_empty() {
        return Err(Failure::new("a workload runs in this snapshot; it takes no other")
            .hint("leave the command out"));
    }
    Ok(StartFrom::Snapshot(snapshot.dir().to_owned()))
}

/// The image as this wall takes it, with the options of the command line but the
/// host name.
fn bundle(
    context: &Context,
    args: &RunArgs,
    isolation: Isolation,
) -> Result<(Image, Bundle), Failure> {
    let image = pulling::image(context, &args.image, args.pull)?;
    let (options, disk) = (options(args), guest(args).root_disk);
    let mut bundle = context.bundle(&image, isolation, disk, &options, &args.privileges)?;
    terminal::size_of(&mut bundle);
    Ok((image, bundle))
}

fn options(args: &RunArgs) -> RunOptions {
    let options = args.process.options(&args.command, args.limits.options());
    let (terminal, limits) = (args.terminal.tty, args.resources.limits());
    let options = RunOptions { terminal, limits, ..options };
    privileges::capabilities(&args.privileges, options)
}

/// What will be run, without making anything for it.
pub fn spec(
    context: &Context,
    args: &RunArgs,
    isolation: Isolation,
    image: &Image,
) -> Result<Spec, Failure> {
    context.spec(image, isolation, &options(args), &args.privileges)
}

fn guest(args: &RunArgs) -> Guest<'_> {
    Guest {
        kernel: args.kernel.as_deref(),
        root_disk: args.root_disk.into(),
        prefetch: args.restore.into(),
    }
}
