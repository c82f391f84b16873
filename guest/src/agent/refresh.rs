//! Making a machine that goes on from a snapshot one of its own.
//!
//! Its clones have the same memory: the state of the kernel's random numbers is in
//! it, and its time of day is that of the snapshot. Both are replaced before anything
//! of the workload exists.

use core::ffi::CStr;

use super::spawn::failed;
use super::sys::{self, Fd};
use crate::protocol::{Failure, Fresh, Step};

/// `/dev/urandom`: memory devices are major 1, this is minor 9
/// (Documentation/admin-guide/devices.txt).
const RANDOM_MAJOR: u32 = 1;
const RANDOM_MINOR: u32 = 9;

/// Opens the kernel's source of randomness through a node made at `node`: once, at
/// boot, so that no machine from a snapshot has to.
pub fn open_random(node: &CStr) -> sys::Result<Fd> {
    sys::make_node(node, libc::S_IFCHR | 0o600, RANDOM_MAJOR, RANDOM_MINOR)?;
    sys::open(node, libc::O_WRONLY)
}

/// Takes over what the host says is fresh.
pub fn refresh(random: &sys::Result<Fd>, fresh: &Fresh) -> Result<(), Failure> {
    random
        .as_ref()
        .map_err(|errno| *errno)
        .and_then(|random| {
            sys::add_entropy(random, &fresh.entropy)?;
            sys::reseed(random)
        })
        .map_err(failed(Step::Randomness))?;
    sys::set_clock(fresh.seconds, fresh.nanoseconds).map_err(failed(Step::SetClock))
}
