//! Names of volumes.

use std::fmt;
use std::str::FromStr;

use super::VolumeError;

/// Longest name: a file name with room for what is put in front of it.
const MAX_LEN: usize = 200;
/// Random bytes in the name of a volume that nobody named; as docker's, so that
/// nobody takes it for a name of theirs.
const RANDOM_BYTES: usize = 32;

/// A name that is a file name and nothing else: it begins with a letter or digit, the
/// rest are letters, digits, `_`, `.` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeName(String);

impl VolumeName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name nobody has.
    ///
    /// # Errors
    ///
    /// When the kernel has no randomness to give.
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0; RANDOM_BYTES];
        std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for VolumeName {
    type Err = VolumeError;

    fn from_str(text: &str) -> Result<Self, VolumeError> {
        let mut bytes = text.bytes();
        let begins = bytes.next().is_some_and(|first| first.is_ascii_alphanumeric());
        let goes_on = bytes
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
        if begins && goes_on && text.len() <= MAX_LEN {
            Ok(Self(text.to_owned()))
        } else {
            Err(VolumeError::Name(text.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn odd_names_are_refused() {
        for odd in ["", ".", "..", ".x", "-x", "a/b", "a b", "a\n", "a:b", "ä", "a\0", "_a"] {
            assert!(odd.parse::<VolumeName>().is_err(), "{odd:?}");
        }
        assert!("x".repeat(201).parse::<VolumeName>().is_err());
        for good in ["a", "0", "my-data_1.2"] {
            assert_eq!(
                good.parse::<VolumeName>().map(|name| name.0).ok().as_deref(),
                Some(good)
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_stays_in_its_directory(text in "\\PC{0,12}") {
            if let Ok(name) = text.parse::<VolumeName>() {
                let path = std::path::Path::new("/v").join(name.as_str());
                prop_assert_eq!(path.parent(), Some(std::path::Path::new("/v")));
                prop_assert_eq!(path.file_name().and_then(|n| n.to_str()), Some(text.as_str()));
            }
        }
    }
}
