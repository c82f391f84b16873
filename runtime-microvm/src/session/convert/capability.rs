//! Capabilities by number.

use oci_spec::runtime::{Capabilities, Capability};

/// Names in the order of their numbers (linux/capability.h).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The set as a mask: bit n is capability n.
pub(super) fn bits(set: &Capabilities) -> u64 {
    set.iter().filter_map(number).fold(0, |bits, number| bits | 1 << number)
}

fn number(capability: &Capability) -> Option<usize> {
    let name = capability.to_string();
    NAMES.iter().position(|known| *known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_has_its_number() {
        let numbers = [
            (Capability::Chown, 0),
            (Capability::Kill, 5),
            (Capability::NetBindService, 10),
            (Capability::NetRaw, 13),
            (Capability::SysAdmin, 21),
            (Capability::Mknod, 27),
            (Capability::Setfcap, 31),
            (Capability::CheckpointRestore, 40),
        ];
        for (capability, expected) in numbers {
            assert_eq!(number(&capability), Some(expected), "{capability}");
        }
        for name in NAMES {
            let json = format!("\"CAP_{name}\"");
            let capability: Capability = serde_json::from_str(&json).unwrap();
            assert!(number(&capability).is_some(), "{name}");
        }
    }

    #[test]
    fn a_set_is_a_mask() {
        let set = [Capability::Chown, Capability::Kill].into_iter().collect();
        assert_eq!(bits(&set), 0b10_0001);
    }
}
