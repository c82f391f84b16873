//! What surrounds the first process: mounts and devices.
//!
//! Runs in the first process of the new pid namespace, because a proc
//! filesystem shows the namespace of the process that mounts it, and inside the
//! workload's root, so that no path of the image can lead out of it.

use core::ffi::CStr;

use super::credentials;
use super::path::{PathBuffer, make_dir_all, make_file};
use super::spawn::failed;
use super::sys::{self, Errno, Fd};
use crate::protocol::{Device, Failure, Mount, PlacedFile, Process, SHARES, Sandbox, Step};

/// Builds `sandbox`; the working directory of `process` is made before the root
/// becomes read-only.
pub fn build(sandbox: &Sandbox, process: &Process) -> Result<(), Failure> {
    if let Some(name) = &sandbox.hostname {
        sys::set_hostname(name).map_err(failed(Step::Hostname))?;
    }
    for (index, mount) in (0..).zip(&sandbox.mounts) {
        make_mount(mount).map_err(failed(Step::Mount(index)))?;
    }
    if sandbox.shares {
        hide_shares().map_err(failed(Step::Shares))?;
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
    place(&sandbox.files)?;
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
            if mount.is_file {
                make_file(&mount.target)?;
            } else {
                make_dir_all(&mount.target)?;
            }
            attempt()
        }
        other => other,
    };
    if outcome.is_ok() && mount.flags & libc::MS_BIND != 0 {
        // What a bind mount may not do, only a change of it says (mount(2)).
        let flags = (mount.flags & !libc::MS_REC) | libc::MS_REMOUNT;
        return sys::mount(None, &mount.target, None, flags, None);
    }
    match outcome {
        Err(Errno::NODEV) if mount.optional => Ok(()),
        other => other,
    }
}

/// Each share is where it belongs: from where they came, nothing is seen any more.
fn hide_shares() -> sys::Result<()> {
    sys::unmount_detached(SHARES)?;
    sys::remove_dir(SHARES)
}

fn make_device(device: &Device) -> sys::Result<()> {
    unless_there(sys::make_node(&device.path, device.mode, device.major, device.minor))?;
    if device.uid != 0 || device.gid != 0 {
        sys::change_owner(&device.path, device.uid, device.gid)?;
    }
    Ok(())
}

/// Puts `files` where they belong, in place of what is there.
pub fn place(files: &[PlacedFile]) -> Result<(), Failure> {
    for (index, file) in (0..).zip(files) {
        let placed = match place_one(file) {
            Err(Errno::ROFS) => on_read_only(file),
            other => other,
        };
        placed.map_err(failed(Step::File(index)))?;
    }
    Ok(())
}

/// In a workload that goes on the root filesystem may be read-only already.
fn on_read_only(file: &PlacedFile) -> sys::Result<()> {
    sys::set_writable(c"/")?;
    let placed = place_one(file);
    sys::set_read_only(c"/")?;
    placed
}

fn place_one(file: &PlacedFile) -> sys::Result<()> {
    match sys::remove(&file.path) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => {}
        // Somebody has mounted something there, and means it.
        Err(Errno::BUSY) => return Ok(()),
        Err(errno) => return Err(errno),
    }
    let placed = match sys::create(&file.path, 0o644) {
        Err(Errno::NOENT) => {
            make_parent(&file.path)?;
            sys::create(&file.path, 0o644)?
        }
        other => other?,
    };
    write_all(&placed, &file.content)
}

fn make_parent(path: &CStr) -> sys::Result<()> {
    let path = path.to_bytes();
    let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    let mut parent = PathBuffer::new();
    parent.push(&path[..end])?;
    make_dir_all(parent.c_str()?)
}

/// Writes all of `bytes`.
pub fn write_all(fd: &Fd, mut bytes: &[u8]) -> sys::Result<()> {
    while !bytes.is_empty() {
        bytes = &bytes[sys::write(fd, bytes)?..];
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
