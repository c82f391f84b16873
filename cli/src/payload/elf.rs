//! Just enough of the ELF format to tell a static program from any other
//! (System V ABI, "Object Files" and "Program Loading").

/// Why a file will not run on a machine that has nothing but it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotStatic {
    /// Not a 64-bit little-endian ELF file, or a truncated one.
    NotElf,
    /// Not at a fixed address (`e_type` is not `ET_EXEC`).
    NotFixed,
    /// It names a dynamic loader (`PT_INTERP`).
    NeedsLoader,
    /// It has something to link at run time (`PT_DYNAMIC`).
    NeedsLinking,
}

/// `ELFMAG`, `ELFCLASS64`, `ELFDATA2LSB`.
const IDENT: [u8; 6] = *b"\x7fELF\x02\x01";
const E_TYPE: usize = 16;
const E_PHOFF: usize = 32;
const E_PHENTSIZE: usize = 54;
const E_PHNUM: usize = 56;
const ET_EXEC: u64 = 2;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;

/// Checks that `file` is a static program at a fixed address.
pub fn check_static(file: &[u8]) -> Result<(), NotStatic> {
    if !file.starts_with(&IDENT) {
        return Err(NotStatic::NotElf);
    }
    if number(file, E_TYPE, 2)? != ET_EXEC {
        return Err(NotStatic::NotFixed);
    }
    let (start, size) = (number(file, E_PHOFF, 8)?, number(file, E_PHENTSIZE, 2)?);
    for index in 0..number(file, E_PHNUM, 2)? {
        let header = usize::try_from(start.saturating_add(index * size));
        match number(file, header.map_err(|_| NotStatic::NotElf)?, 4)? {
            PT_INTERP => return Err(NotStatic::NeedsLoader),
            PT_DYNAMIC => return Err(NotStatic::NeedsLinking),
            _ => {}
        }
    }
    Ok(())
}

/// The little-endian number of `len` bytes at `offset`.
fn number(file: &[u8], offset: usize, len: usize) -> Result<u64, NotStatic> {
    let bytes = file.get(offset..).and_then(|rest| rest.get(..len)).ok_or(NotStatic::NotElf)?;
    Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}
