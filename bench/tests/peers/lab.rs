//! A place for one case, and what to look for afterwards.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bulkhead_bench::peers::OciRuntime;
use bulkhead_runtime::{Bundle, Create, Error, Rootfs, Runtime, Sandbox, SandboxId, Stdio};
use oci_spec::runtime::{
    LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResourcesBuilder, ProcessBuilder, Spec,
};

/// Limits of every bundle here.
pub const MEMORY_BYTES: i64 = 64 << 20;
pub const PIDS: i64 = 32;

/// How long a call may take here.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub fn on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
}

/// A runtime root, a layer with the probe, and a directory for scripts.
pub struct Lab {
    pub root: tempfile::TempDir,
    layer: tempfile::TempDir,
    pub id: SandboxId,
}

impl Lab {
    pub fn new() -> Self {
        let (root, layer) = (tempfile::tempdir().unwrap(), crate::probe::layer_with_probe());
        for dir in ["proc", "dev", "sys"] {
            fs::create_dir(layer.path().join(dir)).unwrap();
        }
        Self { root, layer, id: SandboxId::random().unwrap() }
    }

    pub fn sandboxes(&self) -> PathBuf {
        self.root.path().join("run")
    }

    /// A runtime that is this shell script; `$VERB` is the verb, `$PIDFILE` the
    /// file that `create` is to write, `$BUNDLE` the bundle.
    pub fn fake(&self, script: &str) -> OciRuntime {
        let path = self.root.path().join("fake");
        let text = format!("#!/bin/sh\n{PARSE}\n{script}\n");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        OciRuntime::at("fake", &path, vec![], &self.sandboxes())
            .with_patience(Duration::from_secs(1))
    }

    pub fn peer(&self, name: &str) -> OciRuntime {
        OciRuntime::on_path(name, &self.sandboxes()).with_patience(PATIENCE)
    }

    /// A bundle as other tools make it, that runs `arguments`.
    pub fn bundle(&self, arguments: &[&str]) -> Bundle {
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        let mut spec = Spec::default();
        let process = ProcessBuilder::default().args(arguments).cwd("/").rlimits(vec![]);
        spec.set_process(Some(process.build().unwrap()));
        let mounts = spec.mounts().clone().unwrap_or_default().into_iter();
        // A workload has no business with the cgroup filesystem.
        spec.set_mounts(Some(
            mounts.filter(|mount| mount.typ().as_deref() != Some("cgroup")).collect(),
        ));
        let memory = LinuxMemoryBuilder::default().limit(MEMORY_BYTES).swap(MEMORY_BYTES);
        let resources = LinuxResourcesBuilder::default()
            .memory(memory.build().unwrap())
            .pids(LinuxPidsBuilder::default().limit(PIDS).build().unwrap());
        spec.linux_mut().as_mut().unwrap().set_resources(Some(resources.build().unwrap()));
        Bundle { spec, rootfs: Rootfs::Layers(vec![self.layer.path().to_owned()]) }
    }

    pub fn create(
        &self,
        runtime: &OciRuntime,
        bundle: &Bundle,
        stdio: Stdio,
    ) -> Result<Box<dyn Sandbox>, Error> {
        fs::create_dir_all(self.sandboxes()).unwrap();
        runtime.create(Create::attached(&self.id, bundle, stdio))
    }

    /// Fails the case if anything of its sandbox is left.
    pub fn assert_nothing_left(&self) {
        let dirs = fs::read_dir(self.sandboxes()).map_or(0, Iterator::count);
        assert_eq!(dirs, 0, "directories of sandboxes");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let ours = self.root.path().to_str().unwrap();
        assert!(!mounts.contains(ours), "mounts in {ours}");
        assert_eq!(self.cgroups(), Vec::<PathBuf>::new());
        let mark = format!("BULKHEAD_PEER_SANDBOX={}", self.id);
        assert_eq!(marked(&mark), 0, "processes");
    }

    /// The directories of the sandbox's cgroup.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let points = mounts
            .lines()
            .filter(|line| line.contains(" - cgroup"))
            .filter_map(|line| line.split(' ').nth(4));
        let dirs = points.map(|point| Path::new(point).join("bulkhead").join(&self.id));
        dirs.filter(|dir| dir.exists()).collect()
    }
}

/// Finds the verb among the options that a runtime is called with.
const PARSE: &str = r#"
while [ $# -gt 0 ]; do case $1 in
--root) shift 2 ;;
--log) LOG=$2; shift 2 ;;
--pid-file) PIDFILE=$2; shift 2 ;;
--bundle) BUNDLE=$2; shift 2 ;;
*) VERB=${VERB:-$1}; shift ;;
esac; done
if [ "$VERB" = --version ]; then echo "fake version 1"; exit; fi"#;

pub fn marked(mark: &str) -> usize {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let environments = entries.filter_map(|entry| fs::read(entry.path().join("environ")).ok());
    environments
        .filter(|text| text.split(|&byte| byte == 0).any(|entry| entry == mark.as_bytes()))
        .count()
}

/// A pipe for output, and a way to read it to its end.
pub fn output() -> (impl FnOnce() -> String, Stdio) {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let read = move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    };
    (read, Stdio::output_to(writer.into()).unwrap())
}

/// The error and its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
