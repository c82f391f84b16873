//! The kernel's messages, taken out of guest memory.
//!
//! On the fast path nothing is printed, since every character on a serial port
//! is an exit. But the kernel keeps its messages in a ring buffer, and when a
//! guest fails that buffer is in our hands: it has the messages of the very
//! boot that failed, which a second boot with a console would not.
//!
//! Since Linux 5.10 a record's text is a block of that buffer: a `long` with
//! the record's number, the text, padding to the size of a `long`
//! (`struct prb_data_block`, kernel/printk/printk_ringbuffer.c). The first
//! record is the kernel's banner. Once the buffer has wrapped around, the
//! banner is gone and the messages are not found.

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use crate::kvm::GuestRam;

/// How the banner begins (`linux_banner`, init/version.c).
const BANNER: &[u8] = b"Linux version ";
/// Where kernels keep static data: far below this.
const SEARCH_LIMIT: u64 = 1 << 30;
/// Piece of memory searched at a time; larger than any kernel's log buffer.
const WINDOW: usize = 4 << 20;
/// Size of a record's number.
const WORD: usize = size_of::<u64>();
/// Longest distance from the end of a text to the next record: padding of a
/// text that was reserved larger than it became.
const MAX_PADDING: usize = 256;

/// The last `limit` lines of the kernel's messages, oldest first; empty when
/// they are not found.
#[must_use]
pub fn last_lines(ram: &GuestRam, limit: usize) -> Vec<String> {
    let Some(first) = ram.iter().next() else { return Vec::new() };
    let end = first.len().min(SEARCH_LIMIT);
    let mut start = 0;
    while start < end {
        // Twice the step, so that a buffer that crosses a step's end is whole.
        let mut window = vec![0; 2 * WINDOW];
        let read = ram.read(&mut window, GuestAddress(start)).unwrap_or(0);
        if let Some(lines) = find(&window[..read]) {
            return lines[lines.len().saturating_sub(limit)..].to_vec();
        }
        start += WINDOW as u64;
    }
    Vec::new()
}

/// The records that begin with a banner in the first [`WINDOW`] bytes.
fn find(memory: &[u8]) -> Option<Vec<String>> {
    let words = memory.len().min(WINDOW) / WORD;
    (1..words).map(|word| word * WORD).find_map(|at| {
        if !memory[at..].starts_with(BANNER) {
            return None;
        }
        let lines = walk(memory, at - WORD);
        // The banner is in the kernel's constants as well: there no record follows.
        (lines.len() > 1).then_some(lines)
    })
}

/// Walks the records from the one whose number is at `at`.
fn walk(memory: &[u8], mut at: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let Some(mut number) = word(memory, at) else { return lines };
    loop {
        let text_at = at + WORD;
        let rest = &memory[text_at.min(memory.len())..];
        let len = rest.iter().position(|byte| !is_text(*byte)).unwrap_or(rest.len());
        lines.push(without_echo(&String::from_utf8_lossy(&rest[..len])));
        let text_end = (text_at + len).next_multiple_of(WORD);
        number = number.wrapping_add(1);
        let next = (text_end..text_end + MAX_PADDING)
            .step_by(WORD)
            .find(|at| word(memory, *at) == Some(number));
        match next {
            Some(next) => at = next,
            None => return lines,
        }
    }
}

/// The text of a record. The kernel writes a message with its two characters
/// of log level and then moves it to the front, so that its last two characters
/// are there twice.
fn without_echo(text: &str) -> String {
    let text = text.trim_end();
    let echo = text
        .get(text.len().saturating_sub(2)..)
        .and_then(|tail| text.strip_suffix(tail)?.ends_with(tail).then_some(tail));
    echo.and_then(|tail| text.strip_suffix(tail)).unwrap_or(text).to_owned()
}

fn is_text(byte: u8) -> bool {
    byte == b'\n' || byte == b'\t' || (b' '..=b'~').contains(&byte)
}

fn word(memory: &[u8], at: usize) -> Option<u64> {
    let bytes = memory.get(at..at + WORD)?;
    Some(u64::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kvm::map_ram;
    use proptest::prelude::*;

    fn records(texts: &[&str]) -> Vec<u8> {
        let mut buffer = Vec::new();
        for (number, text) in (0xffff_f000_u64..).zip(texts) {
            buffer.extend(number.to_ne_bytes());
            buffer.extend(text.as_bytes());
            buffer.push(0);
            buffer.resize(buffer.len().next_multiple_of(WORD), 0);
        }
        buffer
    }

    #[test]
    fn the_messages_are_found_and_the_constant_is_not_taken_for_them() {
        let ram = map_ram(16).unwrap();
        let texts = ["Linux version 6.1", "Command line: quiet", "Kernel panic - not syncing"];
        ram.write_slice(b"Linux version 6.1 (gcc)\n\0", GuestAddress(0x10_0000)).unwrap();
        let across = WINDOW as u64 - 16;
        ram.write_slice(&records(&texts), GuestAddress(across)).unwrap();
        assert_eq!(last_lines(&ram, 10), texts);
        assert_eq!(last_lines(&ram, 1), texts[2..]);
    }

    #[test]
    fn memory_without_messages_has_none() {
        assert!(last_lines(&map_ram(2).unwrap(), 10).is_empty());
    }

    #[test]
    fn the_echo_of_the_log_level_is_cut_off() {
        assert_eq!(without_echo("not enough memoryry"), "not enough memory");
        assert_eq!(without_echo("Linux version 6.1"), "Linux version 6.1");
        assert_eq!(without_echo("a"), "a");
    }

    proptest! {
        #[test]
        fn random_memory_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let mut memory = vec![0; WORD];
            memory.extend(BANNER);
            memory.extend(bytes);
            let _ = find(&memory);
            let _ = walk(&memory, memory.len() - 4);
        }
    }
}
