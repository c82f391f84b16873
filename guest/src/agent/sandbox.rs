//! What surrounds the first process: mounts and devices.
//!
//! Runs in the first process of the new pid namespace, because a proc
//! filesystem shows the namespace of the process that mounts it, and inside the
//! workload's root, so that no path of the image can lead out of it.

use core::ffi::CStr;

use super::credentials;
use super::path::{PathBuffer, make_dir_all};
use super::spawn::failed;
use super::sys::{self, Errno};
use crate::protocol::{Device, Failure, Mount, Process, Sandbox, Step};

/// Builds `sandbox`; the working directory of `process` is made before the root
/// becomes read-only.
pub fn build(sandbox: &Sandbox, process: &Process) -> Result<(), Failure> {
    if let Some(name) = &sandbox.hostname {
        sys::set_hostname(name).map_err(failed(Step::Hostname))?;
    }
    for (index, mount) in (0..).zip(&sandbox.mounts) {
        make_mount(mount).map_err(failed(Step::Mount(index)))?;
    }
    for (index, device) in (0..).zip(&sandbox.devices) {
        make_device(device).map_err(failed(Step::Device(index)))?;
    }
    let mut symlinks = sandbox.symlinks.iter();
    let mut index = 0;
    while let (Some(target), Some(link)) = (symlinks.next(), symlinks.next()) {
        unless_there(sys::symlink(target, link)).map_err(failed(Step::Symlink(index)))?;
        index += 1;
    }
    if let Some(limit) = sandbox.pids_limit {
        limit_pids(limit).map_err(failed(Step::PidsLimit))?;
    }
    if sandbox.overcommit {
        overcommit().map_err(failed(Step::Overcommit))?;
    }
    if sandbox.read_only_root {
        credentials::working_directory(&process.cwd).map_err(failed(Step::WorkingDirectory))?;
        sys::set_read_only(c"/").map_err(failed(Step::ReadOnlyRoot))?;
    }
    Ok(())
}

fn make_mount(mount: &Mount) -> sys::Result<()> {
    let attempt = || {
        sys::mount(
            Some(&mount.source),
            &mount.target,
            Some(&mount.fstype),
            mount.flags,
            (!mount.data.is_empty()).then_some(&mount.data),
        )
    };
    let outcome = match attempt() {
        Err(Errno::NOENT) => {
            make_dir_all(&mount.target)?;
            attempt()
        }
        other => other,
    };
    match outcome {
        Err(Errno::NODEV) if mount.optional => Ok(()),
        other => other,
    }
}

fn make_device(device: &Device) -> sys::Result<()> {
    unless_there(sys::make_node(&device.path, device.mode, device.major, device.minor))?;
    if device.uid != 0 || device.gid != 0 {
        sys::change_owner(&device.path, device.uid, device.gid)?;
    }
    Ok(())
}

/// An image may bring the file itself.
fn unless_there(outcome: sys::Result<()>) -> sys::Result<()> {
    match outcome {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

/// The machine has one tenant, so the kernel's own limit does what a pids
/// cgroup would, without one: everything that runs now, except this process,
/// belongs to the machine and not to the workload.
fn limit_pids(limit: u32) -> sys::Result<()> {
    let others = sys::pids_in_use()?.saturating_sub(1);
    let mut text = PathBuffer::new();
    text.push_number(others.saturating_add(limit))?;
    set(c"/proc/sys/kernel/threads-max", text.bytes())
}

/// `OVERCOMMIT_ALWAYS` (linux/mman.h), where the workload has a `/proc` to set it
/// through.
fn overcommit() -> sys::Result<()> {
    match set(c"/proc/sys/vm/overcommit_memory", b"1") {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Sets a parameter of the kernel.
fn set(parameter: &CStr, value: &[u8]) -> sys::Result<()> {
    let file = sys::open(parameter, libc::O_WRONLY)?;
    sys::write(&file, value).map(drop)
}
