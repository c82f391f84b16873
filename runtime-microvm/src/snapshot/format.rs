//! The envelope of a snapshot's state: what it is, which version, whether it is
//! whole.
//!
//! ```text
//! 0   magic       8 bytes
//! 8   version     u32, little endian
//! 12  length      u64, little endian: bytes of payload
//! 20  checksum    SHA-256 of the payload
//! 52  payload     postcard, see `Manifest`
//! ```

use sha2::{Digest as _, Sha256};

/// The first bytes of the file.
const MAGIC: [u8; 8] = *b"BLKHSNAP";

/// Version of everything in the payload: of every structure that is saved, and of
/// what a processor or a device makes of it. One number, because one program writes
/// and reads them all, and postcard does not describe itself.
pub const VERSION: u32 = 4;

/// Bytes before the payload.
const HEADER_LEN: usize = 52;

/// Bytes that are not a snapshot's state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// It begins with something else.
    #[error("it is not a snapshot")]
    NotASnapshot,
    /// It is of another version of this program.
    #[error("it has format {found}, this program reads format {VERSION}")]
    Version {
        /// Which.
        found: u32,
    },
    /// It ends too early, or goes on too long.
    #[error("it is cut off: {found} of {expected} bytes are there")]
    Length {
        /// Bytes that are there.
        found: u64,
        /// Bytes there should be.
        expected: u64,
    },
    /// Its bytes are not those that were written.
    #[error("it is damaged: the checksum does not match")]
    Checksum,
    /// Its bytes are those that were written, and mean nothing.
    #[error("it does not decode")]
    Payload(#[source] postcard::Error),
}

/// Wraps a payload.
#[must_use]
pub fn wrap(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_LEN + payload.len());
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((payload.len() as u64).to_le_bytes());
    bytes.extend(Sha256::digest(payload));
    bytes.extend(payload);
    bytes
}

/// The payload, checked.
///
/// # Errors
///
/// [`FormatError`]; the version before anything that may depend on it.
pub fn unwrap(bytes: &[u8]) -> Result<&[u8], FormatError> {
    let Some(rest) = bytes.strip_prefix(&MAGIC) else {
        return Err(FormatError::NotASnapshot);
    };
    let cut_off =
        FormatError::Length { found: bytes.len() as u64, expected: HEADER_LEN as u64 };
    let (version, rest) = rest.split_first_chunk().ok_or(cut_off.clone())?;
    let found = u32::from_le_bytes(*version);
    if found != VERSION {
        return Err(FormatError::Version { found });
    }
    let (length, rest) = rest.split_first_chunk().ok_or(cut_off.clone())?;
    let length = u64::from_le_bytes(*length);
    let (checksum, payload) = rest.split_first_chunk::<32>().ok_or(cut_off)?;
    if payload.len() as u64 != length {
        let expected = length.saturating_add(HEADER_LEN as u64);
        return Err(FormatError::Length { found: bytes.len() as u64, expected });
    }
    if Sha256::digest(payload)[..] != checksum[..] {
        return Err(FormatError::Checksum);
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_kind_of_damage_has_its_name() {
        let whole = wrap(b"payload");
        assert_eq!(unwrap(&whole), Ok(&b"payload"[..]));
        assert_eq!(unwrap(b"something else"), Err(FormatError::NotASnapshot));
        let mut older = whole.clone();
        older[8] = 0;
        assert_eq!(unwrap(&older), Err(FormatError::Version { found: 0 }));
        let cut = unwrap(&whole[..whole.len() - 1]);
        assert_eq!(cut, Err(FormatError::Length { found: 58, expected: 59 }));
        let mut flipped = whole.clone();
        flipped[HEADER_LEN] ^= 1;
        assert_eq!(unwrap(&flipped), Err(FormatError::Checksum));
    }

    proptest! {
        #[test]
        fn what_was_wrapped_comes_back(payload in proptest::collection::vec(any::<u8>(), 0..500)) {
            let wrapped = wrap(&payload);
            prop_assert_eq!(unwrap(&wrapped).unwrap(), &payload[..]);
        }

        #[test]
        fn a_single_changed_byte_is_seen(
            payload in proptest::collection::vec(any::<u8>(), 1..200),
            at in any::<prop::sample::Index>(),
            change in 1..=255_u8,
        ) {
            let mut bytes = wrap(&payload);
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            prop_assert!(unwrap(&bytes).is_err());
        }

        #[test]
        fn arbitrary_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(unwrap(&bytes).is_err());
        }
    }
}
