//! Little-endian 32-bit registers, accessed with any width.

/// Fills `data` from a register value; what is wider reads as zero.
pub fn load(value: u32, data: &mut [u8]) {
    data.fill(0);
    let bytes = value.to_le_bytes();
    let len = data.len().min(bytes.len());
    data[..len].copy_from_slice(&bytes[..len]);
}

/// The register value that `data` stores; bytes beyond the register are lost.
#[must_use]
pub fn store(data: &[u8]) -> u32 {
    let mut bytes = [0; 4];
    let len = data.len().min(bytes.len());
    bytes[..len].copy_from_slice(&data[..len]);
    u32::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_is_defined() {
        let mut wide = [1; 8];
        load(0x0403_0201, &mut wide);
        assert_eq!(wide, [1, 2, 3, 4, 0, 0, 0, 0]);
        let mut narrow = [0; 2];
        load(0x0403_0201, &mut narrow);
        assert_eq!(narrow, [1, 2]);
        assert_eq!(store(&[]), 0);
        assert_eq!(store(&[1, 2]), 0x0201);
        assert_eq!(store(&[1, 2, 3, 4, 5]), 0x0403_0201);
    }
}
