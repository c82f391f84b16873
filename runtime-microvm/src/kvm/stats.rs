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

impl StatsFd {
    /// Another descriptor of the same statistics.
    ///
    /// # Errors
    ///
    /// When none is left.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
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
        self.add(&self.values()?, stats);
        Ok(())
    }

    /// The present values, in the order of the layout, which is the same for every
    /// reader of one descriptor.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub fn values(&self) -> io::Result<Vec<u64>> {
        let offsets = || self.counters.iter().map(|counter| counter.offset);
        let (Some(start), Some(end)) = (offsets().min(), offsets().max()) else {
            return Ok(Vec::new());
        };
        // All at once: one system call, and one instant.
        let mut block = vec![0; usize::try_from(end - start).map_or(0, |len| len + 8)];
        self.file.read_exact_at(&mut block, start)?;
        let value = |offset: u64| {
            let at = usize::try_from(offset - start).ok()?;
            let bytes = block.get(at..at + 8)?;
            Some(u64::from_ne_bytes(bytes.try_into().ok()?))
        };
        Ok(offsets().map(|offset| value(offset).unwrap_or(0)).collect())
    }

    /// Number of counters.
    #[must_use]
    pub fn counters(&self) -> usize {
        self.counters.len()
    }

    /// Adds `values`, which another reader of this descriptor has taken, to `stats`.
    pub fn add(&self, values: &[u64], stats: &mut KvmStats) {
        for (counter, value) in self.counters.iter().zip(values) {
            *stats.0.entry(counter.name.clone()).or_default() += value;
        }
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
        assert_eq!((reader.counters(), reader.values().unwrap()), (1, vec![42]));
        assert_eq!(stats.0.len(), 1);
    }

    #[test]
    fn a_file_that_is_none_is_refused() {
        let empty = tempfile::tempfile().unwrap();
        assert!(StatsReader::new(empty.into()).is_err());
    }
}
