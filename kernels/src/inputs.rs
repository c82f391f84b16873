//! What a kernel is built from, compiled into this crate.

use sha2::{Digest, Sha256};

/// The configuration fragment; everything it does not name is off.
pub const CONFIG: &str = include_str!("../config/bulkhead.config");

/// Our patches, in the order they are applied.
pub const PATCHES: &[Patch] = &[];

/// Changes whenever the way of building changes what is built.
const BUILDER_VERSION: u32 = 1;

/// A patch with the name of its file.
#[derive(Debug)]
pub struct Patch {
    /// Name of the file under `patches/`.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

/// Hash of configuration, patches and builder: sixteen hexadecimal digits.
pub fn hash() -> String {
    let mut hasher = Sha256::new();
    hasher.update(BUILDER_VERSION.to_le_bytes());
    let parts = [CONFIG].into_iter().chain(PATCHES.iter().map(|patch| patch.text));
    for part in parts {
        // The length keeps the end of one part from passing for the beginning of
        // the next.
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_stable_and_short() {
        assert_eq!(hash(), hash());
        assert_eq!(hash().len(), 16);
    }

    #[test]
    fn every_patch_gives_its_reason_first() {
        for patch in PATCHES {
            let header = patch.text.split("\n--- ").next().unwrap_or_default();
            assert!(header.len() > 80, "{} has no reason in its header", patch.name);
            assert!(patch.text.contains("\n+++ "), "{} is no patch", patch.name);
        }
    }
}
