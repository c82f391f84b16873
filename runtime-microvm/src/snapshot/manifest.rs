//! What a snapshot's state says: where it can go on, and what of.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{SnapshotError, io_error};
use super::format::{self, FormatError};
use super::{Fingerprint, KnownFile, WorkingSet, files};
use crate::application::Application;
use crate::machine::MachineState;

/// The content of a snapshot's `state`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// What it is of, for a person.
    pub label: String,
    /// When it was made, seconds since 1970.
    pub created_s: u64,
    /// Where it can go on.
    pub fingerprint: Fingerprint,
    /// The memory's file.
    pub memory: KnownFile,
    /// Pages of memory that are not zero.
    pub pages: u64,
    /// A workload runs in it, instead of PID 1 waiting for one.
    pub running: bool,
    /// What that is, when it was saved because it was ready.
    pub application: Option<Application>,
    /// A [`MachineState`], encoded: only who goes on with it has to understand it.
    pub machine: Vec<u8>,
}

impl Manifest {
    /// As it is written to the file.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Encode`].
    pub fn encode(&self) -> Result<Vec<u8>, SnapshotError> {
        postcard::to_allocvec(self)
            .map(|payload| format::wrap(&payload))
            .map_err(SnapshotError::Encode)
    }

    /// From the bytes of a file.
    ///
    /// # Errors
    ///
    /// [`FormatError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        decode(format::unwrap(bytes)?)
    }

    /// The state of the machine.
    ///
    /// # Errors
    ///
    /// [`FormatError::Payload`].
    pub fn machine(&self) -> Result<MachineState, FormatError> {
        decode(&self.machine)
    }
}

/// All of `bytes` as one value.
fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, FormatError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(FormatError::Payload(postcard::Error::DeserializeBadEncoding)),
        Err(error) => Err(FormatError::Payload(error)),
    }
}

/// A snapshot that is there and whole, as far as its state is concerned.
#[derive(Debug, Clone)]
pub struct Snapshot {
    dir: PathBuf,
    /// What it says.
    pub manifest: Manifest,
}

impl Snapshot {
    /// Opens the snapshot in the directory `dir`.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`] when it is damaged or from another version.
    pub fn open(dir: &Path) -> Result<Self, SnapshotError> {
        let path = dir.join(files::STATE);
        let bytes = fs::read(&path).map_err(io_error("read", &path))?;
        let manifest = Manifest::decode(&bytes)
            .map_err(|source| SnapshotError::Format { path, source })?;
        Ok(Self { dir: dir.to_owned(), manifest })
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its memory's file.
    #[must_use]
    pub fn memory(&self) -> PathBuf {
        self.dir.join(files::MEMORY)
    }

    /// Whether it is known what a machine that goes on from here touches first.
    #[must_use]
    pub fn has_working_set(&self) -> bool {
        self.dir.join(files::WORKING_SET).exists()
    }

    /// Keeps what the process `pid` has touched until now, a monitor that went on from
    /// here, for those that follow.
    ///
    /// # Errors
    ///
    /// When the process is gone, or the list cannot be written.
    pub fn record_working_set(&self, pid: i32) -> Result<(), SnapshotError> {
        let path = self.memory();
        WorkingSet::of(pid, &path)
            .map_err(io_error("see what is used of", &path))?
            .store(&self.dir)
    }

    /// The state of its machine.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Format`].
    pub fn machine(&self) -> Result<MachineState, SnapshotError> {
        let path = self.dir.join(files::STATE);
        self.manifest.machine().map_err(|source| SnapshotError::Format { path, source })
    }

    /// Reads the memory's file and compares it with what was saved.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::MemoryDamaged`].
    pub fn verify(&self) -> Result<(), SnapshotError> {
        let path = self.memory();
        let file = fs::File::open(&path).map_err(io_error("open", &path))?;
        match self.manifest.memory.has_content_of(&file).map_err(io_error("read", &path))? {
            true => Ok(()),
            false => Err(SnapshotError::MemoryDamaged { path }),
        }
    }

    /// What its files take of the disk, bytes.
    ///
    /// # Errors
    ///
    /// When a file is not there.
    pub fn disk_bytes(&self) -> Result<u64, SnapshotError> {
        /// Unit of `st_blocks` (stat(2)).
        const BLOCK: u64 = 512;
        let mut bytes = 0;
        for name in [files::MEMORY, files::STATE, files::WORKING_SET] {
            let path = self.dir.join(name);
            match fs::metadata(&path) {
                // Recorded by the first machine that goes on.
                Err(error)
                    if error.kind() == ErrorKind::NotFound && name == files::WORKING_SET => {}
                other => {
                    let metadata = other.map_err(io_error("find", &path))?;
                    bytes += std::os::unix::fs::MetadataExt::blocks(&metadata) * BLOCK;
                }
            }
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RootDisk;
    use crate::snapshot::DeviceSet;
    use bulkhead_kernels::KvmFlavour;
    use proptest::prelude::*;

    fn manifests() -> impl Strategy<Value = Manifest> {
        let file = KnownFile::of(Path::new("/proc/version")).unwrap();
        let fingerprint = Fingerprint {
            flavour: KvmFlavour::Pvm,
            protocol: 7,
            kernel: file.clone(),
            command_line: "a b".to_owned(),
            disk: file.clone(),
            memory_mib: 64,
            devices: DeviceSet {
                root_disk: RootDisk::Pmem,
                rng: true,
                balloon: false,
                card: true,
                shares: true,
            },
        };
        let machine = proptest::collection::vec(any::<u8>(), 0..300);
        let arguments = proptest::option::of(proptest::collection::vec(".*", 0..4));
        (".*", any::<u64>(), any::<u64>(), any::<bool>(), arguments, machine).prop_map(
            move |(label, created_s, pages, running, arguments, machine)| Manifest {
                application: arguments.map(|args| Application {
                    args,
                    ready: label.clone(),
                    hands_over: running,
                }),
                label,
                created_s,
                fingerprint: fingerprint.clone(),
                memory: file.clone(),
                pages,
                running,
                machine,
            },
        )
    }

    proptest! {
        #[test]
        fn a_manifest_comes_back(manifest in manifests()) {
            let bytes = manifest.encode().unwrap();
            prop_assert_eq!(Manifest::decode(&bytes).unwrap(), manifest);
        }

        /// Nearly right, and with a checksum that fits: the decoder gets far.
        #[test]
        fn a_changed_manifest_is_decoded_or_refused(
            manifest in manifests(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in any::<prop::sample::Index>(),
            is_cut in any::<bool>(),
        ) {
            let bytes = manifest.encode().unwrap();
            let mut payload = format::unwrap(&bytes).unwrap().to_vec();
            for (at, byte) in changes {
                let at = at.index(payload.len());
                payload[at] = byte;
            }
            if is_cut {
                payload.truncate(cut.index(payload.len()));
            }
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(files::STATE), format::wrap(&payload)).unwrap();
            match Snapshot::open(dir.path()) {
                // What it says is checked by who goes on from it.
                Ok(snapshot) => drop(snapshot.machine()),
                Err(error) => {
                    let refused = matches!(error, SnapshotError::Format { .. });
                    prop_assert!(refused, "{error:?}");
                }
            }
        }

        /// The checksum is no defence against who makes the file: the decoder gets
        /// anything.
        #[test]
        fn arbitrary_payloads_are_decoded_or_refused(
            payload in proptest::collection::vec(any::<u8>(), 0..2000),
        ) {
            if let Ok(manifest) = Manifest::decode(&format::wrap(&payload)) {
                drop(manifest.machine());
            }
            drop(decode::<MachineState>(&payload));
        }
    }
}
