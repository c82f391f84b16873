//! What the clones of one machine must not have in common.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use bulkhead_guest::protocol::Fresh;

/// Random bytes of the host's kernel, and its time.
///
/// # Errors
///
/// When the kernel has no random bytes.
pub fn fresh() -> io::Result<Fresh> {
    let mut entropy = [0_u8; 32];
    // SAFETY: `entropy` is valid for writes of its own length.
    let drawn = unsafe { libc::getrandom(entropy.as_mut_ptr().cast(), entropy.len(), 0) };
    // So few are never cut short (getrandom(2)).
    if usize::try_from(drawn) != Ok(entropy.len()) {
        return Err(io::Error::last_os_error());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Fresh {
        entropy,
        seconds: i64::try_from(now.as_secs()).unwrap_or(0),
        nanoseconds: i64::from(now.subsec_nanos()),
    })
}
