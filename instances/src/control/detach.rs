//! The keys that end an attachment and leave the workload running.

/// Ctrl-P and then Ctrl-Q, as docker.
#[derive(Debug, Default)]
pub struct DetachKeys {
    half: bool,
}

impl DetachKeys {
    const FIRST: u8 = 0x10;
    const SECOND: u8 = 0x11;

    /// Takes what was typed and leaves in `typed` what is to be passed on. True when the
    /// keys were among it.
    pub fn take(&mut self, typed: &mut Vec<u8>) -> bool {
        let mut passed = Vec::with_capacity(typed.len() + 1);
        for &key in typed.iter() {
            match (std::mem::take(&mut self.half), key) {
                (true, Self::SECOND) => {
                    *typed = passed;
                    return true;
                }
                (was_half, Self::FIRST) => {
                    // The first of two was meant for the workload.
                    passed.extend(was_half.then_some(Self::FIRST));
                    self.half = true;
                }
                (was_half, key) => {
                    passed.extend(was_half.then_some(Self::FIRST));
                    passed.push(key);
                }
            }
        }
        *typed = passed;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(parts: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut keys = DetachKeys::default();
        let mut passed = Vec::new();
        for part in parts {
            let mut part = part.to_vec();
            let detached = keys.take(&mut part);
            passed.extend(part);
            if detached {
                return (passed, true);
            }
        }
        (passed, false)
    }

    #[test]
    fn the_two_keys_detach_and_others_pass() {
        assert_eq!(typed(&[b"ls\n\x10\x11never"]), (b"ls\n".to_vec(), true));
        assert_eq!(typed(&[b"a\x10", b"\x11"]), (b"a".to_vec(), true));
        assert_eq!(typed(&[b"a\x10", b"b\x11"]), (b"a\x10b\x11".to_vec(), false));
        assert_eq!(typed(&[b"\x10\x10\x11"]), (b"\x10".to_vec(), true));
        assert_eq!(typed(&[b"\x10"]), (Vec::new(), false), "it waits for the second");
    }
}
