//! Taking in a snapshot that was made elsewhere.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::{SnapshotError, io_error};
use super::{Fingerprint, KnownFile, Manifest, PAGE, Snapshot, Snapshots, files};

/// How much memory is taken in at a time, bytes.
const PIECE: usize = 256 * PAGE;

/// A snapshot whose state is here, fits this host as far as its files go, and whose
/// memory is still to come.
#[derive(Debug)]
pub struct Incoming {
    manifest: Manifest,
}

impl Incoming {
    /// Understands a `state`. The kernel and the disk that the machine needs have to
    /// be among these files, under whatever name.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Format`], and [`SnapshotError::Needs`] what is not there.
    pub fn understand(
        state: &[u8],
        kernels: &[PathBuf],
        disks: &[PathBuf],
    ) -> Result<Self, SnapshotError> {
        let path = Path::new(files::STATE).to_owned();
        let mut manifest =
            Manifest::decode(state).map_err(|source| SnapshotError::Format { path, source })?;
        let needed = &mut manifest.fingerprint;
        needed.kernel = find("guest kernel", &needed.kernel, kernels)?;
        needed.disk = find("disk", &needed.disk, disks)?;
        Ok(Self { manifest })
    }

    /// Where it can go on.
    #[must_use]
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.manifest.fingerprint
    }

    /// Takes in the memory and keeps the snapshot as `name`; one of that name is
    /// replaced, or kept.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::MemoryDamaged`] when the memory is not the one that was saved;
    /// nothing stays behind then.
    pub fn keep(
        mut self,
        snapshots: &Snapshots,
        name: &str,
        memory: &mut dyn Read,
        replace: bool,
    ) -> Result<Snapshot, SnapshotError> {
        let draft = snapshots.draft(name)?;
        let was = &self.manifest.memory;
        let file = draft.memory(was.len())?;
        let path = PathBuf::from(files::MEMORY);
        match fill(&file, was.len(), memory) {
            // What is there, less what is missing or too much.
            Err(error)
                if [ErrorKind::UnexpectedEof, ErrorKind::FileTooLarge]
                    .contains(&error.kind()) =>
            {
                return Err(SnapshotError::MemoryDamaged { path });
            }
            other => other.map_err(io_error("take in", &path))?,
        }
        let is = draft.known_memory(&file)?;
        if is.hex() != was.hex() {
            return Err(SnapshotError::MemoryDamaged { path });
        }
        self.manifest.memory = is;
        draft.publish(&self.manifest, replace)
    }
}

/// Writes `len` bytes to an empty file; pages of zeroes stay holes.
fn fill(file: &File, len: u64, from: &mut dyn Read) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    while at < len {
        let piece = usize::try_from(len - at).unwrap_or(PIECE).min(PIECE);
        from.read_exact(&mut buffer[..piece])?;
        for (offset, page) in (at..).step_by(PAGE).zip(buffer[..piece].chunks(PAGE)) {
            if page.iter().any(|byte| *byte != 0) {
                file.write_all_at(page, offset)?;
            }
        }
        at += piece as u64;
    }
    match from.read(&mut buffer[..1])? {
        0 => Ok(()),
        _ => Err(ErrorKind::FileTooLarge.into()),
    }
}

/// The file here that has the content of `known`.
fn find(
    what: &'static str,
    known: &KnownFile,
    here: &[PathBuf],
) -> Result<KnownFile, SnapshotError> {
    for path in here {
        let file = File::open(path).map_err(io_error("open", path))?;
        if known.has_content_of(&file).map_err(io_error("read", path))? {
            return KnownFile::of(path).map_err(io_error("read", path));
        }
    }
    Err(SnapshotError::Needs { what, was: known.path.clone(), digest: known.hex() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RootDisk;
    use crate::snapshot::DeviceSet;
    use bulkhead_guest::protocol;
    use bulkhead_kernels::KvmFlavour;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    const LEN: usize = 8 << 20;

    #[test]
    fn what_comes_in_is_what_went_out_or_nothing() {
        let place = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = place.path().join(name);
            fs::write(&path, content).unwrap();
            path
        };
        let mut memory = vec![0; LEN];
        memory[5 << 20] = 7;
        let known = |path: &Path| KnownFile::of(path).unwrap();
        let (kernel, disk) = (file("kernel", b"a kernel"), file("disk", b"a disk"));
        let manifest = Manifest {
            label: "label".to_owned(),
            created_s: 1,
            fingerprint: Fingerprint {
                flavour: KvmFlavour::Pvm,
                protocol: protocol::VERSION,
                kernel: known(&kernel),
                command_line: String::new(),
                disk: known(&disk),
                memory_mib: 8,
                devices: DeviceSet {
                    root_disk: RootDisk::Blk,
                    rng: false,
                    balloon: false,
                    card: false,
                    shares: false,
                },
            },
            memory: known(&file("memory", &memory)),
            pages: 1,
            running: false,
            application: None,
            machine: vec![1, 2, 3],
        };
        let state = manifest.encode().unwrap();
        let elsewhere = [file("other", b"no kernel"), file("copy", b"a kernel")];
        let disks = [disk];
        let snapshots = Snapshots::in_dir(place.path().join("snapshots"));
        let incoming = || Incoming::understand(&state, &elsewhere, &disks).unwrap();
        assert_eq!(incoming().fingerprint().kernel.path, elsewhere[1]);

        let changed = [&memory[..LEN - 1], b"x"].concat();
        let longer = [&memory[..], b"x"].concat();
        for damaged in [&memory[1..], &changed, &longer] {
            let refused = incoming().keep(&snapshots, "in", &mut &damaged[..], false);
            assert!(matches!(refused, Err(SnapshotError::MemoryDamaged { .. })));
        }
        assert!(snapshots.list().unwrap().is_empty());
        let kept = incoming().keep(&snapshots, "in", &mut &memory[..], false).unwrap();
        kept.verify().unwrap();
        assert_eq!(kept.manifest.machine, manifest.machine);
        assert!(fs::metadata(kept.memory()).unwrap().blocks() * 512 < 1 << 20, "it is sparse");

        let missing = Incoming::understand(&state, &elsewhere[..1], &disks).unwrap_err();
        assert!(matches!(missing, SnapshotError::Needs { what: "guest kernel", .. }));
        let missing = Incoming::understand(&state, &elsewhere, &elsewhere).unwrap_err();
        assert!(matches!(missing, SnapshotError::Needs { what: "disk", .. }));
        let cut = Incoming::understand(&state[..state.len() - 1], &elsewhere, &disks);
        assert!(matches!(cut, Err(SnapshotError::Format { .. })));
    }
}
