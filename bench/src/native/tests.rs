use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bulkhead_runtime::{Bundle, ExitStatus, Rootfs, Signal, Stdio};
use oci_spec::runtime::{ProcessBuilder, SpecBuilder};

use super::*;

fn install(layer: &Path, name: &str, script: &str, mode: u32) {
    let path = layer.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn bundle(layers: &[&tempfile::TempDir], args: &[&str]) -> Bundle {
    let process = ProcessBuilder::default()
        .args(args.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>())
        .env(vec!["PATH=/nowhere:/".to_owned(), "WALL=none".to_owned()])
        .cwd("/")
        .build()
        .unwrap();
    let spec = SpecBuilder::default().process(process).build().unwrap();
    let layers = layers.iter().map(|layer| layer.path().to_owned()).collect();
    Bundle { spec, rootfs: Rootfs::Layers(layers) }
}

fn create(bundle: &Bundle, stdio: Stdio) -> Result<Box<dyn Sandbox>, Error> {
    let id = SandboxId::random().unwrap();
    NativeRuntime.create(Create::attached(&id, bundle, stdio))
}

/// Runs the bundle to its end.
fn run(bundle: &Bundle) -> Result<(ExitStatus, String), Error> {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut sandbox = create(bundle, Stdio::output_to(writer.into()).unwrap())?;
    sandbox.start(None)?;
    let mut output = String::new();
    reader.read_to_string(&mut output).unwrap();
    let exit = sandbox.wait(None)?.unwrap();
    assert_eq!(sandbox.wait(None)?, Some(exit), "the exit is remembered");
    sandbox.delete()?;
    let clocks: Vec<Clock> = sandbox.timeline().iter().map(|(clock, _)| clock).collect();
    let expected = [
        Clock::Request,
        Clock::RootfsReady,
        Clock::WorkloadExec,
        Clock::ExitObserved,
        Clock::Released,
    ];
    assert_eq!(clocks, expected);
    Ok((exit.status, output))
}

#[test]
fn runs_the_topmost_file_with_the_bundles_arguments_and_environment() {
    let (top, bottom) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    install(top.path(), "tool", "echo top $WALL $1; exit 7", 0o755);
    install(bottom.path(), "tool", "echo bottom", 0o755);
    let expected = (ExitStatus::Exited(7), "top none x\n".to_owned());
    assert_eq!(run(&bundle(&[&top, &bottom], &["/tool", "x"])).unwrap(), expected);
    assert_eq!(run(&bundle(&[&top, &bottom], &["tool", "x"])).unwrap(), expected);
}

#[test]
fn a_deleted_file_does_not_come_back_from_a_lower_layer() {
    let (top, bottom) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    install(bottom.path(), "tool", "echo bottom", 0o755);
    let mode = nix::sys::stat::Mode::empty();
    nix::sys::stat::mknod(&top.path().join("tool"), nix::sys::stat::SFlag::S_IFCHR, mode, 0)
        .unwrap();
    let result = run(&bundle(&[&top, &bottom], &["/tool"]));
    assert!(matches!(result, Err(Error::WorkloadNotFound { .. })), "{result:?}");
}

#[test]
fn a_symbolic_link_does_not_lead_to_the_host() {
    let layer = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/bin/sh", layer.path().join("tool")).unwrap();
    let result = run(&bundle(&[&layer], &["/tool"]));
    assert!(matches!(result, Err(Error::WorkloadNotFound { .. })), "{result:?}");
}

#[test]
fn says_why_a_command_does_not_run() {
    let layer = tempfile::tempdir().unwrap();
    install(layer.path(), "data", "", 0o644);
    let result = run(&bundle(&[&layer], &["/data"]));
    assert!(matches!(result, Err(Error::WorkloadNotExecutable { .. })), "{result:?}");
    let disk = Bundle { rootfs: Rootfs::Disk("/x".into()), ..bundle(&[&layer], &["/data"]) };
    assert!(matches!(run(&disk), Err(Error::Bundle(_))));
}

#[test]
fn the_workload_inherits_no_signal_state() {
    let layer = tempfile::tempdir().unwrap();
    let script = "while read name value; do case $name in SigBlk:|SigIgn:) \
        echo $value;; esac; done < /proc/self/status";
    install(layer.path(), "tool", script, 0o755);
    let (_, output) = run(&bundle(&[&layer], &["/tool"])).unwrap();
    assert_eq!(output, "0000000000000000\n0000000000000000\n");
}

#[test]
fn a_signal_ends_it_and_waiting_does_not_block() {
    let layer = tempfile::tempdir().unwrap();
    install(layer.path(), "tool", "exec /bin/sleep 1000", 0o755);
    let mut sandbox = create(&bundle(&[&layer], &["/tool"]), Stdio::null().unwrap()).unwrap();
    assert!(matches!(sandbox.signal(Signal::TERM), Err(Error::NotRunning { .. })));
    sandbox.start(None).unwrap();
    assert_eq!(sandbox.wait(Some(std::time::Duration::ZERO)).unwrap(), None);
    sandbox.signal(Signal::TERM).unwrap();
    let exit = sandbox.wait(None).unwrap().unwrap();
    assert_eq!(exit.status, ExitStatus::Signaled(Signal::TERM));
    assert!(matches!(sandbox.signal(Signal::TERM), Err(Error::NotRunning { .. })));
}

#[test]
fn deleting_kills() {
    let layer = tempfile::tempdir().unwrap();
    install(layer.path(), "tool", "exec /bin/sleep 1000", 0o755);
    let mut sandbox = create(&bundle(&[&layer], &["/tool"]), Stdio::null().unwrap()).unwrap();
    sandbox.start(None).unwrap();
    let pid = sandbox.processes().unwrap()[0].pid;
    sandbox.delete().unwrap();
    sandbox.delete().unwrap();
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

/// The kernel sends the parent-death signal when the thread ends that started
/// the child, which makes the death of a harness easy to stage.
#[test]
fn the_workload_dies_with_its_creator() {
    let layer = tempfile::tempdir().unwrap();
    install(layer.path(), "tool", "exec /bin/sleep 1000", 0o755);
    let bundle = bundle(&[&layer], &["/tool"]);
    let creator = std::thread::spawn(move || {
        let mut sandbox = create(&bundle, Stdio::null().unwrap()).unwrap();
        sandbox.start(None).unwrap();
        let pid = sandbox.processes().unwrap()[0].pid;
        // As a killed harness would: nothing is cleaned up.
        std::mem::forget(sandbox);
        pid
    });
    let pid = nix::unistd::Pid::from_raw(creator.join().unwrap());
    let end = nix::sys::wait::waitpid(pid, None).unwrap();
    let killed = nix::sys::wait::WaitStatus::Signaled(pid, nix::sys::signal::SIGKILL, false);
    assert_eq!(end, killed);
}
