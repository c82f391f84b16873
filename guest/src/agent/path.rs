//! Paths put together without allocating.

use core::ffi::CStr;
use core::mem::MaybeUninit;

use super::sys::{self, Errno};

/// Longest path with its NUL (`PATH_MAX`, linux/limits.h).
const PATH_MAX: usize = 4096;

/// A path under construction, on the stack. Not initialised in advance, so that
/// only the pages in use are touched.
pub struct PathBuffer {
    bytes: [MaybeUninit<u8>; PATH_MAX],
    len: usize,
}

impl PathBuffer {
    /// An empty path.
    pub fn new() -> Self {
        Self { bytes: [const { MaybeUninit::uninit() }; PATH_MAX], len: 0 }
    }

    /// Makes it empty again.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Appends `text`.
    ///
    /// # Errors
    ///
    /// `ENAMETOOLONG` when it does not fit.
    pub fn push(&mut self, text: &[u8]) -> sys::Result<()> {
        // One byte stays free for the NUL.
        let room = self.bytes[self.len..PATH_MAX - 1].get_mut(..text.len());
        let room = room.ok_or(Errno(libc::ENAMETOOLONG))?;
        for (to, from) in room.iter_mut().zip(text) {
            to.write(*from);
        }
        self.len += text.len();
        Ok(())
    }

    /// Appends `number` in decimal.
    ///
    /// # Errors
    ///
    /// `ENAMETOOLONG` when it does not fit.
    pub fn push_number(&mut self, number: u32) -> sys::Result<()> {
        let mut divisor = 1_000_000_000;
        while divisor > 1 && number / divisor == 0 {
            divisor /= 10;
        }
        while divisor > 0 {
            let digit = u8::try_from(number / divisor % 10).unwrap_or(0);
            self.push(&[b'0' + digit])?;
            divisor /= 10;
        }
        Ok(())
    }

    /// The text so far.
    pub fn bytes(&self) -> &[u8] {
        let used = &self.bytes[..self.len];
        // SAFETY: `push` has initialised the first `len` bytes; MaybeUninit<u8>
        // has the layout of u8.
        unsafe { core::slice::from_raw_parts(used.as_ptr().cast(), used.len()) }
    }

    /// The text so far as a C string.
    ///
    /// # Errors
    ///
    /// `EINVAL` when it holds a NUL.
    pub fn c_str(&mut self) -> sys::Result<&CStr> {
        self.bytes[self.len].write(0);
        let with_nul = &self.bytes[..=self.len];
        // SAFETY: the first `len` bytes and the NUL behind them are initialised.
        let with_nul =
            unsafe { core::slice::from_raw_parts(with_nul.as_ptr().cast(), with_nul.len()) };
        CStr::from_bytes_with_nul(with_nul).map_err(|_| Errno::INVAL)
    }
}

/// Makes the directory `path` and those above it that are missing.
///
/// # Errors
///
/// What the kernel says, except that something is there already.
pub fn make_dir_all(path: &CStr) -> sys::Result<()> {
    let mut made = PathBuffer::new();
    for part in path.to_bytes().split_inclusive(|byte| *byte == b'/') {
        made.push(part)?;
        if part != b"/" {
            match sys::make_dir(made.c_str()?, 0o755) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(())
}

/// Makes the empty file `path`, and the directories above it that are missing.
///
/// # Errors
///
/// What the kernel says, except that something is there already.
pub fn make_file(path: &CStr) -> sys::Result<()> {
    let bytes = path.to_bytes();
    let end = bytes.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    if end > 0 {
        let mut parent = PathBuffer::new();
        parent.push(&bytes[..end])?;
        make_dir_all(parent.c_str()?)?;
    }
    match sys::create(path, 0o644) {
        Ok(_) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 7, 10, 4095, 1_000_000_000, u32::MAX] {
            let mut text = PathBuffer::new();
            text.push_number(number).unwrap();
            assert_eq!(text.bytes(), std::format!("{number}").as_bytes());
        }
    }

    #[test]
    fn a_path_has_an_end() {
        let mut path = PathBuffer::new();
        path.push(&[b'a'; PATH_MAX - 1]).unwrap();
        assert_eq!(path.push(b"b"), Err(Errno(libc::ENAMETOOLONG)));
        assert_eq!(path.c_str().unwrap().count_bytes(), PATH_MAX - 1);
    }

    #[test]
    fn directories_are_made_down_to_the_last() {
        let root = tempfile::tempdir().unwrap();
        let deep =
            std::ffi::CString::new(std::format!("{}/a//b/c/", root.path().display())).unwrap();
        make_dir_all(&deep).unwrap();
        make_dir_all(&deep).unwrap();
        assert!(root.path().join("a/b/c").is_dir());
    }
}
