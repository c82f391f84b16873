//! The image that comes with the program: `FROM scratch`, one static program,
//! and a file for it to read.

use std::fs::File;
use std::io::{self, Read};

use crate::import::{Generate, ImportError, RootfsConfig, generate};
use crate::store::{Store, StoreError, Transaction};
use crate::unpack::UnpackLimits;
use crate::{Image, ImageRef, NoProgress};

/// Name of the built-in image.
pub const PROBE: &str = "probe:latest";

/// Where the program is in it.
const PROGRAM: &str = "probe";

/// Where the file is that programs read to see how fast the image is.
pub const DATA: &str = "data";

/// Length of that file, bytes.
const DATA_LENGTH: usize = 1 << 20;

/// The image `probe:latest`, with `program` as `/probe` and a file `/data`: made and named when
/// the store does not have it, or has it with another program.
///
/// # Errors
///
/// [`ImportError`] when the store cannot take it.
pub fn probe(store: &Store, program: &[u8]) -> Result<Image, ImportError> {
    match store.resolve(PROBE) {
        // Comparing is cheaper than hashing, and this is on the way of each run.
        Ok(image) if holds(&image, program) => return Ok(image),
        Ok(_) | Err(StoreError::NotFound(_)) => {}
        Err(e) => return Err(e.into()),
    }
    let mut transaction = Transaction::begin(store)?;
    let layer = transaction.stage_bytes(&layer(program))?;
    let config = RootfsConfig {
        entrypoint: vec![format!("/{PROGRAM}")],
        working_dir: Some("/".to_owned()),
        ..RootfsConfig::default()
    };
    let what = Generate { layer, config: &config, limits: UnpackLimits::default() };
    let record = generate(&what, &mut transaction, &NoProgress)?;
    let name: ImageRef = PROBE.parse()?;
    let digest = record.manifest;
    transaction.commit(&[(record, vec![name])], &NoProgress)?;
    Ok(store.load(digest)?)
}

/// Whether an image is the one made of `program`. Its file is known by its
/// length: reading it would fill the cache with it at every run.
fn holds(image: &Image, program: &[u8]) -> bool {
    let [layer] = image.layer_dirs() else { return false };
    let length = layer.join(DATA).metadata().map(|file| file.len());
    if length.ok() != Some(DATA_LENGTH as u64) {
        return false;
    }
    File::open(layer.join(PROGRAM)).and_then(|file| same(file, program)).unwrap_or(false)
}

/// Compares a file with bytes, piece by piece: a piece stays in the processor's
/// cache, and no memory for the whole has to be found and cleared.
fn same(mut file: File, mut expected: &[u8]) -> io::Result<bool> {
    if file.metadata()?.len() != expected.len() as u64 {
        return Ok(false);
    }
    let mut piece = [0; 16 * 1024];
    loop {
        let len = file.read(&mut piece)?;
        let Some((here, rest)) = expected.split_at_checked(len) else { return Ok(false) };
        if here != &piece[..len] {
            return Ok(false);
        }
        if len == 0 {
            return Ok(rest.is_empty());
        }
        expected = rest;
    }
}

/// The layer: root directory, program and file, owned by root, dated 1970, so
/// that the same program makes the same digest everywhere.
fn layer(program: &[u8]) -> Vec<u8> {
    let mut archive = entry("./", tar::EntryType::Directory, &[]);
    archive.extend(entry(PROGRAM, tar::EntryType::Regular, program));
    archive.extend(entry(DATA, tar::EntryType::Regular, &data()));
    // The end-of-archive mark: two blocks of zeros.
    archive.extend([0; 1024]);
    archive
}

/// Bytes that no file system can store in less, the same everywhere: the
/// generator is xorshift64 (G. Marsaglia, 2003).
fn data() -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(DATA_LENGTH / 8).flatten().collect()
}

fn entry(name: &str, kind: tar::EntryType, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}
