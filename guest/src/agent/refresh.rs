//! Making a machine that goes on from a snapshot one of its own.
//!
//! Its clones have the same memory: the state of the kernel's random numbers is in
//! it, and its time of day is that of the snapshot. Both are replaced before anything
//! of the workload exists.

use core::ffi::CStr;

use super::spawn::failed;
use super::sys::{self, Errno, Fd};
use crate::protocol::{Failure, Fresh, Step};

/// The node through which the randomness is reached, gone again at once. An image may
/// have no `/dev` yet.
const NODE: &CStr = c"/.bulkhead-random";

/// `/dev/urandom`: memory devices are major 1, this is minor 9
/// (Documentation/admin-guide/devices.txt).
const RANDOM_MAJOR: u32 = 1;
const RANDOM_MINOR: u32 = 9;

/// Takes over what the host says is fresh.
pub fn refresh(fresh: &Fresh) -> Result<(), Failure> {
    open_random()
        .and_then(|random| {
            sys::add_entropy(&random, &fresh.entropy)?;
            sys::reseed(&random)
        })
        .map_err(failed(Step::Randomness))?;
    sys::set_clock(fresh.seconds, fresh.nanoseconds).map_err(failed(Step::SetClock))
}

fn open_random() -> sys::Result<Fd> {
    match sys::make_node(NODE, libc::S_IFCHR | 0o600, RANDOM_MAJOR, RANDOM_MINOR) {
        // The workload runs, on a root that it must not write to, and has devices.
        Err(Errno(libc::EROFS)) => return sys::open(c"/dev/urandom", libc::O_WRONLY),
        other => other?,
    }
    let random = sys::open(NODE, libc::O_WRONLY);
    sys::remove(NODE)?;
    random
}
