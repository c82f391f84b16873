//! What has to be the same where a machine goes on.

use std::fmt;
use std::fs::File;
use std::path::Path;

use bulkhead_guest::protocol;
use bulkhead_kernels::KvmFlavour;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::{SnapshotError, io_error};
use super::file::Identity;
use super::{KnownFile, format};
use crate::config::RootDisk;

/// The devices a machine can have or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSet {
    /// How it is shown its root filesystem.
    pub root_disk: RootDisk,
    /// A virtio source of randomness.
    pub rng: bool,
    /// A virtio balloon.
    pub balloon: bool,
    /// A virtio network card.
    pub card: bool,
    /// virtio-fs, with nothing mounted.
    pub shares: bool,
}

impl DeviceSet {
    /// Whether a machine with these can be used as one with `wanted`: a card that is
    /// not connected does no harm, nor does a file server that is not there.
    fn can_be(&self, wanted: &Self) -> bool {
        let enough = (self.card || !wanted.card) && (self.shares || !wanted.shares);
        let (card, shares) = (wanted.card, wanted.shares);
        enough && Self { card, shares, ..*self } == *wanted
    }
}

impl fmt::Display for DeviceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.root_disk {
            RootDisk::Blk => "virtio-blk",
            RootDisk::Pmem => "virtio-pmem",
        })?;
        for (there, name) in [
            (self.rng, ", virtio-rng"),
            (self.balloon, ", virtio-balloon"),
            (self.card, ", virtio-net"),
            (self.shares, ", virtio-fs"),
        ] {
            f.write_str(if there { name } else { "" })?;
        }
        Ok(())
    }
}

/// The machine somebody wants to go on with, or to save.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The host's KVM.
    pub flavour: KvmFlavour,
    /// The guest kernel.
    pub kernel: &'a Path,
    /// What is added to its command line.
    pub command_line: &'a str,
    /// The root filesystem.
    pub disk: &'a Path,
    /// Guest memory, MiB.
    pub memory_mib: u32,
    /// The devices it can have or not.
    pub devices: DeviceSet,
}

impl Wanted<'_> {
    /// A name by which such a machine is found again. Of the files only what the
    /// filesystem says goes into it: finding a template must not take longer than
    /// using it.
    ///
    /// # Errors
    ///
    /// When the kernel or the disk is not there.
    pub fn key(&self) -> Result<String, SnapshotError> {
        let identity = |path| Identity::of(path).map_err(io_error("find", path));
        let parts = (
            (format::VERSION, protocol::VERSION, self.flavour),
            (identity(self.kernel)?, self.command_line),
            (identity(self.disk)?, self.memory_mib, self.devices),
        );
        let bytes = postcard::to_allocvec(&parts).map_err(SnapshotError::Encode)?;
        Ok(Sha256::digest(bytes)[..8].iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// What has to be the same where the machine goes on. Reads the files.
    ///
    /// # Errors
    ///
    /// When the kernel or the disk cannot be read.
    pub fn fingerprint(&self) -> Result<Fingerprint, SnapshotError> {
        let known = |path: &Path| KnownFile::of(path).map_err(io_error("read", path));
        Ok(Fingerprint {
            flavour: self.flavour,
            protocol: protocol::VERSION,
            kernel: known(self.kernel)?,
            command_line: self.command_line.to_owned(),
            disk: known(self.disk)?,
            memory_mib: self.memory_mib,
            devices: self.devices,
        })
    }
}

/// What has to be the same where a machine goes on; its processor is compared when
/// it is put together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The KVM it ran under.
    pub flavour: KvmFlavour,
    /// The protocol its PID 1 speaks.
    pub protocol: u32,
    /// Its kernel.
    pub kernel: KnownFile,
    /// What was added to the kernel's command line.
    pub command_line: String,
    /// Its root filesystem.
    pub disk: KnownFile,
    /// Its memory, MiB.
    pub memory_mib: u32,
    /// The devices it can have or not.
    pub devices: DeviceSet,
}

impl<'a> From<&'a Fingerprint> for Wanted<'a> {
    fn from(made: &'a Fingerprint) -> Self {
        Self {
            flavour: made.flavour,
            kernel: &made.kernel.path,
            command_line: &made.command_line,
            disk: &made.disk.path,
            memory_mib: made.memory_mib,
            devices: made.devices,
        }
    }
}

impl Fingerprint {
    /// Whether the machine can be the wanted one.
    ///
    /// # Errors
    ///
    /// The first difference.
    pub fn check(&self, wanted: &Wanted<'_>) -> Result<(), SnapshotError> {
        if self.flavour != wanted.flavour {
            let (was, is) = (self.flavour, wanted.flavour);
            return Err(SnapshotError::OtherFlavour { was, is });
        }
        if self.protocol != protocol::VERSION {
            let (was, is) = (self.protocol, protocol::VERSION);
            return Err(SnapshotError::OtherProtocol { was, is });
        }
        // With another kernel come other parameters and devices, which would say less.
        same("guest kernel", &self.kernel, wanted.kernel)?;
        same("disk", &self.disk, wanted.disk)?;
        if self.memory_mib != wanted.memory_mib {
            let (was, is) = (self.memory_mib, wanted.memory_mib);
            return Err(SnapshotError::OtherMemory { was, is });
        }
        if self.command_line != wanted.command_line {
            let (was, is) = (self.command_line.clone(), wanted.command_line.to_owned());
            return Err(SnapshotError::OtherCommandLine { was, is });
        }
        if !self.devices.can_be(&wanted.devices) {
            let (was, is) = (self.devices, wanted.devices);
            return Err(SnapshotError::OtherDevices { was, is });
        }
        Ok(())
    }
}

fn same(what: &'static str, known: &KnownFile, path: &Path) -> Result<(), SnapshotError> {
    if File::open(path).and_then(|file| known.is(&file)).map_err(io_error("read", path))? {
        Ok(())
    } else {
        Err(SnapshotError::OtherFile { what, path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    const DEVICES: DeviceSet = DeviceSet {
        root_disk: RootDisk::Blk,
        rng: false,
        balloon: false,
        card: false,
        shares: false,
    };

    struct Place {
        dir: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            let place = Self { dir: tempfile::tempdir().unwrap() };
            fs::write(place.path("kernel"), "a kernel").unwrap();
            fs::write(place.path("disk"), "a disk").unwrap();
            place
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }
    }

    #[test]
    fn every_difference_has_its_reason() {
        let place = Place::new();
        let (kernel, disk) = (place.path("kernel"), place.path("disk"));
        let wanted = Wanted {
            flavour: KvmFlavour::Intel,
            kernel: &kernel,
            command_line: "quiet",
            disk: &disk,
            memory_mib: 64,
            devices: DEVICES,
        };
        let made = wanted.fingerprint().unwrap();
        made.check(&wanted).unwrap();
        let refused = |wanted: Wanted<'_>| made.check(&wanted).unwrap_err();
        let other = refused(Wanted { flavour: KvmFlavour::Amd, ..wanted });
        assert!(matches!(other, SnapshotError::OtherFlavour { .. }));
        let other = refused(Wanted { memory_mib: 128, ..wanted });
        assert!(matches!(other, SnapshotError::OtherMemory { was: 64, is: 128 }));
        let other = refused(Wanted { command_line: "loud", ..wanted });
        assert!(matches!(other, SnapshotError::OtherCommandLine { .. }));
        let devices = DeviceSet { root_disk: RootDisk::Pmem, balloon: true, ..DEVICES };
        let other = refused(Wanted { devices, ..wanted });
        assert_eq!(
            other.to_string(),
            "the snapshot's machine has virtio-blk, virtio-pmem, virtio-balloon are asked for"
        );
        let devices = DeviceSet { card: true, ..DEVICES };
        let other = refused(Wanted { devices, ..wanted });
        assert!(other.to_string().ends_with("virtio-blk, virtio-net are asked for"), "{other}");
        let with_card = Wanted { devices, ..wanted }.fingerprint().unwrap();
        with_card.check(&wanted).unwrap();
        let other = refused(Wanted { kernel: &disk, ..wanted });
        assert!(matches!(other, SnapshotError::OtherFile { what: "guest kernel", .. }));
        let other = refused(Wanted { disk: &kernel, ..wanted });
        assert!(matches!(other, SnapshotError::OtherFile { what: "disk", .. }));
        let older = Fingerprint { protocol: 0, ..made.clone() };
        let other = older.check(&wanted).unwrap_err();
        assert!(matches!(other, SnapshotError::OtherProtocol { was: 0, .. }));
    }

    #[test]
    fn the_key_follows_the_files() {
        let place = Place::new();
        let (kernel, disk) = (place.path("kernel"), place.path("disk"));
        let key = |memory_mib| {
            let wanted = Wanted {
                flavour: KvmFlavour::Intel,
                kernel: &kernel,
                command_line: "",
                disk: &disk,
                memory_mib,
                devices: DEVICES,
            };
            wanted.key().unwrap()
        };
        assert_eq!(key(64), key(64));
        assert_ne!(key(64), key(65));
        let before = key(64);
        fs::write(&disk, "another disk").unwrap();
        assert_ne!(before, key(64));
    }
}
