//! PAX extended headers (POSIX.1-2017, pax, "pax Extended Header").

use super::TarError;

/// Extended attributes as star, GNU tar, Go and libarchive write them.
const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// The records of an extended header that matter here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Extensions {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<(i64, u32)>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The file is stored in one of GNU's sparse formats.
    pub sparse: bool,
}

impl Extensions {
    /// Parses the records; of several with the same key the last counts.
    pub fn parse(mut bytes: &[u8]) -> Result<Self, TarError> {
        let mut found = Self::default();
        while !bytes.is_empty() {
            let (key, value, rest) = record(bytes).ok_or(TarError::Pax)?;
            bytes = rest;
            match key {
                b"path" => found.path = text(value),
                b"linkpath" => found.link = text(value),
                b"size" => found.size = Some(decimal(value)?),
                b"uid" => found.uid = Some(decimal(value)?),
                b"gid" => found.gid = Some(decimal(value)?),
                b"mtime" => found.mtime = Some(time(value).ok_or(TarError::Pax)?),
                _ if key.starts_with(b"GNU.sparse.") => found.sparse = true,
                _ => {
                    if let Some(name) = key.strip_prefix(XATTR_PREFIX) {
                        found.xattrs.retain(|(other, _)| other != name);
                        found.xattrs.push((name.to_owned(), value.to_owned()));
                    }
                }
            }
        }
        Ok(found)
    }
}

/// Takes one record, `length key=value\n`, off the front.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().position(|b| *b == b' ')?;
    let len = usize::try_from(decimal(&bytes[..space]).ok()?).ok()?;
    let body = bytes.get(space + 1..len)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|b| *b == b'=')?;
    Some((&body[..equals], &body[equals + 1..], &bytes[len..]))
}

/// An empty value deletes the record: the header's own field counts.
fn text(value: &[u8]) -> Option<Vec<u8>> {
    (!value.is_empty()).then(|| value.to_owned())
}

fn decimal(digits: &[u8]) -> Result<u64, TarError> {
    if digits.is_empty() || digits.len() > 20 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(TarError::Pax);
    }
    std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).ok_or(TarError::Pax)
}

/// Seconds since 1970 as a decimal fraction of any length, perhaps negative.
fn time(value: &[u8]) -> Option<(i64, u32)> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(value) => (true, value),
        None => (false, value),
    };
    let dot = value.iter().position(|b| *b == b'.').unwrap_or(value.len());
    let seconds = i64::try_from(decimal(&value[..dot]).ok()?).ok()?;
    let fraction = value.get(dot + 1..).unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |place: usize| fraction.get(place).map_or(0, |d| u32::from(d - b'0'));
    let nanoseconds = (0..9).fold(0, |n, place| n * 10 + digit(place));
    Some(match (negative, nanoseconds) {
        (false, _) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn write(key: &[u8], value: &[u8]) -> Vec<u8> {
        let rest = 3 + key.len() + value.len();
        let mut len = rest + 1;
        while len != rest + len.to_string().len() {
            len = rest + len.to_string().len();
        }
        [len.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
    }

    #[test]
    fn a_newline_in_a_value_does_not_start_a_record() {
        let value = b"\x01\n24 path=../../etc/shadow\n";
        let parsed = Extensions::parse(&write(b"SCHILY.xattr.user.x", value)).unwrap();
        assert_eq!(parsed.path, None);
        assert_eq!(parsed.xattrs, [(b"user.x".to_vec(), value.to_vec())]);
    }

    #[test]
    fn times_have_fractions_and_signs() {
        assert_eq!(time(b"12"), Some((12, 0)));
        assert_eq!(time(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(time(b"12.1234567899"), Some((12, 123_456_789)));
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time(b"1.x"), None);
        assert_eq!(time(b""), None);
    }

    #[test]
    fn damaged_records_are_refused() {
        for bad in [&b"path=x"[..], b"9 path=x", b"5 path=x\n", b"99 path=x\n", b"+9 path=x\n"]
        {
            assert!(matches!(Extensions::parse(bad), Err(TarError::Pax)), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(key in "[a-z.]{1,20}", value in any::<Vec<u8>>()) {
            let key = [XATTR_PREFIX, key.as_bytes()].concat();
            let parsed = Extensions::parse(&write(&key, &value)).unwrap();
            prop_assert_eq!(parsed.xattrs, [(key[XATTR_PREFIX.len()..].to_vec(), value)]);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
            let _ = Extensions::parse(&bytes);
        }
    }
}
