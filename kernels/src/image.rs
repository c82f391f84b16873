//! Kernel images: what a file must look like to be booted.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// File formats of an x86-64 kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// ELF `vmlinux`.
    Elf,
    /// Compressed `bzImage`.
    BzImage,
}

/// A file that was checked to be a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelImage {
    /// Its format.
    pub format: Format,
    /// The release, as `uname -r` would print it, where the file tells.
    pub release: Option<String>,
}

/// A file that is no kernel this project can boot.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file could not be read.
    #[error("cannot read the kernel {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Neither an ELF file nor a bzImage.
    #[error("{} is not a kernel: neither ELF nor bzImage", path.display())]
    NotAKernel {
        /// The file.
        path: PathBuf,
    },
    /// A kernel, or at least an ELF file, for something else.
    #[error("{} is not a kernel for x86-64", path.display())]
    WrongMachine {
        /// The file.
        path: PathBuf,
    },
    /// A kernel whose end is missing.
    #[error("the kernel {} is truncated: {size} bytes of {expected}", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its size, bytes.
        size: u64,
        /// The size its headers ask for, bytes.
        expected: u64,
    },
}

/// A reason without the name of the file.
enum Defect {
    NotAKernel,
    WrongMachine,
    Truncated { expected: u64 },
}

impl KernelImage {
    /// Reads and checks a file.
    ///
    /// # Errors
    ///
    /// [`ImageError`], saying what is wrong with it.
    pub fn inspect(path: &Path) -> Result<Self, ImageError> {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .map_err(|source| ImageError::Read { path: path.to_owned(), source })?;
        let size = bytes.len() as u64;
        Self::parse(&bytes).map_err(|defect| {
            let path = path.to_owned();
            match defect {
                Defect::NotAKernel => ImageError::NotAKernel { path },
                Defect::WrongMachine => ImageError::WrongMachine { path },
                Defect::Truncated { expected } => {
                    ImageError::Truncated { path, size, expected }
                }
            }
        })
    }

    fn parse(bytes: &[u8]) -> Result<Self, Defect> {
        if bytes.starts_with(b"\x7fELF") {
            check_elf(bytes)?;
            return Ok(Self { format: Format::Elf, release: banner_release(bytes) });
        }
        if bytes.get(HDRS..HDRS + 4) == Some(b"HdrS") {
            check_bzimage(bytes)?;
            return Ok(Self { format: Format::BzImage, release: header_release(bytes) });
        }
        Err(Defect::NotAKernel)
    }
}

/// `N` bytes at `offset`.
fn at<const N: usize>(bytes: &[u8], offset: usize) -> Result<[u8; N], Defect> {
    let end = offset.saturating_add(N);
    bytes
        .get(offset..end)
        .and_then(|found| found.try_into().ok())
        .ok_or(Defect::Truncated { expected: end as u64 })
}

fn u16_at(bytes: &[u8], offset: usize) -> Result<u16, Defect> {
    at(bytes, offset).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], offset: usize) -> Result<u32, Defect> {
    at(bytes, offset).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], offset: usize) -> Result<u64, Defect> {
    at(bytes, offset).map(u64::from_le_bytes)
}

/// Every loadable segment must lie within the file, and the entry point within
/// a segment (System V ABI, "Object Files").
fn check_elf(bytes: &[u8]) -> Result<(), Defect> {
    const CLASS_64_LITTLE_ENDIAN: [u8; 2] = [2, 1];
    const EM_X86_64: u16 = 62;
    const PT_LOAD: u32 = 1;
    const PROGRAM_HEADER_BYTES: usize = 56;
    if at::<2>(bytes, 4)? != CLASS_64_LITTLE_ENDIAN || u16_at(bytes, 18)? != EM_X86_64 {
        return Err(Defect::WrongMachine);
    }
    let entry = u64_at(bytes, 24)?;
    let table = usize::try_from(u64_at(bytes, 32)?).map_err(|_| Defect::NotAKernel)?;
    let mut has_entry = false;
    for index in 0..usize::from(u16_at(bytes, 56)?) {
        let header = table.saturating_add(index * PROGRAM_HEADER_BYTES);
        if u32_at(bytes, header)? != PT_LOAD {
            continue;
        }
        let (offset, physical, in_file, in_memory) = (
            u64_at(bytes, header + 8)?,
            u64_at(bytes, header + 24)?,
            u64_at(bytes, header + 32)?,
            u64_at(bytes, header + 40)?,
        );
        let expected = offset.saturating_add(in_file);
        if expected > bytes.len() as u64 {
            return Err(Defect::Truncated { expected });
        }
        has_entry |= (physical..physical.saturating_add(in_memory)).contains(&entry);
    }
    if has_entry { Ok(()) } else { Err(Defect::NotAKernel) }
}

/// Offset of the magic number of a bzImage (Documentation/x86/boot.rst, "The
/// Real-Mode Kernel Header"), as are the offsets below.
const HDRS: usize = 0x202;

fn check_bzimage(bytes: &[u8]) -> Result<(), Defect> {
    const SETUP_SECTS: usize = 0x1f1;
    const SYSSIZE: usize = 0x1f4;
    const VERSION: usize = 0x206;
    const XLOADFLAGS: usize = 0x236;
    const XLF_KERNEL_64: u16 = 1;
    /// `xloadflags` came with this version of the protocol.
    const PROTOCOL_2_12: u16 = 0x020c;
    const SECTOR: u64 = 512;
    if u16_at(bytes, VERSION)? < PROTOCOL_2_12
        || u16_at(bytes, XLOADFLAGS)? & XLF_KERNEL_64 == 0
    {
        return Err(Defect::WrongMachine);
    }
    let sectors = match at::<1>(bytes, SETUP_SECTS)? {
        [0] => 4,
        [sectors] => u64::from(sectors),
    };
    let expected = (sectors + 1) * SECTOR + u64::from(u32_at(bytes, SYSSIZE)?) * 16;
    // The size is in units of 16 bytes: the last one need not be full.
    if bytes.len() as u64 + 15 < expected {
        return Err(Defect::Truncated { expected });
    }
    Ok(())
}

/// The release out of the banner every kernel carries (init/version.c).
fn banner_release(bytes: &[u8]) -> Option<String> {
    const BANNER: &[u8] = b"Linux version ";
    let start = bytes.windows(BANNER.len()).position(|window| window == BANNER)?;
    word(&bytes[start + BANNER.len()..])
}

/// The release out of the text a bzImage's header points to.
fn header_release(bytes: &[u8]) -> Option<String> {
    const KERNEL_VERSION: usize = 0x20e;
    let pointer = u16_at(bytes, KERNEL_VERSION).ok()?;
    if pointer == 0 {
        return None;
    }
    word(bytes.get(usize::from(pointer) + 0x200..)?)
}

fn word(bytes: &[u8]) -> Option<String> {
    let text: String = bytes
        .iter()
        .take(64)
        .take_while(|byte| byte.is_ascii_graphic())
        .map(|&byte| char::from(byte))
        .collect();
    (!text.is_empty() && !text.contains('%')).then_some(text)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The smallest ELF file that passes for a kernel: one segment, its entry
    /// point at the start, a banner inside.
    pub(crate) fn tiny_elf() -> Vec<u8> {
        let mut elf = vec![0; 0x100];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[18] = 62;
        elf[24..32].copy_from_slice(&0x10_0000_u64.to_le_bytes());
        elf[32] = 64;
        elf[56] = 1;
        elf[64] = 1;
        elf[64 + 8] = 0x80;
        elf[64 + 24..64 + 32].copy_from_slice(&0x10_0000_u64.to_le_bytes());
        elf[64 + 32] = 0x80;
        elf[64 + 40] = 0x80;
        elf[0x80..0x80 + 22].copy_from_slice(b"Linux version 6.1-tiny");
        elf
    }

    fn tiny_bzimage() -> Vec<u8> {
        let mut image = vec![0; 0x600];
        image[0x1f1] = 1;
        image[0x1f4] = 0x20;
        image[HDRS..HDRS + 4].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
        image[0x236] = 1;
        image[0x20e] = 0x80;
        image[0x280..0x289].copy_from_slice(b"6.1 (me) ");
        image
    }

    fn inspect(bytes: &[u8]) -> Result<KernelImage, ImageError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        KernelImage::inspect(file.path())
    }

    #[test]
    fn both_formats_are_known_with_their_release() {
        let elf = inspect(&tiny_elf()).unwrap();
        assert_eq!((elf.format, elf.release.as_deref()), (Format::Elf, Some("6.1-tiny")));
        let image = inspect(&tiny_bzimage()).unwrap();
        assert_eq!((image.format, image.release.as_deref()), (Format::BzImage, Some("6.1")));
    }

    #[test]
    fn what_is_no_kernel_is_said_to_be_none() {
        assert!(matches!(inspect(b""), Err(ImageError::NotAKernel { .. })));
        assert!(matches!(inspect(&[0x5a; 4096]), Err(ImageError::NotAKernel { .. })));
        let mut arm = tiny_elf();
        arm[18] = 183;
        assert!(matches!(inspect(&arm), Err(ImageError::WrongMachine { .. })));
        let mut no_entry = tiny_elf();
        no_entry[24] = 0xff;
        assert!(matches!(inspect(&no_entry), Err(ImageError::NotAKernel { .. })));
        let mut real_mode_only = tiny_bzimage();
        real_mode_only[0x236] = 0;
        assert!(matches!(inspect(&real_mode_only), Err(ImageError::WrongMachine { .. })));
        assert!(matches!(
            KernelImage::inspect(Path::new("/nonexistent")),
            Err(ImageError::Read { .. })
        ));
    }

    #[test]
    fn every_shorter_kernel_is_truncated() {
        let elf = tiny_elf();
        for length in 5..elf.len() {
            let found = inspect(&elf[..length]);
            assert!(matches!(found, Err(ImageError::Truncated { .. })), "{length}: {found:?}");
        }
        let image = tiny_bzimage();
        assert!(matches!(
            inspect(&image[..image.len() - 16]),
            Err(ImageError::Truncated { .. })
        ));
    }

    proptest! {
        #[test]
        fn nothing_makes_the_parser_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..2048),
            kind in 0..3_u8,
        ) {
            match kind {
                0 if bytes.len() > 20 => {
                    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
                    bytes[18..20].copy_from_slice(&[62, 0]);
                }
                1 if bytes.len() > HDRS + 4 => bytes[HDRS..HDRS + 4].copy_from_slice(b"HdrS"),
                _ => {}
            }
            let _ = KernelImage::parse(&bytes);
        }
    }
}
