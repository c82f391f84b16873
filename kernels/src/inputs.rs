//! What a kernel is built from, compiled into this crate.

use sha2::{Digest, Sha256};

/// The patch in a file under `patches/`.
macro_rules! patch {
    ($name:literal) => {
        Patch { name: $name, text: include_str!(concat!("../patches/", $name)) }
    };
}

/// The configuration fragment; everything it does not name is off.
pub const CONFIG: &str = include_str!("../config/bulkhead.config");

/// Our patches, in the order they are applied.
pub const PATCHES: &[Patch] = &[
    patch!("0001-tick-let-ticks-be-rarer-than-jiffies.patch"),
    patch!("0002-x86-run-where-ring-0-is-emulated.patch"),
    patch!("0003-x86-alternatives-patch-common-sites-without-decoding.patch"),
    patch!("0004-x86-mm-skip-empty-entries-before-asking-e820.patch"),
    patch!("0005-x86-make-memory-sections-32-mib.patch"),
    patch!("0006-x86-end-bss-where-it-ends.patch"),
    patch!("0007-slub-no-sysfs-without-slub-debug.patch"),
    patch!("0008-kobject-make-no-uevent-that-nobody-hears.patch"),
    patch!("0009-params-no-sysfs-of-builtin-parameters-without-modules.patch"),
    patch!("0010-ipv4-draw-ip-identifiers-when-first-needed.patch"),
    patch!("0011-x86-mm-leave-init-memory-alone-with-rodata-off.patch"),
    patch!("0012-mm-set-up-pages-without-asking-about-each.patch"),
    patch!("0013-virtio_balloon-report-runs-of-128-KiB.patch"),
    patch!("0014-block-show-virtio-pmem-as-a-disk.patch"),
];

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
