//! Peers that do not do what they should.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use bulkhead_bench::peers::{OciRuntime, PeerError};
use bulkhead_runtime::{Availability, Error, Runtime, Stdio};

use crate::lab::{Lab, chain};

/// Name and body of each case.
pub const CASES: &[(&str, fn())] = &[
    ("a_missing_program_is_said_to_be_missing", a_missing_program_is_said_to_be_missing),
    ("a_program_without_a_version_is_unavailable", a_program_without_a_version_is_unavailable),
    ("a_crash_is_told_with_its_signal", a_crash_is_told_with_its_signal),
    ("its_own_words_are_in_the_error", its_own_words_are_in_the_error),
    ("a_hang_ends_with_everything_it_started", a_hang_ends_with_everything_it_started),
    ("garbage_is_no_process_id", garbage_is_no_process_id),
    ("a_strangers_process_is_not_taken", a_strangers_process_is_not_taken),
    ("a_failed_start_leaves_nothing", a_failed_start_leaves_nothing),
    ("a_start_can_be_interrupted", a_start_can_be_interrupted),
    ("a_failed_delete_is_made_up_for", a_failed_delete_is_made_up_for),
];

/// Makes a container that is a sleeping process.
const SLEEPER: &str = "[ $VERB = create ] && { sleep 1000 & echo $! > $PIDFILE; exit; }";

/// What goes wrong when a container is made.
fn refused(script: &str) -> (Lab, PeerError) {
    let lab = Lab::new();
    let (runtime, bundle) = (lab.fake(script), lab.bundle(&["/probe"]));
    let error = lab.create(&runtime, &bundle, Stdio::null().unwrap()).err().unwrap();
    lab.assert_nothing_left();
    let Error::Wall { source, .. } = error else { panic!("{error:?}") };
    (lab, *source.downcast().unwrap())
}

fn lacks(runtime: &OciRuntime) -> String {
    match runtime.availability() {
        Availability::Unavailable(missing) => missing[0].what.clone(),
        Availability::Ready => panic!("it is available"),
    }
}

fn a_missing_program_is_said_to_be_missing() {
    let lab = Lab::new();
    let text = lacks(&OciRuntime::on_path("no-such-runtime", &lab.sandboxes()));
    assert_eq!(text, "no program `no-such-runtime` on PATH");
    let path = lab.root.path().join("nothing");
    let text = lacks(&OciRuntime::at("x", &path, vec![], &lab.sandboxes()));
    assert!(text.contains(path.to_str().unwrap()) && text.contains("No such file"), "{text}");
    let text = lacks(&OciRuntime::at("x", "/etc/passwd".as_ref(), vec![], &lab.sandboxes()));
    assert!(text.contains("Permission denied"), "{text}");
}

fn a_program_without_a_version_is_unavailable() {
    let lab = Lab::new();
    let sleep = lab.root.path().join("sleeps");
    std::os::unix::fs::symlink("/bin/false", &sleep).unwrap();
    let text = lacks(&OciRuntime::at("x", &sleep, vec![], &lab.sandboxes()));
    assert!(text.contains("--version` failed"), "{text}");
}

fn a_crash_is_told_with_its_signal() {
    let (_, error) = refused("kill -SEGV $$");
    let PeerError::Failed { command, status, .. } = &error else { panic!("{error:?}") };
    assert_eq!(command, "fake create");
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(status.signal(), Some(libc::SIGSEGV));
}

fn its_own_words_are_in_the_error() {
    let (_, error) = refused("echo 'cgroups: not today' > $LOG; exit 3");
    assert!(error.to_string().ends_with("exit status: 3): cgroups: not today"), "{error}");

    // One that does not write its log says it on standard error.
    let lab = Lab::new();
    let runtime = lab.fake("echo 'only here' >&2; exit 1");
    let (read, stdio) = crate::lab::output();
    let error = lab.create(&runtime, &lab.bundle(&["/probe"]), stdio).err().unwrap();
    assert!(chain(&error).ends_with(": only here"), "{}", chain(&error));
    drop(read);
    lab.assert_nothing_left();
}

fn a_hang_ends_with_everything_it_started() {
    let started = Instant::now();
    let (_, error) = refused("setsid sleep 1000 & echo waiting > $LOG; sleep 1000");
    assert!(started.elapsed() < Duration::from_secs(60));
    let PeerError::Hung { after, message, .. } = &error else { panic!("{error:?}") };
    assert_eq!((*after, message.as_str()), (Duration::from_secs(1), "waiting"));
}

fn garbage_is_no_process_id() {
    for garbage in [
        "",
        "echo banana > $PIDFILE",
        "printf '\\033[2J\\000-1' > $PIDFILE",
        "echo 1 > $PIDFILE",
    ] {
        let (_, error) = refused(garbage);
        assert!(matches!(error, PeerError::NoProcess { .. }), "{garbage}: {error:?}");
        assert!(!error.to_string().contains('\u{1b}'), "{error}");
    }
}

fn a_strangers_process_is_not_taken() {
    // The shell's parent is the harness, and the harness is no child of its own.
    let (_, error) = refused("echo $PPID > $PIDFILE");
    assert!(matches!(error, PeerError::NotOurs(_)), "{error:?}");
}

fn a_failed_start_leaves_nothing() {
    let lab = Lab::new();
    let runtime = lab.fake(&format!("{SLEEPER}\necho \"$VERB: no\" >&2; exit 1"));
    let bundle = lab.bundle(&["/probe"]);
    let mut sandbox = lab.create(&runtime, &bundle, Stdio::null().unwrap()).unwrap();
    let error = sandbox.start(None).unwrap_err();
    assert!(chain(&error).ends_with(": start: no"), "{}", chain(&error));
    drop(sandbox);
    lab.assert_nothing_left();
}

fn a_start_can_be_interrupted() {
    let lab = Lab::new();
    let runtime = lab.fake(&format!("{SLEEPER}\n[ $VERB = start ] && sleep 1000; exit 1"));
    let bundle = lab.bundle(&["/probe"]);
    let mut sandbox = lab.create(&runtime, &bundle, Stdio::null().unwrap()).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(writer);
    let error = sandbox.start(Some(reader.as_fd())).unwrap_err();
    assert!(matches!(error, Error::Interrupted { .. }), "{error:?}");
    drop(sandbox);
    lab.assert_nothing_left();
}

fn a_failed_delete_is_made_up_for() {
    let lab = Lab::new();
    let runtime = lab.fake(&format!("{SLEEPER}\n[ $VERB != delete ]"));
    let bundle = lab.bundle(&["/probe"]);
    let mut sandbox = lab.create(&runtime, &bundle, Stdio::null().unwrap()).unwrap();
    let pid = sandbox.processes().unwrap()[0].pid;
    let error = sandbox.delete().unwrap_err();
    assert!(chain(&error).contains("`fake delete` failed"), "{}", chain(&error));
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    lab.assert_nothing_left();
}
