//! Version 2: one directory, entered by being cloned into it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use bulkhead_runtime::Usage;
use oci_spec::runtime::LinuxResources;

use super::{Cgroup, CgroupError, Entry, block_io, devices, files, freezer, io_error};

/// Default CPU period (Documentation/admin-guide/cgroup-v2.rst, "cpu.max"), in
/// microseconds.
const DEFAULT_PERIOD_US: u64 = 100_000;

#[derive(Debug)]
pub(super) struct V2 {
    mount: PathBuf,
    path: PathBuf,
}

/// One value to write.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    controller: &'static str,
    field: &'static str,
    file: String,
    value: String,
    /// May be absent from the kernel without harm.
    optional: bool,
}

impl Setting {
    fn new(
        controller: &'static str,
        field: &'static str,
        file: &str,
        value: &impl ToString,
    ) -> Self {
        let (file, value) = (file.to_owned(), value.to_string());
        Self { controller, field, file, value, optional: false }
    }
}

impl V2 {
    pub(super) fn new(mount: PathBuf, path: PathBuf) -> Self {
        Self { mount, path }
    }

    fn dir(&self) -> PathBuf {
        self.mount.join(&self.path)
    }

    /// Hands the controllers down to the container's cgroup; a controller the
    /// host lacks matters only when a limit needs it.
    fn enable(&self, settings: &[Setting]) -> Result<(), CgroupError> {
        let mut dir = self.mount.clone();
        let available = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
        let available: Vec<&str> = available.split_whitespace().collect();
        for setting in settings {
            if !setting.controller.is_empty() && !available.contains(&setting.controller) {
                let (field, controller) = (setting.field, setting.controller);
                return Err(CgroupError::NoController { field, controller });
            }
        }
        let wanted: Vec<&str> = ["memory", "pids", "cpu", "cpuset", "io"]
            .into_iter()
            .filter(|name| available.contains(name))
            .filter(|name| {
                !["cpuset", "io"].contains(name)
                    || settings.iter().any(|s| s.controller == *name)
            })
            .collect();
        for part in self.path.components() {
            let control = dir.join("cgroup.subtree_control");
            let enabled = fs::read_to_string(&control).map_err(io_error("read", &control))?;
            let missing: Vec<String> = wanted
                .iter()
                .filter(|name| !enabled.split_whitespace().any(|seen| seen == **name))
                .map(|name| format!("+{name}"))
                .collect();
            if !missing.is_empty() {
                files::write(&control, &missing.join(" "))?;
            }
            dir.push(part);
            match fs::create_dir(&dir) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other.map_err(io_error("create", &dir))?,
            }
        }
        Ok(())
    }

    fn apply(&self, settings: &[Setting]) -> Result<(), CgroupError> {
        let dir = self.dir();
        let needed = |setting: &&Setting| !setting.optional || dir.join(&setting.file).exists();
        let settings: Vec<_> = settings.iter().filter(needed).collect();
        // Before anything has changed.
        if let Some(setting) = settings.iter().find(|it| !dir.join(&it.file).exists()) {
            let (field, file) = (setting.field, setting.file.clone());
            return Err(CgroupError::NoFile { field, file });
        }
        settings.into_iter().try_for_each(|it| files::write(&dir.join(&it.file), &it.value))
    }

    fn open(&self) -> Result<File, CgroupError> {
        let dir = self.dir();
        OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY)
            .open(&dir)
            .map_err(io_error("open", &dir))
    }
}

impl Cgroup for V2 {
    fn create(&self, limits: &LinuxResources) -> Result<Entry, CgroupError> {
        let settings = settings(limits)?;
        self.enable(&settings)?;
        self.apply(&settings)?;
        let opened = self.open()?;
        devices::guard(&opened, &devices::rules(limits)?)?;
        Ok(Entry::Clone(opened.into()))
    }

    fn update(&self, limits: &LinuxResources) -> Result<(), CgroupError> {
        let settings = settings(limits)?;
        self.enable(&settings)?;
        self.apply(&settings)
    }

    fn entry(&self) -> Result<Entry, CgroupError> {
        Ok(Entry::Clone(self.open()?.into()))
    }

    fn oom_kills(&self) -> u64 {
        files::keyed(&self.dir().join("memory.events"), "oom_kill").unwrap_or(0)
    }

    fn usage(&self) -> Usage {
        let dir = self.dir();
        Usage {
            memory_limit_bytes: files::number(&dir.join("memory.max")),
            memory_bytes: files::number(&dir.join("memory.current")),
            memory_peak_bytes: files::number(&dir.join("memory.peak")),
            kernel_memory_bytes: files::keyed(&dir.join("memory.stat"), "kernel"),
            cpu_ns: files::keyed(&dir.join("cpu.stat"), "usage_usec").map(|us| us * 1000),
            pids: files::number(&dir.join("pids.current")),
            ..Usage::default()
        }
    }

    fn processes(&self) -> Result<Vec<i32>, CgroupError> {
        files::processes(&self.dir().join("cgroup.procs"))
    }

    fn freeze(&self) -> Result<(), CgroupError> {
        freezer::freeze_v2(&self.dir())
    }

    fn thaw(&self) -> Result<(), CgroupError> {
        freezer::thaw_v2(&self.dir())
    }

    fn is_frozen(&self) -> bool {
        freezer::is_frozen_v2(&self.dir())
    }

    fn kill(&self) -> Result<(), CgroupError> {
        let dir = self.dir();
        // Since Linux 5.14; it kills those below as well.
        match files::write(&dir.join("cgroup.kill"), "1") {
            Err(CgroupError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            }
            other => other?,
        }
        files::kill_all(&dir.join("cgroup.procs"))
    }

    fn remove(&self) -> Result<(), CgroupError> {
        files::remove(&self.dir())
    }
}

/// What to write for `limits`.
fn settings(limits: &LinuxResources) -> Result<Vec<Setting>, CgroupError> {
    let mut settings = Vec::new();
    memory_settings(limits, &mut settings)?;
    cpu_settings(limits, &mut settings);
    if let Some(pids) = limits.pids() {
        let field = "linux.resources.pids";
        settings.push(Setting::new("pids", field, "pids.max", &or_max(pids.limit(), 1)));
    }
    if let Some(limits) = limits.block_io() {
        let values = block_io::v2(limits).into_iter();
        settings.extend(values.map(|it| Setting::new("io", it.field, it.file, &it.value)));
    }
    for (file, value) in limits.unified().iter().flatten() {
        let field = "linux.resources.unified";
        let plain = !file.contains('/') && file.contains('.');
        if !plain {
            return Err(CgroupError::Path(file.into()));
        }
        settings.push(Setting::new("", field, file, &value));
    }
    Ok(settings)
}

/// Version 1 writes "no limit" as -1, version 2 as `max`.
fn or_max(value: i64, least: i64) -> String {
    if value < least { "max".to_owned() } else { value.to_string() }
}

fn memory_settings(
    limits: &LinuxResources,
    settings: &mut Vec<Setting>,
) -> Result<(), CgroupError> {
    const FIELD: &str = "linux.resources.memory";
    let Some(memory) = limits.memory() else { return Ok(()) };
    if memory.swappiness().is_some() {
        let field = "linux.resources.memory.swappiness";
        return Err(CgroupError::WrongVersion { field, version: 2 });
    }
    let limit = memory.limit().unwrap_or(-1);
    if memory.limit().is_some() {
        settings.push(Setting::new("memory", FIELD, "memory.max", &or_max(limit, 1)));
    }
    // The spec counts memory and swap together, version 2 swap alone. A limit
    // that can be passed by swapping is none: without a word on swap, there is
    // none.
    let swap = match memory.swap() {
        Some(total) if total < 0 => Some(-1),
        Some(total) => Some((total - limit.max(0)).max(0)),
        None if limit > 0 => Some(0),
        None => None,
    };
    if let Some(swap) = swap {
        let mut setting = Setting::new("memory", FIELD, "memory.swap.max", &or_max(swap, 0));
        setting.optional = memory.swap().is_none();
        settings.push(setting);
    }
    if let Some(reservation) = memory.reservation() {
        settings.push(Setting::new("memory", FIELD, "memory.low", &or_max(reservation, 0)));
    }
    Ok(())
}

fn cpu_settings(limits: &LinuxResources, settings: &mut Vec<Setting>) {
    const FIELD: &str = "linux.resources.cpu";
    let Some(cpu) = limits.cpu() else { return };
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        settings.push(Setting::new("cpu", FIELD, "cpu.weight", &weight(shares)));
    }
    if cpu.quota().is_some() || cpu.period().is_some() {
        let period = cpu.period().filter(|p| *p != 0).unwrap_or(DEFAULT_PERIOD_US);
        let value = format!("{} {period}", or_max(cpu.quota().unwrap_or(-1), 1));
        settings.push(Setting::new("cpu", FIELD, "cpu.max", &value));
    }
    if let Some(burst) = cpu.burst() {
        settings.push(Setting::new("cpu", FIELD, "cpu.max.burst", &burst));
    }
    if let Some(idle) = cpu.idle() {
        settings.push(Setting::new("cpu", FIELD, "cpu.idle", &idle));
    }
    for (file, value) in [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())] {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            settings.push(Setting::new("cpuset", FIELD, file, &value));
        }
    }
}

/// Shares of version 1 (2 to 262144, usually 1024) as a weight of version 2 (1
/// to 10000, usually 100): linear from range to range, as crun and runc did
/// from the start.
fn weight(shares: u64) -> u64 {
    let shares = shares.clamp(2, 262_144);
    1 + ((shares - 2) * 9999) / 262_142
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::{
        LinuxCpuBuilder, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResourcesBuilder,
    };

    fn limits() -> LinuxResources {
        let memory = LinuxMemoryBuilder::default().limit(1 << 20).build().unwrap();
        let cpu = LinuxCpuBuilder::default().quota(50_000).shares(1024_u64).build().unwrap();
        let pids = LinuxPidsBuilder::default().limit(7).build().unwrap();
        LinuxResourcesBuilder::default().memory(memory).cpu(cpu).pids(pids).build().unwrap()
    }

    #[test]
    fn limits_are_translated() {
        let written: Vec<_> =
            settings(&limits()).unwrap().into_iter().map(|s| (s.file, s.value)).collect();
        let expected = [
            ("memory.max", "1048576"),
            ("memory.swap.max", "0"),
            ("cpu.weight", "39"),
            ("cpu.max", "50000 100000"),
            ("pids.max", "7"),
        ];
        assert_eq!(written, expected.map(|(file, value)| (file.to_owned(), value.to_owned())));
    }

    #[test]
    fn weights_span_the_whole_range() {
        assert_eq!((weight(2), weight(262_144), weight(u64::MAX)), (1, 10_000, 10_000));
    }

    /// A directory tree that looks like a version 2 hierarchy to this code.
    fn tree(controllers: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("cgroup.controllers"), controllers).unwrap();
        fs::write(root.path().join("cgroup.subtree_control"), "").unwrap();
        fs::create_dir(root.path().join("bulkhead")).unwrap();
        fs::write(root.path().join("bulkhead/cgroup.subtree_control"), "memory").unwrap();
        root
    }

    #[test]
    fn controllers_are_handed_down_where_they_are_missing() {
        let root = tree("cpu memory pids");
        let cgroup = V2::new(root.path().into(), "bulkhead/x".into());
        cgroup.enable(&settings(&limits()).unwrap()).unwrap();
        let enabled = |dir: &str| {
            fs::read_to_string(root.path().join(dir).join("cgroup.subtree_control"))
        };
        assert_eq!(enabled("").unwrap(), "+memory +pids +cpu");
        assert_eq!(enabled("bulkhead").unwrap(), "+pids +cpu");
        assert!(root.path().join("bulkhead/x").is_dir());
        cgroup.remove().unwrap();
        assert!(!root.path().join("bulkhead/x").exists());
    }

    #[test]
    fn a_limit_without_its_controller_is_refused() {
        let root = tree("cpu pids");
        let cgroup = V2::new(root.path().into(), "bulkhead/x".into());
        let refused = cgroup.create(&limits());
        assert!(matches!(refused, Err(CgroupError::NoController { controller: "memory", .. })));
    }

    #[test]
    fn accounting_is_read() {
        let root = tree("");
        let dir = root.path().join("bulkhead/x");
        fs::create_dir(&dir).unwrap();
        for (file, text) in [
            ("memory.current", "4096\n"),
            ("memory.peak", "8192\n"),
            ("memory.stat", "anon 1\nkernel 512\nkernel_stack 7\n"),
            ("memory.events", "oom 1\noom_kill 1\n"),
            ("cpu.stat", "usage_usec 15\nuser_usec 5\n"),
            ("pids.current", "2\n"),
            ("cgroup.procs", "11\n12\n"),
        ] {
            fs::write(dir.join(file), text).unwrap();
        }
        let cgroup = V2::new(root.path().into(), "bulkhead/x".into());
        let usage = cgroup.usage();
        assert_eq!((usage.memory_bytes, usage.memory_peak_bytes), (Some(4096), Some(8192)));
        assert_eq!((usage.kernel_memory_bytes, usage.cpu_ns), (Some(512), Some(15_000)));
        assert_eq!((cgroup.oom_kills(), cgroup.processes().unwrap()), (1, vec![11, 12]));
    }
}
