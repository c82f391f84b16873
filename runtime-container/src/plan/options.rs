//! Mount options as runtime-spec names them ("Linux mount options").

use crate::sys::MountAttr;

/// The options of one mount, by who understands them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Options {
    /// `MS_*` flags for `mount(2)`.
    pub flags: u64,
    /// `MOUNT_ATTR_*` to set on this mount.
    pub attributes: u64,
    /// `MOUNT_ATTR_*` to set on this mount and all below it.
    pub recursive_attributes: u64,
    /// `MS_SHARED` and the like, with `MS_REC` where asked for.
    pub propagation: u64,
    /// A bind mount.
    pub bind: bool,
    /// The mounts below the source come with it.
    pub recursive_bind: bool,
    /// For the filesystem, comma-separated.
    pub data: String,
}

// linux/mount.h
const ATTR_RDONLY: u64 = 0x1;
const ATTR_NOSUID: u64 = 0x2;
const ATTR_NODEV: u64 = 0x4;
const ATTR_NOEXEC: u64 = 0x8;
const ATTR_NOATIME: u64 = 0x10;
const ATTR_NODIRATIME: u64 = 0x80;
const ATTR_NOSYMFOLLOW: u64 = 0x20_0000;
/// `MS_NOSYMFOLLOW` (linux/mount.h).
const MS_NOSYMFOLLOW: u64 = 0x100;

/// An option, the flag of `mount(2)` and the attribute that mean the same.
const FLAGS: [(&str, u64, u64); 7] = [
    ("ro", libc::MS_RDONLY, ATTR_RDONLY),
    ("nosuid", libc::MS_NOSUID, ATTR_NOSUID),
    ("nodev", libc::MS_NODEV, ATTR_NODEV),
    ("noexec", libc::MS_NOEXEC, ATTR_NOEXEC),
    ("noatime", libc::MS_NOATIME, ATTR_NOATIME),
    ("nodiratime", libc::MS_NODIRATIME, ATTR_NODIRATIME),
    ("nosymfollow", MS_NOSYMFOLLOW, ATTR_NOSYMFOLLOW),
];

/// Options that take a flag back, by the name of the flag.
const INVERSE: [(&str, &str); 7] = [
    ("rw", "ro"),
    ("suid", "nosuid"),
    ("dev", "nodev"),
    ("exec", "noexec"),
    ("atime", "noatime"),
    ("diratime", "nodiratime"),
    ("symfollow", "nosymfollow"),
];

/// Options of `mount(2)` without a counterpart worth having on a bind mount.
const MOUNT_ONLY: [(&str, u64); 8] = [
    ("sync", libc::MS_SYNCHRONOUS),
    ("dirsync", libc::MS_DIRSYNC),
    ("mand", libc::MS_MANDLOCK),
    ("relatime", libc::MS_RELATIME),
    ("strictatime", libc::MS_STRICTATIME),
    ("lazytime", libc::MS_LAZYTIME),
    ("iversion", libc::MS_I_VERSION),
    ("silent", libc::MS_SILENT),
];

/// Options that say what is the case anyway.
const IGNORED: [&str; 9] = [
    "defaults",
    "async",
    "norelatime",
    "nostrictatime",
    "nolazytime",
    "noiversion",
    "nomand",
    "loud",
    "nofail",
];

const PROPAGATION: [(&str, u64); 4] = [
    ("private", libc::MS_PRIVATE),
    ("shared", libc::MS_SHARED),
    ("slave", libc::MS_SLAVE),
    ("unbindable", libc::MS_UNBINDABLE),
];

impl Options {
    /// Sorts `options`; an option that could not be honoured is returned as
    /// the error.
    pub(super) fn parse<'a>(
        options: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, &'a str> {
        let mut parsed = Self::default();
        for option in options {
            if matches!(option, "tmpcopyup" | "idmap" | "ridmap" | "copy-symlink") {
                return Err(option);
            }
            if !parsed.flag(option) && !parsed.structure(option) && !IGNORED.contains(&option) {
                parsed.add_data(option);
            }
        }
        Ok(parsed)
    }

    /// Flags, their inverses and their recursive forms.
    fn flag(&mut self, option: &str) -> bool {
        for (name, flag, attribute) in FLAGS {
            if option == name {
                self.flags |= flag;
                self.attributes |= attribute;
                return true;
            }
            if option.strip_prefix('r') == Some(name) {
                self.recursive_attributes |= attribute;
                return true;
            }
        }
        for (name, inverse) in INVERSE {
            if option == name {
                if let Some((_, flag, attribute)) = FLAGS.iter().find(|f| f.0 == inverse) {
                    self.flags &= !flag;
                    self.attributes &= !attribute;
                }
                return true;
            }
        }
        for (name, flag) in MOUNT_ONLY {
            if option == name {
                self.flags |= flag;
                return true;
            }
        }
        false
    }

    /// Bind mounts and propagation.
    fn structure(&mut self, option: &str) -> bool {
        match option {
            "bind" => self.bind = true,
            "rbind" => {
                self.bind = true;
                self.recursive_bind = true;
            }
            _ => {
                let recursive = option.strip_prefix('r').filter(|_| option != "relatime");
                for (name, flag) in PROPAGATION {
                    if option == name {
                        self.propagation |= flag;
                        return true;
                    }
                    if recursive == Some(name) {
                        self.propagation |= flag | libc::MS_REC;
                        return true;
                    }
                }
                return false;
            }
        }
        true
    }

    fn add_data(&mut self, option: &str) {
        if !self.data.is_empty() {
            self.data.push(',');
        }
        self.data.push_str(option);
    }

    /// The attributes of a bind mount and whether they reach below it.
    pub(super) fn bind_attributes(&self) -> (MountAttr, bool) {
        let recursive = self.recursive_attributes != 0;
        let set = self.attributes | self.recursive_attributes;
        (MountAttr { set, ..MountAttr::default() }, recursive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dockers_options_are_understood() {
        let dev = Options::parse(["nosuid", "strictatime", "mode=755", "size=65536k"]).unwrap();
        assert_eq!(dev.flags, libc::MS_NOSUID | libc::MS_STRICTATIME);
        assert_eq!(dev.data, "mode=755,size=65536k");
        let bind = Options::parse(["rbind", "rprivate", "ro", "rw", "ro"]).unwrap();
        assert!(bind.bind && bind.recursive_bind && bind.data.is_empty());
        assert_eq!(bind.propagation, libc::MS_PRIVATE | libc::MS_REC);
        assert_eq!(bind.bind_attributes().0.set, ATTR_RDONLY);
        assert!(Options::parse(["rro"]).unwrap().bind_attributes().1);
    }

    #[test]
    fn what_cannot_be_honoured_is_named() {
        assert_eq!(Options::parse(["ro", "idmap"]), Err("idmap"));
    }

    proptest! {
        #[test]
        fn an_option_and_its_inverse_leave_nothing(index in 0_usize..7) {
            let (inverse, name) = INVERSE[index];
            let parsed = Options::parse([name, inverse]).unwrap();
            prop_assert_eq!((parsed.flags, parsed.attributes), (0, 0));
        }
    }
}
