//! A supervisor: this program under another verb, apart from whoever started it.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio as Redirect};

use bulkhead_instances::control::{Attach, Client, Refusal, Reply, Request};
use bulkhead_instances::supervisor::{self, Launched as Supervised, Launcher};
use bulkhead_instances::{Config, Held, InstanceId, Phase};
use bulkhead_runtime::{Instant, Sandbox, SandboxId, Stdio};
use oci_spec::runtime::Process;

use crate::args::{Global, RunArgs};
use crate::context::{Context, Guest};
use crate::failure::Failure;
use crate::launch::{self, Asked, Launched};

/// The verb under which this program is a supervisor.
pub const VERB: &str = "instance-supervisor";

/// Starts a supervisor for `held`, and comes back when the workload has been exec'ed,
/// connected to it as `attach` says.
pub fn start(
    context: &Context,
    held: &mut Held,
    attach: Option<Attach>,
) -> Result<Client, Failure> {
    purge_left(context, held)?;
    held.note(|state| state.phase = Phase::Starting)?;
    let (ours, theirs) = UnixStream::pair()?;
    let mut client = Client::over(ours);
    client.send(&Request::AwaitStart(attach))?;
    let (root, store) = (std::path::absolute(&context.root)?, context.store().root());
    let mut child = Command::new("/proc/self/exe")
        .args([OsString::from(VERB), root.into(), store.into()])
        .arg(held.instance.config.id.as_str())
        // The two things it is given come where every process has something.
        .stdin(OwnedFd::from(theirs))
        .stdout(held.lock().try_clone()?)
        .stderr(Redirect::null())
        .spawn()?;
    match client.reply() {
        Ok(Reply::Started) => Ok(client),
        Ok(_) => Err(Failure::new("the sandbox's supervisor answered something else")),
        Err(error) => {
            // It has said why; what is left to do needs it gone.
            child.wait()?;
            Err(Failure::from_control(error))
        }
    }
}

/// Removes what a killed supervisor left of the sandbox, which would be in the way.
pub fn purge_left(context: &Context, held: &Held) -> Result<(), Failure> {
    let instance = &held.instance;
    if instance.state.phase.needs_supervisor()
        && let Some(sandbox) = &instance.state.sandbox
    {
        let isolation = instance.config.isolation;
        context.runtime(isolation, Guest::default())?.purge(sandbox)?;
    }
    Ok(())
}

/// The supervisor itself, until its instance has ended.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut next = || arguments.next().unwrap_or_default();
    let (root, store, id) = (next(), next(), next());
    match take_care(&Global::at(root.into(), store.into()), &id.to_string_lossy()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn take_care(global: &Global, id: &str) -> Result<(), Failure> {
    let (first, lock) = detach()?;
    let context = Context::new(global);
    let instances = context.instances();
    let id = InstanceId::try_from(id.to_owned())?;
    let held = instances.adopt(&id, lock)?;
    Ok(supervisor::supervise(&instances, held, &Launching { context: &context }, first)?)
}

/// Leaves the terminal, the directory and the descriptors of whoever started this process;
/// gives the connection to it and the instance's lock.
fn detach() -> Result<(UnixStream, File), Failure> {
    // Fails only for the leader of a group, which a child of this program is not.
    nix::unistd::setsid()?;
    // SAFETY: nothing but the standard streams is open in this process on purpose, and
    // nothing has been opened by it yet.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    let first = std::io::stdin().as_fd().try_clone_to_owned()?;
    let lock = std::io::stdout().as_fd().try_clone_to_owned()?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    nix::unistd::dup2_stderr(&null)?;
    std::env::set_current_dir("/")?;
    Ok((UnixStream::from(first), File::from(lock)))
}

/// Makes sandboxes for supervisors.
struct Launching<'a> {
    context: &'a Context,
}

impl Launching<'_> {
    fn launch(&self, config: &Config, stdio: Stdio) -> Result<Launched, Failure> {
        let mut args: RunArgs = serde_json::from_value(config.run.clone())?;
        // It may have been renamed.
        args.name = config.name.parse().ok();
        let own: SandboxId = config.id.short().parse()?;
        let asked = Asked { id: None, otherwise: Some(&own), stdio, requested: Instant::now() };
        launch::create(self.context, &args, config.isolation, asked)
    }
}

impl Launcher for Launching<'_> {
    fn create(&self, config: &Config, stdio: Stdio) -> Result<Box<dyn Supervised>, Refusal> {
        match self.launch(config, stdio) {
            Ok(launched) => Ok(Box::new(launched)),
            Err(failure) => Err(failure.of_run().refusal()),
        }
    }
}

impl Supervised for Launched {
    fn start(&mut self, interrupt: BorrowedFd<'_>) -> Result<(), Refusal> {
        Launched::start(self, Some(interrupt)).map_err(|failure| failure.of_run().refusal())
    }

    fn sandbox(&mut self) -> &mut dyn Sandbox {
        &mut *self.sandbox
    }

    fn process(&self) -> Option<Process> {
        self.bundle.spec.process().clone()
    }

    fn delete(&mut self) -> Result<(), Refusal> {
        Launched::delete(self).map_err(|failure| failure.refusal())
    }
}
