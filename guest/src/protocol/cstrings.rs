//! Lists of C strings in one allocation, ready to be pointed into.

use alloc::vec::Vec;
use core::ffi::CStr;
use core::fmt;

use serde::{Deserialize, Serialize};

/// NUL-terminated strings back to back, as `execve(2)` wants them in memory:
/// the guest needs no allocation per argument, only a pointer.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct CStrings(Vec<u8>);

/// Text with a NUL byte in it, which no C string can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContainsNul;

/// A list whose last string lacks its NUL.
#[derive(Debug, Clone, Copy)]
pub struct Unterminated;

impl CStrings {
    /// Appends `text`.
    ///
    /// # Errors
    ///
    /// [`ContainsNul`] when it holds a NUL byte; nothing is appended then.
    pub fn push(&mut self, text: &[u8]) -> Result<(), ContainsNul> {
        if text.contains(&0) {
            return Err(ContainsNul);
        }
        self.0.extend_from_slice(text);
        self.0.push(0);
        Ok(())
    }

    /// A list of `texts`.
    ///
    /// # Errors
    ///
    /// [`ContainsNul`] when one of them holds a NUL byte.
    pub fn from_texts<T: AsRef<[u8]>>(
        texts: impl IntoIterator<Item = T>,
    ) -> Result<Self, ContainsNul> {
        let mut list = Self::default();
        for text in texts {
            list.push(text.as_ref())?;
        }
        Ok(list)
    }

    /// The strings in order.
    pub fn iter(&self) -> impl Iterator<Item = &CStr> {
        self.0
            .split_inclusive(|byte| *byte == 0)
            .filter_map(|text| CStr::from_bytes_with_nul(text).ok())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<Vec<u8>> for CStrings {
    type Error = Unterminated;

    fn try_from(bytes: Vec<u8>) -> Result<Self, Unterminated> {
        match bytes.last() {
            None | Some(0) => Ok(Self(bytes)),
            Some(_) => Err(Unterminated),
        }
    }
}

impl From<CStrings> for Vec<u8> {
    fn from(list: CStrings) -> Self {
        list.0
    }
}

impl fmt::Debug for CStrings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl fmt::Display for ContainsNul {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the text contains a NUL byte")
    }
}

impl core::error::Error for ContainsNul {}

impl fmt::Display for Unterminated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the list of strings does not end with a NUL byte")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn keeps_strings_apart_also_empty_ones() {
        let list = CStrings::from_texts(["sh", "", "-c"]).unwrap();
        let back: Vec<&CStr> = list.iter().collect();
        assert_eq!(back, [c"sh", c"", c"-c"]);
        assert!(CStrings::default().iter().next().is_none());
    }

    #[test]
    fn refuses_what_a_c_string_cannot_hold() {
        let mut list = CStrings::default();
        assert_eq!(list.push(b"a\0b"), Err(ContainsNul));
        assert!(list.is_empty());
        assert!(CStrings::try_from(vec![b'a']).is_err());
    }
}
