//! Names of archive entries, made safe to use one component at a time.

use std::fmt;

/// Most directories one inside the other. Removing a tree takes an open file for
/// each, of which a process has 1024 by default.
const MAX_DEPTH: usize = 512;

/// A path below the root of a layer: components separated by single slashes,
/// none of them empty, `.` or `..`. The root itself is empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct LayerPath(Vec<u8>);

/// A name that does not lead to a place below the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It starts at the root of the host.
    #[error("the name is absolute")]
    Absolute,
    /// It climbs.
    #[error("the name contains `..`")]
    DotDot,
    /// It holds a byte that no file name can.
    #[error("the name contains a NUL byte")]
    Nul,
    /// It has more levels than any real tree: walking such a one would need
    /// more open files than a process may have.
    #[error("the name has more than {MAX_DEPTH} levels")]
    TooDeep,
}

impl LayerPath {
    /// Cleans a name: `./` in front, doubled and trailing slashes go.
    pub fn parse(name: &[u8]) -> Result<Self, PathError> {
        if name.starts_with(b"/") {
            return Err(PathError::Absolute);
        }
        if name.contains(&0) {
            return Err(PathError::Nul);
        }
        let mut path = Vec::with_capacity(name.len());
        let mut depth = 0;
        for component in name.split(|b| *b == b'/') {
            match component {
                b"" | b"." => {}
                b".." => return Err(PathError::DotDot),
                _ => {
                    if !path.is_empty() {
                        path.push(b'/');
                    }
                    path.extend_from_slice(component);
                    depth += 1;
                }
            }
        }
        if depth > MAX_DEPTH {
            return Err(PathError::TooDeep);
        }
        Ok(Self(path))
    }

    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The directory it is in, and its name there; `None` for the root.
    pub fn split(&self) -> Option<(&[u8], &[u8])> {
        if self.is_root() {
            return None;
        }
        Some(match self.0.iter().rposition(|b| *b == b'/') {
            Some(slash) => (&self.0[..slash], &self.0[slash + 1..]),
            None => (&[], &self.0),
        })
    }

    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|b| *b == b'/').filter(|component| !component.is_empty())
    }
}

/// A name in a directory, as a path.
pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_owned() } else { [directory, name].join(&b'/') }
}

impl fmt::Debug for LayerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_cleaned() {
        let clean = |name: &str| LayerPath::parse(name.as_bytes()).map(|p| p.0);
        assert_eq!(clean("./a//b/./c/"), Ok(b"a/b/c".to_vec()));
        assert_eq!(clean("./"), Ok(vec![]));
        assert_eq!(clean(""), Ok(vec![]));
        assert_eq!(clean("..."), Ok(b"...".to_vec()));
        assert_eq!(clean("/a"), Err(PathError::Absolute));
        assert_eq!(clean("a/../b"), Err(PathError::DotDot));
        assert_eq!(clean("a\0b"), Err(PathError::Nul));
    }

    proptest! {
        #[test]
        fn no_component_leads_elsewhere(name in any::<Vec<u8>>()) {
            if let Ok(path) = LayerPath::parse(&name) {
                for component in path.components() {
                    prop_assert!(!matches!(component, b"" | b"." | b".."));
                    prop_assert!(!component.contains(&0) && !component.contains(&b'/'));
                }
                prop_assert_eq!(LayerPath::parse(path.as_bytes()).unwrap(), path);
            }
        }
    }
}
