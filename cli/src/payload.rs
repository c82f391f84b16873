//! The programs that run inside a sandbox, built by `build.rs` and carried in
//! this one.

/// PID 1 of the microVM (`guest/`).
pub static INIT: &[u8] = include_bytes!(env!("BULKHEAD_INIT"));

/// The program that measures from inside every sandbox (`bench/probe/`).
pub static PROBE: &[u8] = include_bytes!(env!("BULKHEAD_PROBE"));

#[cfg(test)]
mod elf;

#[cfg(test)]
mod tests {
    use super::elf::{NotStatic, check_static};
    use super::{INIT, PROBE};

    #[test]
    fn the_payload_needs_nothing_at_run_time() {
        assert_eq!(check_static(INIT), Ok(()));
        assert_eq!(check_static(PROBE), Ok(()));
    }

    #[test]
    fn other_files_are_told_apart() {
        let dynamic = std::fs::read("/bin/sh").unwrap();
        assert!(check_static(&dynamic).is_err());
        let mut claims_to_be_fixed = dynamic;
        claims_to_be_fixed[16] = 2;
        assert_eq!(check_static(&claims_to_be_fixed), Err(NotStatic::NeedsLoader));
        assert_eq!(check_static(b"#!/bin/sh\n"), Err(NotStatic::NotElf));
        assert_eq!(check_static(&INIT[..60]), Err(NotStatic::NotElf));
    }
}
