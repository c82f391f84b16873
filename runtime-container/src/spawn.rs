//! The parent half: `clone3`, the conversation with the child, the user
//! namespace's mappings.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use bulkhead_runtime::{Error, Stdio};
use oci_spec::runtime::LinuxIdMapping;
use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::cgroup::Entry;
use crate::child::keeper::{self, Kept};
use crate::child::{self, Launch, Script, Then};
use crate::error::{ContainerError, wall};
use crate::message::{Message, Order};
use crate::plan::{Mappings, Plan, Step};
use crate::sys::{self, Errno};
use crate::workload::Workload;

/// What a child is made from.
#[derive(Debug)]
pub(crate) struct Recipe<'a> {
    pub clone_flags: u64,
    pub setup: &'a [Step],
    pub then: Then<'a>,
    pub entry: Option<&'a Entry>,
}

impl<'a> Recipe<'a> {
    /// The first process of a container, as `plan` says.
    pub(crate) fn first(plan: &'a Plan, init: bool, entry: Option<&'a Entry>) -> Self {
        let (steps, command, terminal) = (&plan.launch, &plan.command, plan.terminal);
        let then = Then::Launch(Launch { steps, command, init, terminal });
        let clone_flags = plan.namespaces.clone_flags;
        Self { clone_flags, setup: &plan.setup, then, entry }
    }
}

/// A process of a container and, until it has become the workload, our end of
/// the conversation with it.
#[derive(Debug)]
pub(crate) struct Child {
    pub workload: Workload,
    sync: Option<OwnedFd>,
}

/// Both ends of a conversation and the streams of whoever is to be the child.
struct Descriptors {
    ours: OwnedFd,
    theirs: OwnedFd,
    stdio: [OwnedFd; 3],
}

impl Descriptors {
    fn new(stdio: Stdio) -> Result<Self, ContainerError> {
        let kind = SocketType::SEQPACKET;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
            .map_err(|errno| ContainerError::io("make a socket pair")(errno.into()))?;
        let stdio = [
            above_streams(stdio.stdin)?,
            above_streams(stdio.stdout)?,
            above_streams(stdio.stderr)?,
        ];
        Ok(Self { ours, theirs, stdio })
    }

    fn script<'a>(&self, recipe: &Recipe<'a>) -> Script<'a> {
        Script {
            setup: recipe.setup,
            then: recipe.then,
            sync: self.theirs.as_raw_fd(),
            parents_end: self.ours.as_raw_fd(),
            stdio: self.stdio.each_ref().map(AsRawFd::as_raw_fd),
        }
    }
}

/// Makes the child; it begins with its set-up at once.
pub(crate) fn spawn(recipe: &Recipe<'_>, stdio: Stdio) -> Result<Child, ContainerError> {
    let descriptors = Descriptors::new(stdio)?;
    let script = descriptors.script(recipe);
    let workload = with_descriptor(|pidfd| {
        // SAFETY: the child runs `child::run`, which makes raw system calls only and
        // does not return.
        match unsafe { clone(recipe.clone_flags, recipe.entry, pidfd) }? {
            0 => child::run(&script),
            pid => Ok(pid),
        }
    })?;
    Ok(Child { workload, sync: Some(descriptors.ours) })
}

/// Makes a keeper, which makes the child and holds `kept`; returns our end of the
/// conversation with the child.
pub(crate) fn spawn_kept(
    recipe: &Recipe<'_>,
    listener: &OwnedFd,
    lock: &OwnedFd,
    held: &[OwnedFd],
) -> Result<OwnedFd, ContainerError> {
    let null = Stdio::null().map_err(ContainerError::io("open /dev/null"))?;
    let descriptors = Descriptors::new(null)?;
    let script = descriptors.script(recipe);
    let own = [listener, &descriptors.ours, lock];
    let all: Vec<RawFd> = own.into_iter().chain(held).map(AsRawFd::as_raw_fd).collect();
    let kept = Kept {
        listener: listener.as_raw_fd(),
        conversation: descriptors.ours.as_raw_fd(),
        lock: lock.as_raw_fd(),
        all: &all,
    };
    let first = with_descriptor(|pidfd| {
        // SAFETY: the child runs `keeper::run`, which makes raw system calls only and
        // does not return.
        match unsafe { clone(0, None, pidfd) }? {
            // SAFETY: as above, of `child::run`.
            0 => keeper::run(&script, &kept, |pidfd| unsafe {
                clone(recipe.clone_flags, recipe.entry, pidfd)
            }),
            pid => Ok(pid),
        }
    })?;
    first.wait_for_end()?;
    Ok(descriptors.ours)
}

/// A descriptor that is not itself one of the three it will become.
pub(crate) fn above_streams(fd: OwnedFd) -> Result<OwnedFd, ContainerError> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    fcntl_dupfd_cloexec(&fd, 3)
        .map_err(|errno| ContainerError::io("duplicate a stream")(errno.into()))
}

/// The process that `make` makes, which gets the place for its descriptor.
fn with_descriptor(
    make: impl FnOnce(&mut RawFd) -> Result<usize, Errno>,
) -> Result<Workload, ContainerError> {
    let mut pidfd = -1;
    let pid = make(&mut pidfd).map_err(|errno| ContainerError::Clone(errno.into()))?;
    // SAFETY: the kernel made the descriptor for us (CLONE_PIDFD).
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Workload::new(i32::try_from(pid).unwrap_or(-1), pidfd))
}

/// `clone3` with a descriptor of the child in `pidfd`; only raw system calls.
///
/// # Safety
///
/// As for [`sys::clone3`].
unsafe fn clone(flags: u64, entry: Option<&Entry>, pidfd: &mut RawFd) -> Result<usize, Errno> {
    // SAFETY: all of clone_args is plain numbers for which zero means "none".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | clone_flag(libc::CLONE_PIDFD) | CLONE_CLEAR_SIGHAND;
    args.pidfd = std::ptr::from_mut(pidfd).addr() as u64;
    args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    if let Some(Entry::Clone(cgroup)) = entry {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    // SAFETY: the caller's promise.
    unsafe { sys::clone3(&mut args) }
}

// linux/sched.h; these do not fit the C int the libc crate has them in.
const CLONE_CLEAR_SIGHAND: u64 = 1 << 32;
const CLONE_INTO_CGROUP: u64 = 1 << 33;

fn clone_flag(flag: i32) -> u64 {
    u64::from(flag.cast_unsigned())
}

impl Child {
    /// A process that somebody else started.
    pub(crate) fn found(workload: Workload) -> Self {
        Self { workload, sync: None }
    }

    /// One that somebody else prepared, with our end of the conversation with it.
    pub(crate) fn taken(workload: Workload, sync: OwnedFd) -> Self {
        Self { workload, sync: Some(sync) }
    }

    fn socket(&self) -> Result<RawFd, ContainerError> {
        self.sync.as_ref().map(AsRawFd::as_raw_fd).ok_or(ContainerError::Died)
    }

    /// Writes the user namespace's mappings, which the child waits for.
    pub(crate) fn map(&self, mappings: &Mappings) -> Result<(), ContainerError> {
        let proc = format!("/proc/{}", self.workload.pid);
        let write = |file: &str, text: &str| {
            fs::write(format!("{proc}/{file}"), text)
                .map_err(ContainerError::io("map the users of the container"))
        };
        write("uid_map", &table(&mappings.uids))?;
        if !rustix::process::geteuid().is_root() {
            // Otherwise a user could drop a group that denies access
            // (user_namespaces(7)).
            write("setgroups", "deny")?;
        }
        write("gid_map", &table(&mappings.gids))?;
        Order::Mapped
            .send(self.socket()?, None)
            .map_err(|errno| ContainerError::io("talk to the container")(errno.into()))
    }

    /// Waits for the child to have set itself up. `setup` are its steps, to
    /// describe the one that failed.
    pub(crate) fn ready(&self, setup: &[Step]) -> Result<Ready, ContainerError> {
        ready(self.socket()?, setup)
    }

    /// Orders the child to become the workload and waits until it has. `launch`
    /// describes its steps, `command` what it executes; `terminal` takes the place of
    /// its streams. False when there is no child waiting for the order.
    pub(crate) fn launch(
        &mut self,
        launch: &[String],
        command: &str,
        terminal: Option<OwnedFd>,
    ) -> Result<bool, Error> {
        const STEP: &str = "starting the workload";
        let Some(sync) = self.sync.take() else { return Ok(false) };
        // A child that is gone already shows as the end of the conversation.
        let _ = Order::Start.send(sync.as_raw_fd(), terminal.as_ref().map(AsRawFd::as_raw_fd));
        // Only the workload has it from here on.
        drop(terminal);
        let answer = Message::receive(sync.as_raw_fd()).map_err(|errno| {
            wall(STEP)(ContainerError::io("talk to the container")(errno.into()))
        })?;
        let command = || command.to_owned();
        match answer {
            None => Ok(true),
            Some(Message::ExecFailed { errno: libc::ENOENT | libc::ENOTDIR }) => {
                Err(Error::WorkloadNotFound { command: command() })
            }
            Some(Message::ExecFailed { errno }) => Err(Error::WorkloadNotExecutable {
                command: command(),
                source: io::Error::from_raw_os_error(errno),
            }),
            Some(Message::LaunchFailed { step, errno }) => {
                let step = launch.get(step).cloned().unwrap_or_default();
                let source = io::Error::from_raw_os_error(errno);
                Err(wall(STEP)(ContainerError::Step { step, source }))
            }
            Some(_) => Err(wall(STEP)(ContainerError::Died)),
        }
    }
}

/// When the child got where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    pub rootfs: bulkhead_runtime::Instant,
    pub created: bulkhead_runtime::Instant,
}

/// Waits for the child at the other end of `socket` to have taken the steps of `setup`.
pub(crate) fn ready(socket: RawFd, setup: &[Step]) -> Result<Ready, ContainerError> {
    match Message::receive(socket) {
        Ok(Some(Message::Ready { rootfs, created })) => Ok(Ready { rootfs, created }),
        Ok(Some(Message::SetupFailed { step, errno })) => Err(step_error(setup, step, errno)),
        Ok(Some(Message::NotMade { errno })) => {
            Err(ContainerError::Clone(io::Error::from_raw_os_error(errno)))
        }
        Ok(_) => Err(ContainerError::Died),
        Err(errno) => Err(ContainerError::io("talk to the container")(errno.into())),
    }
}

fn step_error(steps: &[Step], index: usize, errno: i32) -> ContainerError {
    let step = steps.get(index).map(ToString::to_string).unwrap_or_default();
    ContainerError::Step { step, source: io::Error::from_raw_os_error(errno) }
}

fn table(mappings: &[LinuxIdMapping]) -> String {
    let mut table = String::new();
    for mapping in mappings {
        let (inside, outside) = (mapping.container_id(), mapping.host_id());
        let _ = writeln!(table, "{inside} {outside} {}", mapping.size());
    }
    table
}
