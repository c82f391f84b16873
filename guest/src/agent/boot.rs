//! From the kernel's hands to a machine that waits for work: everything that
//! does not depend on what the host asks for.

use core::ffi::CStr;

use super::changes;
use super::device::Device;
use super::hold::Scope;
use super::refresh::open_random;
use super::serve::{Agent, failed};
use super::sys::{self, Errno, Fd};
use crate::protocol::{EXEC_PORT, HOST_CID, SESSION_PORT};
use crate::timer::{BootStep, CMDLINE_KEY, Milestone, PowerOff};

/// Where the image puts a directory for the agent, and the image's tree.
const SCRATCH: &CStr = c"/run";
const TREE: &CStr = c"/rootfs";

/// Upper and work directory of the overlay.
const UPPER: &CStr = c"/run/upper";
const WORK: &CStr = c"/run/work";
const OVERLAY_OPTIONS: &CStr = c"lowerdir=/rootfs,upperdir=/run/upper,workdir=/run/work";

/// The node through which the boot-timer page is mapped.
const MEM_NODE: &CStr = c"/run/mem";

/// The node through which the kernel's randomness is reached.
const RANDOM_NODE: &CStr = c"/run/random";

/// Does all that PID 1 does. `environment` is what the kernel made of its
/// command line; `device` is filled in as soon as it is known, for a panic.
pub fn live<'a>(environment: impl Iterator<Item = &'a CStr>, device: &mut Device) -> PowerOff {
    match boot(environment, device) {
        Ok((socket, random)) => {
            let listen = || sys::listen_vsock(EXEC_PORT);
            Agent::new(socket, *device, Scope::Machine(random), listen).run()
        }
        Err(reason) => reason,
    }
}

/// A step that the machine cannot do without.
fn vital<T>(step: BootStep, outcome: sys::Result<T>) -> Result<T, PowerOff> {
    outcome.map_err(|errno| failed(step, errno))
}

fn boot<'a>(
    mut environment: impl Iterator<Item = &'a CStr>,
    device: &mut Device,
) -> Result<(Fd, sys::Result<Fd>), PowerOff> {
    sys::umask(0);
    vital(BootStep::Scratch, sys::mount(Some(c"run"), SCRATCH, Some(c"tmpfs"), 0, None))?;
    if let Some(physical) = environment.find_map(timer_address) {
        *device = Device::map(physical, MEM_NODE);
        device.reached(Milestone::KernelDone);
    }
    let socket = vital(BootStep::Socket, occupied(sys::stream_vsock))?;
    // The host answers while the root filesystem is made.
    vital(BootStep::Connect, sys::connect_vsock(&socket, HOST_CID, SESSION_PORT))?;
    let random = open_random(RANDOM_NODE);
    vital(BootStep::Overlay, overlay())?;
    vital(BootStep::PivotRoot, enter(TREE))?;
    vital(BootStep::PidNamespace, sys::unshare(libc::CLONE_NEWPID))?;
    match sys::loopback_up() {
        // A kernel without IP has no loopback to bring up.
        Err(Errno(libc::EAFNOSUPPORT)) => {}
        other => vital(BootStep::Loopback, other)?,
    }
    device.reached(Milestone::AgentReady);
    Ok((socket, random))
}

/// Without a console PID 1 starts with its standard descriptors closed. Makes a
/// descriptor that is none of the three, and occupies those that are free, so
/// that no other ever takes their numbers.
fn occupied(make: fn() -> sys::Result<Fd>) -> sys::Result<Fd> {
    let mut fd = make()?;
    while fd.raw() <= libc::STDERR_FILENO {
        let next = sys::duplicate(&fd)?;
        core::mem::replace(&mut fd, next).leak();
    }
    Ok(fd)
}

/// Puts a writable layer over the image's tree, in place.
fn overlay() -> sys::Result<()> {
    // The root directory is the upper layer's: it must look like the image's.
    let (uid, gid, mode) = sys::owner_and_mode(TREE)?;
    sys::make_dir(UPPER, mode & 0o7777)?;
    if uid != 0 || gid != 0 {
        sys::change_owner(UPPER, uid, gid)?;
    }
    changes::keep(UPPER)?;
    sys::make_dir(WORK, 0o700)?;
    sys::mount(Some(c"overlay"), TREE, Some(c"overlay"), 0, Some(OVERLAY_OPTIONS))
}

/// Makes `tree` the root and leaves nothing of the old one within reach.
fn enter(tree: &CStr) -> sys::Result<()> {
    sys::change_dir(tree)?;
    // The old root ends up on top of the new one (pivot_root(2)).
    sys::pivot_root(c".", c".")?;
    sys::unmount_detached(c".")?;
    sys::change_dir(c"/")
}

/// The address in `bulkhead_timer=0x…`, if `variable` is that.
fn timer_address(variable: &CStr) -> Option<u64> {
    let value = variable.to_bytes().strip_prefix(CMDLINE_KEY.as_bytes())?;
    let digits = core::str::from_utf8(value.strip_prefix(b"=0x")?).ok()?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timer_address_is_found_on_the_command_line() {
        assert_eq!(timer_address(c"bulkhead_timer=0xd0000000"), Some(0xd000_0000));
        for other in
            [c"bulkhead_timer=", c"bulkhead_timer=12", c"TERM=linux", c"bulkhead_timer"]
        {
            assert_eq!(timer_address(other), None, "{other:?}");
        }
    }
}
