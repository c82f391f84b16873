//! ELF `vmlinux` and bzImage.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use linux_loader::loader::bootparam::setup_header;
use linux_loader::loader::{BzImage, Elf, KernelLoader};
use vm_memory::{GuestAddress, GuestMemoryBackend};

use super::{BootError, layout, mapped};
use crate::kvm::GuestRam;

/// A kernel in guest memory.
#[derive(Debug)]
pub struct Loaded {
    /// Its 64-bit entry point.
    pub entry: GuestAddress,
    /// The setup header of a bzImage.
    pub setup_header: Option<setup_header>,
}

/// The formats, by their magic numbers.
#[derive(Debug, PartialEq, Eq)]
enum Format {
    Elf,
    BzImage,
}

/// Offset of the 64-bit entry point behind the start of a loaded bzImage
/// (boot.rst, 64-bit boot protocol).
const BZIMAGE_ENTRY64: u64 = 0x200;
/// `XLF_KERNEL_64` in `xloadflags` (asm/bootparam.h).
const XLF_KERNEL_64: u16 = 1;

/// Loads the kernel into guest memory.
pub fn load(ram: &GuestRam, path: &Path, file: &mut File) -> Result<Loaded, BootError> {
    let load_error = |source| BootError::Load { path: path.to_owned(), source };
    let format =
        detect(file).map_err(|source| BootError::Read { path: path.to_owned(), source })?;
    let high = Some(layout::HIGH_MEMORY);
    let loaded = match format {
        Some(Format::Elf) => {
            let entry = match mapped::map_elf(ram, file) {
                Ok(Some(entry)) => entry,
                // Copied, or else the loader says best what is wrong with it.
                Ok(None) | Err(_) => {
                    Elf::load(ram, None, file, high).map_err(load_error)?.kernel_load
                }
            };
            Loaded { entry, setup_header: None }
        }
        Some(Format::BzImage) => {
            let kernel = BzImage::load(ram, None, file, high).map_err(load_error)?;
            let header = kernel.setup_header.unwrap_or_default();
            if header.xloadflags & XLF_KERNEL_64 == 0 {
                return Err(BootError::No64BitEntry { path: path.to_owned() });
            }
            let entry = GuestAddress(kernel.kernel_load.0.saturating_add(BZIMAGE_ENTRY64));
            Loaded { entry, setup_header: Some(header) }
        }
        None => return Err(BootError::NotAKernel { path: path.to_owned() }),
    };
    if !ram.address_in_range(loaded.entry) {
        return Err(BootError::EntryOutside { path: path.to_owned(), entry: loaded.entry.0 });
    }
    Ok(loaded)
}

fn detect(file: &File) -> std::io::Result<Option<Format>> {
    /// Offset of the magic `HdrS` (boot.rst, the real-mode kernel header).
    const HDRS_OFFSET: u64 = 0x202;
    let mut magic = [0_u8; 4];
    if file.read_at(&mut magic, 0)? == magic.len() && magic == *b"\x7fELF" {
        return Ok(Some(Format::Elf));
    }
    let is_bzimage = file.read_at(&mut magic, HDRS_OFFSET)? == magic.len() && magic == *b"HdrS";
    Ok(is_bzimage.then_some(Format::BzImage))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kvm::map_ram;
    use proptest::prelude::*;
    use std::io::Write;

    fn try_load(bytes: &[u8]) -> Result<Loaded, BootError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        load(&map_ram(4).unwrap(), Path::new("kernel"), &mut file)
    }

    /// An ELF header for a 64-bit x86 executable with one program header.
    fn elf(entry: u64, load_at: u64, body: &[u8]) -> Vec<u8> {
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(16, 0);
        elf.extend([2, 0, 62, 0, 1, 0, 0, 0]); // executable, x86-64, version
        elf.extend(entry.to_le_bytes());
        elf.extend(64_u64.to_le_bytes()); // program headers
        elf.extend([0; 8]); // section headers
        elf.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        elf.extend([1, 0, 0, 0, 7, 0, 0, 0]); // PT_LOAD, rwx
        for word in [120, load_at, load_at, body.len() as u64, body.len() as u64, 1] {
            elf.extend(u64::to_le_bytes(word));
        }
        elf.extend(body);
        elf
    }

    #[test]
    fn an_elf_is_loaded_where_it_says() {
        let loaded = try_load(&elf(0x20_0000, 0x20_0000, &[0xf4; 64])).unwrap();
        assert_eq!(loaded.entry, GuestAddress(0x20_0000));
    }

    #[test]
    fn a_kernel_on_pages_is_mapped_and_its_file_is_safe_from_the_guest() {
        use std::io::Read;
        use vm_memory::Bytes;
        let body: Vec<u8> = (0..9000_u32).map(|at| at.to_le_bytes()[0] ^ 0x5a).collect();
        let mut image = elf(0x20_0000, 0x20_0000, &[]);
        image.resize(4096, 0);
        image[72..80].copy_from_slice(&4096_u64.to_le_bytes()); // p_offset
        image[96..104].copy_from_slice(&9000_u64.to_le_bytes()); // p_filesz
        image[104..112].copy_from_slice(&9000_u64.to_le_bytes()); // p_memsz
        image.extend(&body);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&image).unwrap();
        let ram = map_ram(4).unwrap();
        let entry = mapped::map_elf(&ram, file.as_file()).unwrap();
        assert_eq!(entry, Some(GuestAddress(0x20_0000)));
        let mut loaded = vec![1; 9100];
        ram.read_slice(&mut loaded, GuestAddress(0x20_0000)).unwrap();
        assert_eq!(loaded[..9000], body);
        assert_eq!(loaded[9000..], [0; 100]);
        ram.write_slice(&[0; 9000], GuestAddress(0x20_0000)).unwrap();
        let mut after = Vec::new();
        File::open(file.path()).unwrap().read_to_end(&mut after).unwrap();
        assert_eq!(after, image);
    }

    #[test]
    fn what_is_no_kernel_is_said_so() {
        for bytes in [&b""[..], b"\x7fEL", b"#!/bin/sh\n", &[0; 4096]] {
            assert!(matches!(try_load(bytes), Err(BootError::NotAKernel { .. })));
        }
    }

    #[test]
    fn damaged_kernels_are_refused() {
        let whole = elf(0x20_0000, 0x20_0000, &[0xf4; 64]);
        assert!(matches!(try_load(&whole[..100]), Err(BootError::Load { .. })));
        assert!(matches!(try_load(&whole[..150]), Err(BootError::Load { .. })));
        let outside = elf(0x20_0000, 0x4000_0000, &[0xf4; 64]);
        assert!(try_load(&outside).is_err());
        let entry = elf(0x4000_0000, 0x20_0000, &[0xf4; 64]);
        assert!(try_load(&entry).is_err());
    }

    proptest! {
        #[test]
        fn random_bytes_behind_a_magic_number_never_panic(
            tail in proptest::collection::vec(any::<u8>(), 0..2048),
            at in 0..120_usize,
            noise: [u8; 8],
        ) {
            let _ = try_load(&[&b"\x7fELF"[..], &tail].concat());
            let mut bent = elf(0x20_0000, 0x20_0000, &[0xf4; 64]);
            bent[at..at + 8].copy_from_slice(&noise);
            let _ = try_load(&bent);
            let mut zimage = tail;
            zimage.resize(4096, 0);
            zimage[0x202..0x206].copy_from_slice(b"HdrS");
            let _ = try_load(&zimage);
        }
    }
}
