//! The kernel's source of randomness, through a descriptor of its device.

use core::ffi::c_int;

use super::{Fd, Result, syscall};

/// `RNDADDENTROPY`, `_IOW('R', 0x03, int[2])`, and `RNDRESEEDCRNG`, `_IO('R', 0x07)`
/// (linux/random.h).
const ADD_ENTROPY: u32 = 0x4008_5203;
const RESEED: u32 = 0x5207;

/// Bytes that are added at a time.
const LEN: c_int = 32;

/// `struct rand_pool_info` (linux/random.h) with its bytes.
#[repr(C)]
struct PoolInfo {
    entropy_bits: c_int,
    size: c_int,
    bytes: [u8; 32],
}

/// Adds bytes that nobody can guess.
pub fn add_entropy(random: &Fd, bytes: &[u8; 32]) -> Result<()> {
    let info = PoolInfo { entropy_bits: LEN * 8, size: LEN, bytes: *bytes };
    // SAFETY: the kernel reads the structure and the bytes, whose number is in it.
    unsafe { syscall!(SYS_ioctl, random.raw(), ADD_ENTROPY, &raw const info)? };
    Ok(())
}

/// Has everything the kernel draws from now on come from what was added.
pub fn reseed(random: &Fd) -> Result<()> {
    // SAFETY: no memory is passed.
    unsafe { syscall!(SYS_ioctl, random.raw(), RESEED)? };
    Ok(())
}
