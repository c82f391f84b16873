//! How long the processor's thread runs before the host's scheduler turns to another.
//!
//! Where the guest's kernel is emulated, one tick of its clock costs some milliseconds,
//! more than a scheduler's usual slice. On a host with more machines than processors
//! each of them would be given time for the tick that is due, and for nothing else.

use std::io;
use std::time::Duration;

/// The longest there is (`__setparam_fair`, kernel/sched/syscalls.c).
const LONGEST: Duration = Duration::from_millis(100);

/// `struct sched_attr` in its first version (linux/sched/types.h).
#[repr(C)]
#[derive(Default)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Has the calling thread run for 100 ms at a time. Kernels before 6.12 take no notice.
///
/// # Errors
///
/// When the kernel refuses.
pub fn lengthen() -> io::Result<()> {
    let size = u32::try_from(size_of::<Attributes>()).unwrap_or(0);
    let mut attributes = Attributes::default();
    // SAFETY: the pointer is to a structure of the size that is named; thread 0 is the
    // calling one.
    let got =
        unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0_u32) };
    if got != 0 {
        return Err(io::Error::last_os_error());
    }
    attributes.size = size;
    attributes.runtime = u64::try_from(LONGEST.as_nanos()).unwrap_or(0);
    // SAFETY: as above.
    match unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0_u32) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheduler_takes_it() {
        // A thread of its own: the slice is the thread's.
        std::thread::spawn(|| lengthen().unwrap()).join().unwrap();
    }
}
