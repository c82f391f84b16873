//! A file as a range of the guest's memory.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use vm_memory::GuestAddress;
use vm_memory::mmap::{MmapRegion, MmapRegionError};

/// Unit of the range, bytes: guests map it by large pages, and Linux takes no less
/// for memory of its own (`SUBSECTION_SIZE`, linux/mmzone.h).
const UNIT: u64 = 2 << 20;

/// A file that cannot be mapped.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// There is no room for it in the address space.
    #[error("cannot reserve {len} bytes of address space for the file")]
    Reserve {
        /// How long the range was to be.
        len: u64,
        /// Why.
        #[source]
        source: MmapRegionError,
    },
    /// The kernel refused to map the file.
    #[error("cannot map the file")]
    Map(#[source] io::Error),
}

/// A file that the guest can read as memory. What follows the file's end up to a whole unit is zero.
#[derive(Debug)]
pub struct MappedFile {
    range: MmapRegion,
    start: GuestAddress,
}

impl MappedFile {
    /// Maps `len` bytes of `file`, for the guest to find at `start`.
    ///
    /// As with any program that runs, the file must not be changed in place
    /// meanwhile; our disks are replaced by renaming.
    ///
    /// # Errors
    ///
    /// [`MapError`].
    pub fn new(file: &File, len: u64, start: GuestAddress) -> Result<Self, MapError> {
        let whole = len.next_multiple_of(UNIT);
        let too_long = |_| MapError::Map(io::ErrorKind::FileTooLarge.into());
        let (reserved, mapped) = (
            usize::try_from(whole).map_err(too_long)?,
            usize::try_from(len).map_err(too_long)?,
        );
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let range = MmapRegion::build(None, reserved, libc::PROT_READ, flags)
            .map_err(|source| MapError::Reserve { len: whole, source })?;
        // SAFETY: replaces the beginning of a range that is ours and that nothing
        // refers into yet; it is unmapped as a whole.
        let at = unsafe {
            libc::mmap(
                range.as_ptr().cast(),
                mapped,
                libc::PROT_READ,
                libc::MAP_SHARED | libc::MAP_FIXED,
                file.as_raw_fd(),
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(MapError::Map(io::Error::last_os_error()));
        }
        Ok(Self { range, start })
    }

    /// Where the guest finds it.
    #[must_use]
    pub fn start(&self) -> GuestAddress {
        self.start
    }

    /// Length of the range, bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.range.size() as u64
    }

    /// Where it is in our address space; only to be read.
    #[must_use]
    pub fn host_address(&self) -> *const u8 {
        self.range.as_ptr()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_file_is_followed_by_zeros_up_to_a_whole_unit() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), [0xd1; 5000]).unwrap();
        let range = MappedFile::new(file.as_file(), 5000, GuestAddress(1 << 32)).unwrap();
        assert_eq!((range.start(), range.size()), (GuestAddress(1 << 32), 2 << 20));
        // SAFETY: mapped for as long as `range` lives, and nothing writes to the file.
        let seen = unsafe { std::slice::from_raw_parts(range.host_address(), 2 << 20) };
        assert!(seen[..5000].iter().all(|byte| *byte == 0xd1));
        assert!(seen[5000..].iter().all(|byte| *byte == 0));
    }
}
