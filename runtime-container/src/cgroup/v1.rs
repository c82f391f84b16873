//! Version 1: a directory in each hierarchy that is needed.
//!
//! Every directory costs about a tenth of a millisecond, so only those exist
//! that something asks for: memory, pids and cpuacct for accounting, devices
//! for the device rules, cpu and cpuset when they are limited.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use bulkhead_runtime::Usage;
use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::{
    ALWAYS_JOINED, Cgroup, CgroupError, Entry, Hierarchies, block_io, devices, files, freezer,
    io_error,
};

/// Longest CPU period the kernel takes, and its default
/// (Documentation/scheduler/sched-bwc.rst), in microseconds.
const DEFAULT_PERIOD_US: u64 = 100_000;

/// Limit of memory and swap together.
const TOTAL: &str = "memory.memsw.limit_in_bytes";

#[derive(Debug)]
pub(super) struct V1 {
    hierarchies: Hierarchies,
    path: PathBuf,
}

/// One value to write: controller, file, value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    controller: &'static str,
    field: &'static str,
    file: &'static str,
    value: String,
    /// May be absent from the kernel without harm.
    optional: bool,
}

impl V1 {
    pub(super) fn new(hierarchies: Hierarchies, path: PathBuf) -> Self {
        Self { hierarchies, path }
    }

    fn dir(&self, controller: &str) -> Option<PathBuf> {
        Some(self.hierarchies.of(controller)?.join(&self.path))
    }

    /// The distinct directories this container may have.
    fn all_dirs(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.hierarchies.iter().map(|(_, mount)| mount.join(&self.path))
    }

    fn needed(&self, settings: &[Setting]) -> Result<Vec<PathBuf>, CgroupError> {
        let mut dirs: Vec<PathBuf> = Vec::new();
        let mut add = |dir: PathBuf| {
            if !dirs.contains(&dir) {
                dirs.push(dir);
            }
        };
        for accounted in ALWAYS_JOINED {
            if let Some(dir) = self.dir(accounted) {
                add(dir);
            }
        }
        for setting in settings {
            match self.dir(setting.controller) {
                Some(dir) => add(dir),
                None if setting.optional => {}
                None => {
                    let (field, controller) = (setting.field, setting.controller);
                    return Err(CgroupError::NoController { field, controller });
                }
            }
        }
        Ok(dirs)
    }

    /// Refuses what the kernel has no file for, before anything has changed.
    fn check(&self, settings: &[Setting]) -> Result<(), CgroupError> {
        for setting in settings.iter().filter(|setting| !setting.optional) {
            // A cgroup that is not there yet will have what the one above has.
            let here = self.dir(setting.controller).filter(|dir| dir.is_dir());
            let above = || Some(self.hierarchies.of(setting.controller)?.join(super::PARENT));
            let Some(dir) = here.or_else(above) else { continue };
            if dir.is_dir() && !dir.join(setting.file).exists() {
                return Err(setting.without_file());
            }
        }
        Ok(())
    }

    fn apply(&self, settings: &[Setting]) -> Result<(), CgroupError> {
        for setting in settings {
            let Some(dir) = self.dir(setting.controller) else { continue };
            let path = dir.join(setting.file);
            match (path.exists(), setting.optional) {
                (true, _) => files::write(&path, &setting.value)?,
                (false, true) => {}
                (false, false) => return Err(setting.without_file()),
            }
        }
        Ok(())
    }

    /// Whether the limit of memory is to be above what that with swap is now.
    fn is_raised(&self, settings: &[Setting]) -> bool {
        let limit = settings.iter().find(|setting| setting.file == "memory.limit_in_bytes");
        let limit = limit.and_then(|setting| setting.value.parse::<u64>().ok());
        let total = self.dir("memory").and_then(|dir| files::number(&dir.join(TOTAL)));
        limit.zip(total).is_some_and(|(limit, total)| limit > total)
    }

    /// Without this a container's root could make a node for the host's disk.
    fn restrict_devices(&self, limits: &LinuxResources) -> Result<(), CgroupError> {
        let (field, controller) = ("linux.resources.devices", "devices");
        let dir =
            self.dir(controller).ok_or(CgroupError::NoController { field, controller })?;
        for rule in devices::rules(limits)? {
            let file = if rule.allow { "devices.allow" } else { "devices.deny" };
            files::write(&dir.join(file), &rule.to_string())?;
        }
        Ok(())
    }

    fn tasks(dirs: &[PathBuf]) -> Result<Entry, CgroupError> {
        let mut tasks = Vec::with_capacity(dirs.len());
        for dir in dirs {
            let path = dir.join("tasks");
            let file =
                OpenOptions::new().write(true).open(&path).map_err(io_error("open", &path))?;
            tasks.push(file.into());
        }
        Ok(Entry::Tasks(tasks))
    }

    /// A cpuset has no CPUs and no memory nodes until it is given some.
    fn fill_cpuset(&self) -> Result<(), CgroupError> {
        let Some(mount) = self.hierarchies.of("cpuset") else { return Ok(()) };
        let mut dir = mount.to_owned();
        for part in self.path.components() {
            let above = dir.clone();
            dir.push(part);
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let path = dir.join(file);
                let read =
                    |path: &Path| std::fs::read_to_string(path).map_err(io_error("read", path));
                if read(&path)?.trim().is_empty() {
                    files::write(&path, read(&above.join(file))?.trim())?;
                }
            }
        }
        Ok(())
    }
}

impl Cgroup for V1 {
    fn create(&self, limits: &LinuxResources) -> Result<Entry, CgroupError> {
        let settings = settings(limits)?;
        let dirs = self.needed(&settings)?;
        for dir in &dirs {
            files::create(dir)?;
        }
        if settings.iter().any(|setting| setting.controller == "cpuset") {
            self.fill_cpuset()?;
        }
        self.apply(&settings)?;
        self.restrict_devices(limits)?;
        Self::tasks(&dirs)
    }

    fn update(&self, limits: &LinuxResources) -> Result<(), CgroupError> {
        let mut settings = settings(limits)?;
        let missing: Vec<PathBuf> =
            self.needed(&settings)?.into_iter().filter(|dir| !dir.is_dir()).collect();
        self.check(&settings)?;
        for dir in &missing {
            files::create(dir)?;
        }
        if settings.iter().any(|setting| setting.controller == "cpuset") {
            self.fill_cpuset()?;
        }
        if self.is_raised(&settings) {
            // The limit of memory alone may at no time be above that with swap.
            settings.sort_by_key(|setting| setting.file != TOTAL);
        }
        self.apply(&settings)?;
        // Those of a hierarchy the container had no part in until now.
        for dir in &missing {
            files::move_all(|| self.processes(), &dir.join("cgroup.procs"))?;
        }
        Ok(())
    }

    fn entry(&self) -> Result<Entry, CgroupError> {
        let dirs: Vec<PathBuf> = self.all_dirs().filter(|dir| dir.is_dir()).collect();
        Self::tasks(&dirs)
    }

    fn oom_kills(&self) -> u64 {
        let count = self
            .dir("memory")
            .and_then(|dir| files::keyed(&dir.join("memory.oom_control"), "oom_kill"));
        count.unwrap_or(0)
    }

    fn usage(&self) -> Usage {
        let read = |controller, file| files::number(&self.dir(controller)?.join(file));
        /// No limit reads as the largest multiple of a page (`PAGE_COUNTER_MAX`,
        /// linux/page_counter.h).
        const UNLIMITED: u64 = (i64::MAX as u64) & !4095;
        Usage {
            memory_limit_bytes: read("memory", "memory.limit_in_bytes")
                .filter(|limit| *limit < UNLIMITED),
            memory_bytes: read("memory", "memory.usage_in_bytes"),
            memory_peak_bytes: read("memory", "memory.max_usage_in_bytes"),
            kernel_memory_bytes: read("memory", "memory.kmem.usage_in_bytes"),
            cpu_ns: read("cpuacct", "cpuacct.usage"),
            pids: read("pids", "pids.current"),
            ..Usage::default()
        }
    }

    fn processes(&self) -> Result<Vec<i32>, CgroupError> {
        let dir = ["pids", "memory", "devices"].into_iter().find_map(|name| self.dir(name));
        dir.map_or(Ok(Vec::new()), |dir| files::processes(&dir.join("cgroup.procs")))
    }

    fn freeze(&self) -> Result<(), CgroupError> {
        let (field, controller) = ("pause", "freezer");
        let dir =
            self.dir(controller).ok_or(CgroupError::NoController { field, controller })?;
        freezer::freeze_v1(&dir, || self.processes())
    }

    fn thaw(&self) -> Result<(), CgroupError> {
        self.dir("freezer").map_or(Ok(()), |dir| freezer::thaw_v1(&dir))
    }

    fn is_frozen(&self) -> bool {
        self.dir("freezer").is_some_and(|dir| freezer::is_frozen_v1(&dir))
    }

    fn kill(&self) -> Result<(), CgroupError> {
        // What is held does not even die here.
        self.thaw()?;
        // A process may have been killed between joining one hierarchy and the
        // next, so each is asked.
        for dir in self.all_dirs() {
            files::kill_all(&dir.join("cgroup.procs"))?;
        }
        Ok(())
    }

    fn remove(&self) -> Result<(), CgroupError> {
        let mut result = Ok(());
        for dir in self.all_dirs() {
            result = files::remove(&dir).and(result);
        }
        result
    }
}

/// What to write for `limits`, in an order the kernel accepts.
fn settings(limits: &LinuxResources) -> Result<Vec<Setting>, CgroupError> {
    if limits.unified().as_ref().is_some_and(|map| !map.is_empty()) {
        return Err(CgroupError::WrongVersion { field: "linux.resources.unified", version: 1 });
    }
    let mut settings = Vec::new();
    if let Some(memory) = limits.memory() {
        memory_settings(memory, &mut settings);
    }
    if let Some(cpu) = limits.cpu() {
        cpu_settings(cpu, &mut settings)?;
    }
    if let Some(pids) = limits.pids() {
        let value = if pids.limit() > 0 { pids.limit().to_string() } else { "max".to_owned() };
        settings.push(Setting::new("pids", "linux.resources.pids", "pids.max", &value));
    }
    if let Some(limits) = limits.block_io() {
        let values = block_io::v1(limits).into_iter();
        settings.extend(values.map(|it| Setting::new("blkio", it.field, it.file, &it.value)));
    }
    Ok(settings)
}

impl Setting {
    fn new(
        controller: &'static str,
        field: &'static str,
        file: &'static str,
        value: &impl ToString,
    ) -> Self {
        Self { controller, field, file, value: value.to_string(), optional: false }
    }

    fn without_file(&self) -> CgroupError {
        CgroupError::NoFile { field: self.field, file: self.file.to_owned() }
    }
}

fn memory_settings(memory: &LinuxMemory, settings: &mut Vec<Setting>) {
    const FIELD: &str = "linux.resources.memory";
    if let Some(limit) = memory.limit() {
        settings.push(Setting::new("memory", FIELD, "memory.limit_in_bytes", &limit));
    }
    // A limit that can be passed by swapping is none: without a word on swap,
    // there is none.
    if let Some(swap) = memory.swap().or(memory.limit().filter(|limit| *limit > 0)) {
        let mut setting = Setting::new("memory", FIELD, TOTAL, &swap);
        // Absent where the kernel does not account for swap; then there must be
        // no explicit wish.
        setting.optional = memory.swap().is_none();
        settings.push(setting);
    }
    if let Some(reservation) = memory.reservation() {
        settings.push(Setting::new(
            "memory",
            FIELD,
            "memory.soft_limit_in_bytes",
            &reservation,
        ));
    }
    if let Some(swappiness) = memory.swappiness() {
        settings.push(Setting::new("memory", FIELD, "memory.swappiness", &swappiness));
    }
}

fn cpu_settings(cpu: &LinuxCpu, settings: &mut Vec<Setting>) -> Result<(), CgroupError> {
    const FIELD: &str = "linux.resources.cpu";
    if cpu.idle().is_some_and(|idle| idle != 0) {
        return Err(CgroupError::WrongVersion {
            field: "linux.resources.cpu.idle",
            version: 1,
        });
    }
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        settings.push(Setting::new("cpu", FIELD, "cpu.shares", &shares));
    }
    if let Some(period) = cpu.period().filter(|period| *period != 0) {
        settings.push(Setting::new("cpu", FIELD, "cpu.cfs_period_us", &period));
    } else if cpu.quota().is_some_and(|quota| quota > 0) {
        settings.push(Setting::new("cpu", FIELD, "cpu.cfs_period_us", &DEFAULT_PERIOD_US));
    }
    if let Some(quota) = cpu.quota() {
        settings.push(Setting::new("cpu", FIELD, "cpu.cfs_quota_us", &quota));
    }
    if let Some(burst) = cpu.burst() {
        settings.push(Setting::new("cpu", FIELD, "cpu.cfs_burst_us", &burst));
    }
    for (file, value) in [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())] {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            settings.push(Setting::new("cpuset", FIELD, file, &value));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::{
        LinuxCpuBuilder, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResourcesBuilder,
    };

    fn written(limits: &LinuxResources) -> Vec<(&'static str, String)> {
        settings(limits).unwrap().into_iter().map(|s| (s.file, s.value)).collect()
    }

    #[test]
    fn a_memory_limit_without_a_word_on_swap_allows_none() {
        let memory = LinuxMemoryBuilder::default().limit(1 << 20).build().unwrap();
        let limits = LinuxResourcesBuilder::default().memory(memory).build().unwrap();
        let written = written(&limits);
        assert_eq!(written[0], ("memory.limit_in_bytes", "1048576".into()));
        assert_eq!(written[1], ("memory.memsw.limit_in_bytes", "1048576".into()));
    }

    #[test]
    fn a_host_that_cannot_restrict_devices_gets_no_container() {
        let cgroup = V1::new(Hierarchies::default(), "bulkhead/x".into());
        let refused = cgroup.create(&LinuxResources::default());
        assert!(matches!(
            refused,
            Err(CgroupError::NoController { controller: "devices", .. })
        ));
    }

    #[test]
    fn a_quota_comes_after_its_period() {
        let cpu = LinuxCpuBuilder::default().quota(50_000).build().unwrap();
        let pids = LinuxPidsBuilder::default().limit(0).build().unwrap();
        let limits = LinuxResourcesBuilder::default().cpu(cpu).pids(pids).build().unwrap();
        assert_eq!(
            written(&limits),
            [
                ("cpu.cfs_period_us", "100000".into()),
                ("cpu.cfs_quota_us", "50000".into()),
                ("pids.max", "max".into())
            ]
        );
    }
}
