//! The process that runs one microVM.
//!
//! Two threads: one runs the virtual processor and serves its accesses, the
//! other waits for everything else (host sockets, the clock, the end of either
//! process). They meet in the devices, one at a time.

pub(crate) mod channel;
pub(crate) mod config;
pub(crate) mod control;
mod event_loop;
pub(crate) mod kick;
mod pause;
mod processor;
mod raw;
pub(crate) mod report;
pub(crate) mod request;
mod seccomp;
mod slice;
pub(crate) mod waiting;

use std::error::Error as _;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use bulkhead_runtime::Clock;
use nix::sys::epoll::{Epoll, EpollCreateFlags};

use crate::config::Prefetch;
use crate::devices::virtio::fs::{Ask, Asker};
use crate::devices::virtio::net::Net;
use crate::devices::virtio::vsock::Vsock;
use crate::machine::{
    Guest, Linux, Machine, MachineConfig, MachineError, NET_TOKEN, Rest, Saved,
};
use crate::snapshot::{self, Snapshot, SnapshotError, WorkingSet};
use crate::timeline::SharedTimeline;
use channel::Channel;
use config::{MonitorConfig, files};
use report::{Report, SetupFailure};

/// A monitor that could not begin its work.
#[derive(Debug, thiserror::Error)]
enum MonitorError {
    /// The configuration did not arrive.
    #[error("cannot read the configuration from standard input")]
    Config(#[source] io::Error),
    /// The process could not be set up.
    #[error("cannot {action}")]
    Process {
        action: &'static str,
        #[source]
        source: io::Error,
    },
    /// The machine could not be built.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The snapshot it goes on from cannot be used.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The system-call filter could not be made or loaded.
    #[error("cannot load the system-call filter")]
    Seccomp(#[source] seccompiler::Error),
    /// The capabilities could not be given up.
    #[error("cannot give up the capabilities")]
    Capabilities(#[source] caps::errors::CapsError),
}

fn process(action: &'static str) -> impl FnOnce(io::Error) -> MonitorError {
    move |source| MonitorError::Process { action, source }
}

/// First argument of the monitor that makes it the vsock device of another one.
pub const VHOST_VSOCK: &str = "--vhost-user-vsock";

/// The monitor's `main`: `bulkhead microvm-monitor` and nothing before it,
/// since every millisecond here is a millisecond of the guest's start.
///
/// `args` are those behind the verb: the state directory, which only serves to
/// recognise the process, or `--raw FILE` to run a few bytes of machine code.
pub fn monitor_main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    // SAFETY: no other thread runs yet. One heap for both threads: a second would
    // cost its thread a mapping of 64 MiB and the process a page more.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    if args.first().is_some_and(|flag| flag == crate::files::FILES) {
        return crate::files::main();
    }
    if let [flag, file] = &args[..]
        && flag == "--raw"
    {
        return raw::run(file.as_ref());
    }
    if let [flag, path] = &args[..]
        && flag == VHOST_VSOCK
    {
        return serve_vsock(path.into());
    }
    // SAFETY: standard input is the channel, by the contract with the process that
    // started us; nothing else in this process uses it.
    let channel = Channel::from_fd(unsafe { OwnedFd::from_raw_fd(libc::STDIN_FILENO) });
    match run(&channel) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let failure = Report::NotCreated(SetupFailure::from_error(&error));
            // Nobody may be there to hear it.
            drop(channel.send(&failure, &[]));
            ExitCode::FAILURE
        }
    }
}

/// Is the vsock device of another monitor, whose guest's connections come out at
/// `path`.
fn serve_vsock(path: PathBuf) -> ExitCode {
    // SAFETY: standard input is a listening socket, by the contract with the process
    // that started us; nothing else in this process uses it.
    let listener = unsafe { UnixListener::from_raw_fd(libc::STDIN_FILENO) };
    match crate::vhost_user::serve(&listener, path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let source = error.source().map(ToString::to_string).unwrap_or_default();
            eprintln!("{error}: {source}");
            ExitCode::FAILURE
        }
    }
}

fn run(channel: &Channel) -> Result<(), MonitorError> {
    let (config, mut kept) = channel
        .receive::<MonitorConfig>(true)
        .and_then(|message| message.ok_or(io::ErrorKind::UnexpectedEof.into()))
        .map_err(MonitorError::Config)?;
    let signals = event_loop::die_with((!config.waits).then_some(config.parent))?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
        .map_err(|errno| process("make an epoll descriptor")(errno.into()))?;
    let epoll = Arc::new(epoll);
    let timeline = SharedTimeline::open(&config.state_dir.join(files::TIMELINE))
        .map_err(process("map the timeline"))?;
    let timeline = Arc::new(timeline);

    let net = card(&config, &mut kept, &epoll)?;
    let files = asker(&config, &mut kept).map_err(process("reach the file server"))?;
    let machine = match &config.restore {
        Some(dir) => restore(dir, &config, &timeline, &epoll, net, files)?,
        None => build(&config, &timeline, &epoll, net, files)?,
    };
    give_up_capabilities()?;
    let Machine { vcpu, io, rest } = machine;
    let filters = config.seccomp.then(|| seccomp::filters(config.card)).transpose()?;
    let control =
        control::Control::listen(&config.state_dir).map_err(process("listen for requests"))?;
    let taker = match config.waits {
        false => None,
        true => {
            let taker = wait(channel, &control, &config, &timeline, &kept)?;
            Some(connected(taker, &rest, &epoll)?)
        }
    };
    // The taker has its own.
    drop(kept);
    let channel = taker.as_ref().unwrap_or(channel);
    timeline.mark(Clock::SandboxCreated);
    let (vcpu_filter, own_filter) = filters.unzip();
    let limits = processor::Limits {
        cpu: config.cpu_limit,
        long_slices: config.emulated,
        filter: vcpu_filter,
    };
    let processor = processor::start(vcpu, io, rest.ram.clone(), timeline.clone(), limits)
        .map_err(process("start the processor's thread"))?;

    let fds: Vec<_> = rest.stats.iter().map(AsFd::as_fd).collect();
    channel.send(&Report::Created, &fds).map_err(process("report to the caller"))?;
    let watched = event_loop::Watched {
        channel,
        processor: &processor,
        timeline: &timeline,
        signals,
        config: &config,
    };
    event_loop::run(&watched, control, &rest, &epoll, own_filter)
}

/// Reports that the machine is there to be taken and waits until it is; by whom. What was seen before is not part of what it sees.
fn wait(
    maker: &Channel,
    control: &control::Control,
    config: &MonitorConfig,
    timeline: &SharedTimeline,
    kept: &[OwnedFd],
) -> Result<waiting::Taker, MonitorError> {
    maker.send(&Report::Created, &[]).map_err(process("report to the caller"))?;
    let taker =
        waiting::for_taker(control, config, kept).map_err(process("wait to be taken"))?;
    timeline.forget();
    Ok(taker)
}

/// Connects the machine to the taker's network; the channel to the taker, who is told if
/// that fails.
fn connected(
    taker: waiting::Taker,
    rest: &Rest,
    epoll: &Arc<Epoll>,
) -> Result<Channel, MonitorError> {
    if let Some((link, tap)) = taker.network
        && let Some(devices) = &rest.devices
        && let Err(error) = devices.plug(link, tap, epoll.clone())
    {
        let error = MachineError::from(error);
        let failure = Report::NotCreated(SetupFailure::from_error(&error));
        // It may be gone as well.
        drop(taker.channel.send(&failure, &[]));
        return Err(error.into());
    }
    Ok(taker.channel)
}

/// The network card, connected if there is a network: its tap device is the first of
/// `kept`.
fn card(
    config: &MonitorConfig,
    kept: &mut Vec<OwnedFd>,
    epoll: &Arc<Epoll>,
) -> Result<Option<Net>, MachineError> {
    let mut net = config.card.then(Net::new);
    if let (Some(net), Some(link)) = (&mut net, config.link)
        && !kept.is_empty()
    {
        net.plug(link, kept.remove(0), epoll.clone(), NET_TOKEN)?;
    }
    Ok(net)
}

/// Everything is open: from here on a guest that broke out of its machine would
/// find a process of root that may do no more than any other user. Before the
/// first thread, because each has its own (capabilities(7)).
fn give_up_capabilities() -> Result<(), MonitorError> {
    use caps::CapSet::{Effective, Inheritable, Permitted};
    for set in [Effective, Permitted, Inheritable] {
        caps::clear(None, set).map_err(MonitorError::Capabilities)?;
    }
    Ok(())
}

fn build(
    config: &MonitorConfig,
    timeline: &Arc<SharedTimeline>,
    epoll: &Arc<Epoll>,
    net: Option<Net>,
    files: Option<Box<dyn Ask>>,
) -> Result<Machine, MonitorError> {
    let console = config
        .console
        .then(|| std::fs::File::create(config.state_dir.join(files::CONSOLE)))
        .transpose()
        .map_err(process("make the console log"))?;
    let vsock = vsock(config, epoll)?;
    let machine = Machine::build(MachineConfig {
        memory_mib: config.memory_mib,
        guest: Guest::Linux(Box::new(Linux {
            kernel: config.kernel.clone(),
            extra_command_line: config.command_line.clone(),
            disk: config.disk.clone(),
            root_disk: config.root_disk,
            vsock,
            entropy_device: config.entropy_device,
            balloon: config.balloon,
            net,
            files: config.shares.then_some(files),
            console,
        })),
        timeline: timeline.clone(),
        intel: config.intel,
    })?;
    Ok(machine)
}

/// The way to the file server, if there is one: of the descriptors that came, the last two.
fn asker(config: &MonitorConfig, fds: &mut Vec<OwnedFd>) -> io::Result<Option<Box<dyn Ask>>> {
    if !config.served {
        return Ok(None);
    }
    let (window, socket) = (fds.pop(), fds.pop());
    let (window, socket) = window.zip(socket).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(Some(Box::new(Asker::new(socket, window)?)))
}

fn vsock(config: &MonitorConfig, epoll: &Arc<Epoll>) -> Result<Vsock, MachineError> {
    Ok(Vsock::new(config.state_dir.join(files::VSOCK), epoll.clone())?)
}

/// Goes on from the snapshot in `dir`, which the process that started us has
/// compared with what it wants.
fn restore(
    dir: &Path,
    config: &MonitorConfig,
    timeline: &Arc<SharedTimeline>,
    epoll: &Arc<Epoll>,
    net: Option<Net>,
    files: Option<Box<dyn Ask>>,
) -> Result<Machine, MonitorError> {
    let snapshot = Snapshot::open(dir)?;
    let ram = snapshot::map(&snapshot.memory(), &snapshot.manifest.memory, config.memory_mib)?;
    match config.prefetch {
        Prefetch::Lazy => {}
        Prefetch::Eager => {
            let bytes = snapshot.manifest.memory.len();
            snapshot::populate_all(&ram, &snapshot.memory(), bytes)?;
        }
        Prefetch::WorkingSet => {
            if let Some(set) = WorkingSet::load(dir) {
                set.prefetch(&ram);
            }
        }
    }
    timeline.mark(Clock::MemoryMapped);
    let machine = Machine::restore(Saved {
        ram,
        memory_mib: config.memory_mib,
        state: snapshot.machine()?,
        disk: config.disk.clone(),
        vsock: vsock(config, epoll)?,
        net,
        files,
        timeline: timeline.clone(),
        intel: config.intel,
    })?;
    timeline.mark(Clock::StateRestored);
    Ok(machine)
}
