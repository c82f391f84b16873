//! A monitor and its creator: guests that fail, monitors that are killed,
//! creators that die.
//!
//! The guests are a few instructions in an ELF file, so that each of them
//! starts at once on any KVM. Whole Linux guests are tested end to end.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bulkhead_microvm::{Awaited, FailureKind, MicroVmConfig, MicroVmError, MicroVmRuntime};
use bulkhead_runtime::{
    Bundle, Clock, Create, Error, Instant, Rootfs, Runtime, Sandbox, SandboxId, Stdio,
};
use oci_spec::runtime::Spec;

/// A directory for sandboxes, with a disk and kernels in it.
struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("disk"), [0; 4096]).unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn runtime(&self, kernel: &Path) -> MicroVmRuntime {
        let monitor: Vec<OsString> = vec![env!("CARGO_BIN_EXE_microvm-monitor").into()];
        let mut config =
            MicroVmConfig::new(self.path("root"), monitor, Some(kernel.to_owned()));
        config.boot_timeout = Some(Duration::from_secs(1));
        MicroVmRuntime::new(config)
    }

    /// A kernel that consists of `code`.
    fn kernel(&self, code: &[u8]) -> PathBuf {
        const ADDRESS: u64 = 0x20_0000;
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(16, 0);
        elf.extend([2, 0, 62, 0, 1, 0, 0, 0]); // executable, x86-64, version
        elf.extend(ADDRESS.to_le_bytes());
        elf.extend(64_u64.to_le_bytes()); // program headers
        elf.extend([0; 8]); // no section headers
        elf.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        elf.extend([1, 0, 0, 0, 7, 0, 0, 0]); // PT_LOAD, rwx
        let len = code.len() as u64;
        elf.extend([120, ADDRESS, ADDRESS, len, len, 1].map(u64::to_le_bytes).concat());
        elf.extend(code);
        let path = self.path("kernel");
        fs::write(&path, elf).unwrap();
        path
    }

    fn create(&self, kernel: &Path, id: &str) -> Result<Box<dyn Sandbox>, Error> {
        let bundle = Bundle { spec: Spec::default(), rootfs: Rootfs::Disk(self.path("disk")) };
        let id = id.parse::<SandboxId>().unwrap();
        let stdio = Stdio::null().unwrap();
        self.runtime(kernel).create(Create::attached(&id, &bundle, stdio))
    }

    /// Why a guest that consists of `code` fails.
    fn failure(&self, code: &[u8]) -> (MicroVmError, String) {
        let mut sandbox = self.create(&self.kernel(code), "guest").unwrap();
        let Err(error) = sandbox.start(None) else { panic!("it started") };
        sandbox.delete().unwrap();
        self.is_empty();
        unwrap_wall(error)
    }

    #[track_caller]
    fn is_empty(&self) {
        let left: Vec<_> = fs::read_dir(self.path("root")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn unwrap_wall(error: Error) -> (MicroVmError, String) {
    let Error::Wall { source, .. } = error else { panic!("{error:?}") };
    let text = source.to_string();
    (*source.downcast::<MicroVmError>().unwrap(), text)
}

fn failure_kind(error: MicroVmError) -> FailureKind {
    let MicroVmError::Guest(failure) = error else { panic!("{error:?}") };
    failure.kind
}

#[test]
#[cfg_attr(not(has_kvm), ignore = "needs /dev/kvm")]
fn a_guest_that_resets_its_machine_is_said_to_have_panicked() {
    let (_, text) = Lab::new().failure(&[0xb0, 0xfe, 0xe6, 0x64]);
    assert!(text.starts_with("the guest kernel panicked"), "{text}");
}

#[test]
#[cfg_attr(not(has_kvm), ignore = "needs /dev/kvm")]
fn a_guest_that_faults_is_reported() {
    let (_, text) = Lab::new().failure(&[0x0f, 0x0b]);
    assert!(text.starts_with("the guest triple-faulted at"), "{text}");
}

#[test]
#[cfg_attr(not(has_kvm), ignore = "needs /dev/kvm")]
fn a_guest_that_hangs_is_stopped_by_the_watchdog() {
    let (error, text) = Lab::new().failure(&[0xeb, 0xfe]); // jmp $
    let FailureKind::Hung { waiting_for, seconds, fault } = failure_kind(error) else {
        panic!("{text}")
    };
    assert_eq!((waiting_for, seconds, fault.rip), (Awaited::Kernel, 1, 0x20_0000));
    assert!(text.contains("[eb fe"), "the instruction it was at: {text}");
}

#[test]
#[cfg_attr(not(has_kvm), ignore = "needs /dev/kvm")]
fn a_guest_that_sleeps_for_ever_is_stopped_by_the_watchdog() {
    let (error, text) = Lab::new().failure(&[0xfa, 0xf4, 0xeb, 0xfd]); // cli; hlt; jmp
    assert!(matches!(failure_kind(error), FailureKind::Hung { .. }), "{text}");
}

#[test]
#[cfg_attr(not(has_kvm), ignore = "needs /dev/kvm")]
fn what_is_missing_or_no_kernel_is_named_and_leaves_nothing() {
    let lab = Lab::new();
    let no_kernel = lab.path("not-there");
    let Err(error) = lab.create(&no_kernel, "a") else { panic!("created") };
    let chain = chain(&error);
    assert!(chain.contains("not-there"), "{chain}");
    fs::write(lab.path("kernel"), "#!/bin/sh\n").unwrap();
    let Err(error) = lab.create(&lab.path("kernel"), "a") else { panic!("created") };
    assert!(self::chain(&error).contains("is no kernel"), "{}", self::chain(&error));
    fs::remove_file(lab.path("disk")).unwrap();
    let Err(error) = lab.create(&lab.kernel(&[0xf4]), "a") else { panic!("created") };
    assert!(self::chain(&error).contains("cannot open the disk"), "{}", self::chain(&error));
    lab.is_empty();
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[test]
#[cfg_attr(not(has_kvm), ignore = "needs /dev/kvm")]
fn a_monitor_that_is_killed_is_reported() {
    let lab = Lab::new();
    let mut sandbox = lab.create(&lab.kernel(&[0xeb, 0xfe]), "guest").unwrap();
    let pid = sandbox.processes().unwrap()[0].pid;
    // SAFETY: the process is our own child and has not been waited for.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
    let (error, text) = unwrap_wall(sandbox.start(None).unwrap_err());
    assert!(matches!(error, MicroVmError::MonitorDied { .. }), "{text}");
    assert!(text.contains("signal: 9"), "{text}");
    drop(sandbox);
    lab.is_empty();
}

#[test]
#[cfg_attr(not(has_kvm), ignore = "needs /dev/kvm")]
fn a_start_can_be_interrupted() {
    let lab = Lab::new();
    let mut sandbox = lab.create(&lab.kernel(&[0xeb, 0xfe]), "guest").unwrap();
    let interrupt = fs::File::open("/dev/null").unwrap();
    let outcome = sandbox.start(Some(std::os::fd::AsFd::as_fd(&interrupt)));
    assert!(matches!(outcome, Err(Error::Interrupted { .. })), "{outcome:?}");
    let usage = sandbox.usage().unwrap();
    assert!(usage.memory_bytes.unwrap() > 0);
    assert!(usage.kvm.unwrap().get("exits").is_some());
    let timeline = sandbox.timeline();
    assert!(timeline.between(Clock::Request, Clock::SandboxCreated).is_some());
    assert!(timeline.get(Clock::KernelDone).is_none());
    sandbox.delete().unwrap();
    sandbox.delete().unwrap();
    assert!(sandbox.timeline().get(Clock::Released).is_some());
    lab.is_empty();
}

#[test]
#[cfg_attr(not(has_kvm), ignore = "needs /dev/kvm")]
fn another_process_finds_and_purges_it() {
    let lab = Lab::new();
    let kernel = lab.kernel(&[0xeb, 0xfe]);
    let sandbox = lab.create(&kernel, "guest").unwrap();
    let pid = sandbox.processes().unwrap()[0].pid;
    let runtime = lab.runtime(&kernel);
    let loaded = runtime.load(sandbox.id()).unwrap();
    assert_eq!(loaded.processes().unwrap()[0].pid, pid);
    assert!(loaded.timeline().get(Clock::SandboxCreated).is_some());
    runtime.purge(sandbox.id()).unwrap();
    runtime.purge(sandbox.id()).unwrap();
    lab.is_empty();
    let gone = loaded.usage();
    // The creator has not reaped it yet: a zombie has no memory.
    assert!(gone.is_err() || gone.unwrap().memory_bytes.is_none());
}

#[test]
#[cfg_attr(not(has_kvm), ignore = "needs /dev/kvm")]
fn a_name_in_use_is_refused_and_the_first_goes_on() {
    let lab = Lab::new();
    let kernel = lab.kernel(&[0xeb, 0xfe]);
    let mut first = lab.create(&kernel, "guest").unwrap();
    assert!(matches!(lab.create(&kernel, "guest"), Err(Error::State(_))));
    assert_eq!(first.processes().unwrap().len(), 1);
    first.delete().unwrap();
    lab.is_empty();
}

#[test]
#[cfg_attr(not(has_kvm), ignore = "needs /dev/kvm")]
fn the_confined_monitor_answers_callers() {
    let lab = Lab::new();
    let sandbox = lab.create(&lab.kernel(&[0xeb, 0xfe]), "guest").unwrap();
    let pid = sandbox.processes().unwrap()[0].pid;
    // The filter comes last, after the machine has been reported.
    let status = || fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let confined = || status().contains("Seccomp:\t2");
    let started = Instant::now();
    while !confined() {
        assert!(Instant::now().since(started) < Duration::from_secs(10), "no filter");
        std::thread::sleep(Duration::from_millis(5));
    }
    for set in ["CapInh", "CapPrm", "CapEff"] {
        assert!(status().contains(&format!("{set}:\t0000000000000000\n")), "{set}");
    }
    let socket = lab.path("root").join("guest").join("vsock");
    for (greeting, patience_ms) in [("CONNECT 1025\n", 200), ("nonsense\n", 10_000)] {
        let mut caller = UnixStream::connect(&socket).unwrap();
        caller.write_all(greeting.as_bytes()).unwrap();
        let patience = Duration::from_millis(patience_ms);
        caller.set_read_timeout(Some(patience)).unwrap();
        let answer = caller.read(&mut [0; 8]);
        // The first waits for the guest, the second is hung up on.
        assert_eq!(answer.is_err(), greeting.starts_with("CONNECT"), "{answer:?}");
    }
    assert_eq!(sandbox.processes().unwrap()[0].pid, pid);
    assert!(sandbox.usage().unwrap().memory_bytes.is_some(), "the monitor lives");
}
