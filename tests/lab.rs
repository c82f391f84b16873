//! The laboratory: the binary under test with a store and a runtime root of its
//! own, and the walls it is tested behind.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Once, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::images;

/// A run that takes longer than this hangs.
const DEADLINE: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wall {
    Container,
    MicroVm,
    /// Our guest under QEMU, which only `bench` starts.
    QemuMicroVm,
    /// For tests that start no sandbox.
    Neither,
}

impl Wall {
    pub fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::MicroVm => "microvm",
            Self::QemuMicroVm => "qemu-microvm",
            Self::Neither => "cli",
        }
    }

    /// Why tests of this wall cannot run here.
    pub fn obstacle(self) -> Option<&'static str> {
        if !nix::unistd::geteuid().is_root() {
            return Some("needs root");
        }
        let kvm = fs::File::options().read(true).write(true).open("/dev/kvm");
        if self.boots_a_kernel() && kvm.is_err() {
            return Some("needs /dev/kvm");
        }
        let qemu = || is_on_path("qemu-system-x86_64");
        (self == Self::QemuMicroVm && !qemu()).then_some("needs qemu-system-x86_64")
    }

    fn boots_a_kernel(self) -> bool {
        matches!(self, Self::MicroVm | Self::QemuMicroVm)
    }
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

pub struct Lab {
    pub store: PathBuf,
    pub root: PathBuf,
}

impl Lab {
    /// The laboratory of this test run; the first use fills it.
    fn shared() -> &'static Self {
        static LAB: OnceLock<Lab> = OnceLock::new();
        LAB.get_or_init(|| {
            let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join("lab");
            let lab = Self { store: base.join("store"), root: base.join("run") };
            fs::create_dir_all(&lab.root).expect("a writable target directory");
            images::install_packages();
            images::import_all(&lab);
            lab
        })
    }

    /// The laboratory, with what `wall` needs: the guest kernel is built before
    /// the first test that boots it.
    pub fn ready_for(wall: Wall) -> &'static Self {
        static KERNEL: Once = Once::new();
        let lab = Self::shared();
        if wall.boots_a_kernel() {
            // Shows its own progress; a no-op once the kernel is there.
            KERNEL.call_once(|| {
                let status = lab.command(["kernel", "build"]).status().expect("bulkhead");
                assert!(status.success(), "the guest kernel could not be built");
            });
        }
        lab
    }

    /// The binary with `arguments`, in this laboratory.
    pub fn command<I>(&self, arguments: I) -> Command
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let mut command = self.program(env!("CARGO_BIN_EXE_bulkhead"));
        command.args(arguments);
        command
    }

    /// Another program, for which this laboratory is the usual place.
    pub fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env("BULKHEAD_STORE", &self.store)
            .env("BULKHEAD_ROOT", &self.root)
            .stdin(Stdio::null());
        command
    }

    /// `bulkhead run` behind `wall`, `arguments` beginning with its options.
    pub fn run_command(&self, wall: Wall, arguments: &[&str]) -> Command {
        let mut command = self.command(["run", "--isolation", wall.name()]);
        command.args(arguments);
        command
    }

    /// Runs to the end.
    pub fn run(&self, wall: Wall, arguments: &[&str]) -> Finished {
        self.run_with_input(wall, arguments, b"")
    }

    /// Runs to the end with something on standard input.
    pub fn run_with_input(&self, wall: Wall, arguments: &[&str], input: &[u8]) -> Finished {
        finish(self.run_command(wall, arguments), input)
    }

    /// Removes all templates, a pool's included: what is to boot in a test does.
    pub fn forget_templates(&self) {
        for template in entries(&self.store.join("templates")) {
            fs::remove_dir_all(&template).expect("a template can be removed");
        }
    }

    /// Runs any other verb to its end.
    pub fn verb(&self, arguments: &[&str]) -> Finished {
        finish(self.command(arguments), b"")
    }
}

/// What became of a command.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Finished {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Fails the test, showing everything, unless the exit code is `code`.
    #[track_caller]
    pub fn expect_code(&self, code: i32) -> &Self {
        let (out, err) = (self.text(), &self.stderr);
        let out = out.get(..2000).unwrap_or(&out);
        assert_eq!(self.code, Some(code), "\n--- stdout\n{out}\n--- stderr\n{err}");
        self
    }

    /// Fails the test unless it failed with `code` and says `part`.
    #[track_caller]
    pub fn expect_error(&self, code: i32, part: &str) -> &Self {
        self.expect_code(code);
        let said = self.stderr.to_lowercase().contains(&part.to_lowercase());
        assert!(said, "the message does not say `{part}`:\n{}", self.stderr);
        self
    }
}

/// Feeds `input` to a command and waits for its end, killing it at the deadline.
pub fn finish(mut command: Command, input: &[u8]) -> Finished {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary under test starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = thread::spawn(move || {
        // A workload may end without reading everything.
        let _ = stdin.write_all(&input);
    });
    let output = wait_with_output(child);
    writer.join().expect("the writer does not panic");
    Finished {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn wait_with_output(mut child: Child) -> Output {
    let drain = |mut stream: Box<dyn Read + Send>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stream.read_to_end(&mut bytes);
            bytes
        })
    };
    let stdout = drain(Box::new(child.stdout.take().expect("piped")));
    let stderr = drain(Box::new(child.stderr.take().expect("piped")));
    let status = wait_until(&mut child, DEADLINE);
    Output {
        status,
        stdout: stdout.join().expect("drained"),
        stderr: stderr.join().expect("drained"),
    }
}

/// Waits for `child`, killing it when `limit` has passed.
pub fn wait_until(child: &mut Child, limit: Duration) -> std::process::ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("our own child") {
            return status;
        }
        if started.elapsed() > limit {
            child.kill().expect("our own child");
            eprintln!("killed after {limit:?}");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// What a sandbox could leave on the host, counted.
#[derive(Debug, PartialEq, Eq)]
pub struct Footprint {
    mounts: usize,
    cgroups: Vec<PathBuf>,
    namespaces: usize,
    monitors: usize,
    state: Vec<PathBuf>,
    scratch: Vec<PathBuf>,
    loops: usize,
}

impl Footprint {
    /// Counts now.
    pub fn now(lab: &Lab) -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("procfs");
        Self {
            mounts: mounts.lines().count(),
            cgroups: cgroups(),
            namespaces: network_namespaces(),
            monitors: processes_mentioning("microvm-monitor"),
            state: entries(&lab.root),
            scratch: entries(&lab.store.join("tmp")),
            loops: entries(Path::new("/sys/block"))
                .iter()
                .filter(|block| block.join("loop/backing_file").exists())
                .count(),
        }
    }

    /// Counts until the count is `expected` or a few seconds have passed: the
    /// kernel finishes some removals after the process is gone.
    pub fn settles_to(lab: &Lab, expected: &Self) {
        let started = Instant::now();
        let mut now = Self::now(lab);
        while now != *expected && started.elapsed() < Duration::from_secs(5) {
            thread::sleep(Duration::from_millis(50));
            now = Self::now(lab);
        }
        assert_eq!(now, *expected, "something was left behind");
    }
}

/// The entries of a directory, in order; none when it does not exist.
pub fn entries(dir: &Path) -> Vec<PathBuf> {
    let listing = fs::read_dir(dir).into_iter().flatten();
    let mut paths: Vec<_> = listing.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    paths
}

/// Our cgroups in every hierarchy, without those in which processes live that
/// this pid namespace does not know: they read as 0 (cgroups(7)).
fn cgroups() -> Vec<PathBuf> {
    let hierarchies = fs::read_to_string("/proc/self/mountinfo").expect("procfs");
    hierarchies
        .lines()
        .filter(|line| line.contains(" - cgroup"))
        .filter_map(|line| line.split(' ').nth(4))
        .flat_map(|mount| entries(&Path::new(mount).join("bulkhead")))
        .filter(|path| path.is_dir() && !is_of_others(path))
        .collect()
}

fn is_of_others(cgroup: &Path) -> bool {
    let members = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    members.lines().any(|pid| pid == "0")
}

fn network_namespaces() -> usize {
    let mut seen: Vec<PathBuf> = numeric_entries_of_proc()
        .filter_map(|process| fs::read_link(process.join("ns/net")).ok())
        .collect();
    seen.sort();
    seen.dedup();
    seen.len()
}

/// How many processes have `word` in their command line.
pub fn processes_mentioning(word: &str) -> usize {
    numeric_entries_of_proc()
        .filter_map(|process| fs::read(process.join("cmdline")).ok())
        .filter(|line| String::from_utf8_lossy(line).contains(word))
        .count()
}

/// The monitors of the sandboxes below `root`.
pub fn monitors_below(root: &Path) -> Vec<String> {
    let root = root.to_str().expect("utf-8");
    let is_one = |line: &str| line.contains("microvm-monitor") && line.contains(root);
    numeric_entries_of_proc()
        .filter(|process| {
            let line = fs::read(process.join("cmdline")).unwrap_or_default();
            is_one(&String::from_utf8_lossy(&line))
        })
        .filter_map(|process| Some(process.file_name()?.to_str()?.to_owned()))
        .collect()
}

fn numeric_entries_of_proc() -> impl Iterator<Item = PathBuf> {
    entries(Path::new("/proc")).into_iter().filter(|path| {
        path.file_name()
            .is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit))
    })
}
