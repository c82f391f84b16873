//! SHA-256 (FIPS 180-4) in portable code.
//!
//! Written here because it is the control of the measurement: an
//! implementation that chooses its instructions by CPUID would run different
//! code behind a wall that hides a feature, and the ratio would no longer be
//! about the wall.

/// First 32 bits of the fractional parts of the cube roots of the first 64
/// primes (FIPS 180-4, 4.2.2).
#[rustfmt::skip]
const ROUND: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];

/// First 32 bits of the fractional parts of the square roots of the first 8
/// primes (FIPS 180-4, 5.3.3).
const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

const BLOCK: usize = 64;

/// A digest in the making.
pub struct Sha256 {
    state: [u32; 8],
    pending: [u8; BLOCK],
    pending_length: usize,
    total_bytes: u64,
}

impl Sha256 {
    pub fn new() -> Self {
        Self { state: INITIAL, pending: [0; BLOCK], pending_length: 0, total_bytes: 0 }
    }

    /// Appends `bytes` to the message.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.total_bytes += u64::try_from(bytes.len()).unwrap_or(0);
        if self.pending_length > 0 {
            let taken = bytes.len().min(BLOCK - self.pending_length);
            let (head, rest) = bytes.split_at(taken);
            self.pending[self.pending_length..][..taken].copy_from_slice(head);
            self.pending_length += taken;
            bytes = rest;
            if self.pending_length < BLOCK {
                return;
            }
            compress(&mut self.state, &self.pending);
        }
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        for block in blocks {
            compress(&mut self.state, block);
        }
        self.pending[..rest.len()].copy_from_slice(rest);
        self.pending_length = rest.len();
    }

    /// The digest of the message (padding: FIPS 180-4, 5.1.1).
    pub fn finish(mut self) -> [u8; 32] {
        const ZEROS: [u8; BLOCK] = [0; BLOCK];
        const LENGTH_AT: usize = BLOCK - size_of::<u64>();
        let bits = self.total_bytes.wrapping_mul(8);
        self.update(&[0x80]);
        let zeros = (BLOCK + LENGTH_AT - self.pending_length) % BLOCK;
        self.update(&ZEROS[..zeros]);
        self.update(&bits.to_be_bytes());
        let mut digest = [0; 32];
        for (out, word) in digest.chunks_exact_mut(4).zip(self.state) {
            out.copy_from_slice(&word.to_be_bytes());
        }
        digest
    }
}

/// FIPS 180-4, 6.2.2; the names of the working variables are the standard's.
fn compress(state: &mut [u32; 8], block: &[u8; BLOCK]) {
    let mut schedule = [0_u32; 64];
    for (word, bytes) in schedule.iter_mut().zip(block.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    for t in 16..64 {
        let (w15, w2) = (schedule[t - 15], schedule[t - 2]);
        let sigma0 = w15.rotate_right(7) ^ w15.rotate_right(18) ^ (w15 >> 3);
        let sigma1 = w2.rotate_right(17) ^ w2.rotate_right(19) ^ (w2 >> 10);
        schedule[t] = sigma1
            .wrapping_add(schedule[t - 7])
            .wrapping_add(sigma0)
            .wrapping_add(schedule[t - 16]);
    }
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for (constant, word) in ROUND.iter().zip(&schedule) {
        let sum1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let choose = (e & f) ^ (!e & g);
        let first = h
            .wrapping_add(sum1)
            .wrapping_add(choose)
            .wrapping_add(*constant)
            .wrapping_add(*word);
        let sum0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let majority = (a & b) ^ (a & c) ^ (b & c);
        (h, g, f, e) = (g, f, e, d.wrapping_add(first));
        (d, c, b, a) = (c, b, a, first.wrapping_add(sum0.wrapping_add(majority)));
    }
    for (word, add) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word = word.wrapping_add(add);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::Digest;

    #[test]
    fn gives_the_digest_of_the_standards_example() {
        let mut state = Sha256::new();
        state.update(b"abc");
        let expected: [u8; 32] = [
            0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae,
            0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61,
            0xf2, 0x00, 0x15, 0xad,
        ];
        assert_eq!(state.finish(), expected);
    }

    proptest! {
        #[test]
        fn agrees_with_another_implementation(
            pieces in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 0..200), 0..6),
        ) {
            let mut ours = Sha256::new();
            let mut theirs = sha2::Sha256::new();
            for piece in &pieces {
                ours.update(piece);
                theirs.update(piece);
            }
            let theirs: [u8; 32] = theirs.finalize().into();
            prop_assert_eq!(ours.finish(), theirs);
        }
    }
}
