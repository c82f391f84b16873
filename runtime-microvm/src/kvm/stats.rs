//! KVM's binary statistics (`KVM_GET_STATS_FD`, Linux 5.14).
//!
//! The descriptor can be read at any time, from any process that holds it, and
//! costs the VM nothing. `insn_emulation` counts the guest kernel instructions
//! an emulating KVM has executed, which makes it an exact boot profiler.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

use bulkhead_runtime::KvmStats;

use super::KvmError;

/// `KVM_GET_STATS_FD`, `_IO(KVMIO, 0xce)` (linux/kvm.h).
const KVM_GET_STATS_FD: libc::c_ulong = 0xae << 8 | 0xce;
/// `KVM_STATS_TYPE_MASK` and the types that are plain numbers (linux/kvm.h).
const TYPE_MASK: u32 = 0xf;
const TYPE_CUMULATIVE: u32 = 0;
const TYPE_PEAK: u32 = 2;
/// `struct kvm_stats_header`: six 32-bit words.
const HEADER_LEN: usize = 24;
/// `struct kvm_stats_desc` without the name that follows it.
const DESC_LEN: usize = 16;
/// No KVM has more; keeps a nonsensical header from allocating without bound.
const MAX_DESCS: usize = 1024;

/// The statistics descriptor of a VM or a vCPU.
#[derive(Debug)]
pub struct StatsFd(OwnedFd);

impl StatsFd {
    pub(super) fn of(object: &impl AsRawFd) -> Result<Self, KvmError> {
        // SAFETY: KVM_GET_STATS_FD takes no argument and returns a new descriptor.
        let fd = unsafe { libc::ioctl(object.as_raw_fd(), KVM_GET_STATS_FD, 0) };
        if fd < 0 {
            return Err(KvmError::Ioctl {
                action: "give statistics",
                source: io::Error::last_os_error(),
            });
        }
        // SAFETY: the kernel has just returned this descriptor; nobody else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }
}

impl From<StatsFd> for OwnedFd {
    fn from(fd: StatsFd) -> Self {
        fd.0
    }
}

impl AsFd for StatsFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// One counter: its name and where its value is.
#[derive(Debug)]
struct Counter {
    name: String,
    offset: u64,
}

/// Reads the statistics behind one descriptor; the layout is read once.
#[derive(Debug)]
pub struct StatsReader {
    file: File,
    counters: Vec<Counter>,
}

impl StatsReader {
    /// Reads the layout.
    ///
    /// # Errors
    ///
    /// When the descriptor is not one of KVM's statistics.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let file = File::from(fd);
        let mut header = [0_u8; HEADER_LEN];
        file.read_exact_at(&mut header, 0)?;
        let [_flags, name_size, count, _id, desc_offset, data_offset] =
            std::array::from_fn(|index| word(&header, index * 4));
        let desc_len = DESC_LEN + name_size as usize;
        let count = (count as usize).min(MAX_DESCS);
        let mut table = vec![0_u8; desc_len * count];
        file.read_exact_at(&mut table, u64::from(desc_offset))?;
        let counters = table
            .chunks_exact(desc_len)
            .filter_map(|desc| Counter::parse(desc, u64::from(data_offset)))
            .collect();
        Ok(Self { file, counters })
    }

    /// Adds the present values to `stats`.
    ///
    /// # Errors
    ///
    /// When a value cannot be read.
    pub fn add_to(&self, stats: &mut KvmStats) -> io::Result<()> {
        for counter in &self.counters {
            let mut value = [0_u8; 8];
            self.file.read_exact_at(&mut value, counter.offset)?;
            *stats.0.entry(counter.name.clone()).or_default() += u64::from_ne_bytes(value);
        }
        Ok(())
    }
}

impl Counter {
    /// Parses a `struct kvm_stats_desc`: flags u32, exponent i16, size u16,
    /// offset u32, bucket size u32, name. Histograms are passed over.
    fn parse(desc: &[u8], data_offset: u64) -> Option<Self> {
        let kind = word(desc, 0) & TYPE_MASK;
        if !(TYPE_CUMULATIVE..=TYPE_PEAK).contains(&kind) {
            return None;
        }
        let name = desc.get(DESC_LEN..)?;
        let len = name.iter().position(|byte| *byte == 0)?;
        Some(Self {
            name: std::str::from_utf8(&name[..len]).ok()?.to_owned(),
            offset: data_offset + u64::from(word(desc, 8)),
        })
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0_u8; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_ne_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// A statistics file with one counter and one histogram.
    fn file() -> OwnedFd {
        let mut bytes = Vec::new();
        for word in [0_u32, 48, 2, 24, 24, 24 + 2 * 64] {
            bytes.extend(word.to_ne_bytes());
        }
        for (kind, offset, name) in [(0_u32, 8_u32, "exits"), (4, 0, "halt_hist")] {
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(1_u32.to_ne_bytes());
            bytes.extend(offset.to_ne_bytes());
            bytes.extend(0_u32.to_ne_bytes());
            let mut field = [0_u8; 48];
            field[..name.len()].copy_from_slice(name.as_bytes());
            bytes.extend(field);
        }
        bytes.extend(7_u64.to_ne_bytes());
        bytes.extend(42_u64.to_ne_bytes());
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        file.into()
    }

    #[test]
    fn counters_are_read_and_histograms_passed_over() {
        let reader = StatsReader::new(file()).unwrap();
        let mut stats = KvmStats::default();
        reader.add_to(&mut stats).unwrap();
        reader.add_to(&mut stats).unwrap();
        assert_eq!(stats.get("exits"), Some(84));
        assert_eq!(stats.0.len(), 1);
    }

    #[test]
    fn a_file_that_is_none_is_refused() {
        let empty = tempfile::tempfile().unwrap();
        assert!(StatsReader::new(empty.into()).is_err());
    }
}
