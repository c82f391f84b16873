//! The monitors: how each is found, asked for its version, and told of the machine.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bulkhead_guest::protocol::SESSION_PORT;
use bulkhead_kernels::KvmFlavour;
use bulkhead_runtime::{HostProcess, Missing, Role};

use crate::error::{MicroVmError, io_error};
use crate::monitor::VHOST_VSOCK;
use crate::monitor::config::files;

/// A monitor that is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Monitor {
    /// QEMU's `microvm` machine.
    QemuMicrovm,
    /// Firecracker.
    Firecracker,
    /// Cloud Hypervisor, which cannot run our guest.
    CloudHypervisor,
}

/// The guest's address on vsock, as our own device has it.
const GUEST_CID: u32 = 3;
/// What the monitor prints.
const STDERR: &str = "monitor.log";

impl Monitor {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::QemuMicrovm, Self::Firecracker, Self::CloudHypervisor];

    /// Name in results and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QemuMicrovm => "qemu-microvm",
            Self::Firecracker => "firecracker",
            Self::CloudHypervisor => "cloud-hypervisor",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::QemuMicrovm => "qemu-system-x86_64",
            other => other.as_str(),
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::QemuMicrovm => "install the Debian package qemu-system-x86",
            Self::Firecracker => "put a release of Firecracker on PATH",
            Self::CloudHypervisor => "leave it out",
        }
    }
}

/// The monitor's file and version.
pub fn find(monitor: Monitor) -> Result<(PathBuf, String), Missing> {
    let missing = |what: String| Missing { what, remedy: monitor.remedy().to_owned() };
    let name = monitor.program();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|p| p.is_file());
    // Said before its absence: getting it would not help.
    if monitor == Monitor::CloudHypervisor {
        return Err(missing(
            "a virtio-mmio transport in Cloud Hypervisor: it offers devices on PCI only, \
             which our guest kernel does not have"
                .to_owned(),
        ));
    }
    let path = found.ok_or_else(|| missing(format!("no program `{name}` on PATH")))?;
    let output = Command::new(&path).arg("--version").stdin(Stdio::null()).output();
    let output = output.map_err(|error| missing(format!("{name}: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.lines().next().unwrap_or_default().trim();
    if !output.status.success() || version.is_empty() {
        return Err(missing(format!("`{name} --version` failed ({})", output.status)));
    }
    Ok((path, version.to_owned()))
}

/// What a monitor is to run.
#[derive(Debug)]
pub struct Machine<'a> {
    pub dir: &'a Path,
    pub kernel: &'a Path,
    pub disk: &'a Path,
    pub memory_mib: u32,
    pub flavour: KvmFlavour,
}

impl Machine<'_> {
    /// As our own monitor's, without the boot timer; the monitors add their devices.
    fn command_line(&self) -> String {
        let flavour = bulkhead_kernels::command_line(self.flavour);
        let line = "root=/dev/vda rootfstype=erofs init=/init panic=-1 reboot=k quiet";
        format!("{line} {flavour}").trim_end().to_owned()
    }

    fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    fn qemu(&self) -> Vec<String> {
        // What `kvm_pvm` cannot emulate is kept from the guest.
        let cpu = if self.flavour.emulates_guest_kernel() {
            "host,arch-capabilities=off,cx16=off"
        } else {
            "host"
        };
        let memory = self.memory_mib;
        // A comma in a path is doubled in QEMU's options.
        let disk = self.disk.display().to_string().replace(',', ",,");
        let socket = self.file("vhost.sock").replace(',', ",,");
        [
            "-M",
            "microvm,accel=kvm,rtc=off,pit=off,pic=off,acpi=off,isa-serial=off,memory-backend=ram",
            "-cpu",
            cpu,
            "-smp",
            "1",
            "-m",
            &format!("{memory}M"),
            "-object",
            &format!("memory-backend-memfd,id=ram,size={memory}M,share=on"),
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-kernel",
            &self.kernel.display().to_string(),
            "-append",
            &self.command_line(),
            "-blockdev",
            &format!("driver=file,node-name=disk,read-only=on,filename={disk}"),
            "-device",
            "virtio-blk-device,drive=disk",
            "-chardev",
            &format!("socket,id=vsock,path={socket}"),
            "-device",
            "vhost-user-vsock-device,chardev=vsock",
        ]
        .map(str::to_owned)
        .into()
    }

    /// Firecracker reads its machine from a file.
    fn firecracker(&self) -> Result<Vec<String>, MicroVmError> {
        let config = serde_json::json!({
            "boot-source": { "kernel_image_path": self.kernel, "boot_args": self.command_line() },
            "drives": [{
                "drive_id": "root", "path_on_host": self.disk,
                "is_root_device": false, "is_read_only": true,
            }],
            "machine-config": { "vcpu_count": 1, "mem_size_mib": self.memory_mib },
            "vsock": { "guest_cid": GUEST_CID, "uds_path": self.file(files::VSOCK) },
        });
        let path = self.file("firecracker.json");
        fs::write(&path, config.to_string())
            .map_err(io_error("write the monitor's configuration"))?;
        Ok(["--no-api", "--config-file", &path].map(str::to_owned).into())
    }
}

/// The processes of one machine. Dropping them kills them.
#[derive(Debug)]
pub struct Processes {
    monitor: Child,
    /// The vsock device of a monitor without one.
    vsock: Option<Child>,
}

impl Processes {
    /// Starts them. `ours` is our own monitor's program, which lends its vsock.
    pub fn start(
        monitor: Monitor,
        program: &Path,
        machine: &Machine<'_>,
        ours: &[OsString],
    ) -> Result<Self, MicroVmError> {
        let log = File::create(machine.dir.join(STDERR))
            .map_err(io_error("make the monitor's log"))?;
        let (arguments, vsock) = match monitor {
            Monitor::QemuMicrovm => (machine.qemu(), Some(vsock(machine, ours, &log)?)),
            Monitor::Firecracker | Monitor::CloudHypervisor => (machine.firecracker()?, None),
        };
        let mut vsock = vsock;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        let child = spawn(command, &log);
        match child {
            Ok(monitor) => Ok(Self { monitor, vsock }),
            Err(error) => {
                end(vsock.as_mut());
                Err(error)
            }
        }
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.monitor.id()).unwrap_or(0)
    }

    /// Them, with what each is for.
    pub fn list(&self) -> Vec<HostProcess> {
        let helper = self.vsock.as_ref().and_then(|child| i32::try_from(child.id()).ok());
        let helper = helper.map(|pid| HostProcess { pid, role: Role::Helper });
        [HostProcess { pid: self.pid(), role: Role::Monitor }]
            .into_iter()
            .chain(helper)
            .collect()
    }

    /// Why the monitor ended, if it has.
    pub fn death(&mut self, dir: &Path) -> Option<MicroVmError> {
        let status = self.monitor.try_wait().ok().flatten()?.to_string();
        let stderr = fs::read_to_string(dir.join(STDERR)).unwrap_or_default();
        Some(MicroVmError::MonitorDied { status, stderr })
    }

    /// Ends them and waits until they are gone. Idempotent.
    pub fn kill(&mut self) {
        end(Some(&mut self.monitor));
        end(self.vsock.as_mut());
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.kill();
    }
}

fn end(child: Option<&mut Child>) {
    if let Some(child) = child {
        // Both fail only for a process that is gone and has been waited for.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Starts the vsock device, listening before the monitor looks for it.
fn vsock(machine: &Machine<'_>, ours: &[OsString], log: &File) -> Result<Child, MicroVmError> {
    let [program, arguments @ ..] = ours else { return Err(MicroVmError::NoMonitor) };
    let listener = UnixListener::bind(machine.dir.join("vhost.sock"))
        .map_err(io_error("listen for the monitor"))?;
    let mut command = Command::new(program);
    command.args(arguments).arg(VHOST_VSOCK).arg(machine.dir.join(files::VSOCK));
    command.stdin(OwnedFd::from(listener));
    spawn(command, log)
}

/// A process in a group of its own, which dies with us.
fn spawn(mut command: Command, log: &File) -> Result<Child, MicroVmError> {
    let copy = || log.try_clone().map_err(io_error("share the monitor's log"));
    command.stdout(copy()?).stderr(copy()?).process_group(0);
    // SAFETY: one system call with plain numbers, between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let program = command.get_program().display().to_string();
    command.spawn().map_err(|source| MicroVmError::Spawn { program, source })
}

// The session's port is the same under every monitor.
const _: () = assert!(SESSION_PORT == 1024);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_monitor_gets_the_same_guest() {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine {
            dir: dir.path(),
            kernel: Path::new("/k/vmlinux"),
            disk: Path::new("/d/a,b.erofs"),
            memory_mib: 64,
            flavour: KvmFlavour::Intel,
        };
        let qemu = machine.qemu().join(" ");
        let line = "root=/dev/vda rootfstype=erofs init=/init panic=-1 reboot=k quiet";
        assert!(qemu.contains(line) && qemu.contains("-m 64M") && qemu.contains("a,,b.erofs"));
        machine.firecracker().unwrap();
        let text = fs::read(dir.path().join("firecracker.json")).unwrap();
        let config: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(config["boot-source"]["boot_args"], line);
        assert_eq!(config["drives"][0]["path_on_host"], "/d/a,b.erofs");
        assert_eq!(config["machine-config"]["mem_size_mib"], 64);
    }
}
