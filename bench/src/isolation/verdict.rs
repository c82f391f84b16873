//! The attempts, and how the host tells what came of each.
//!
//! An attempt has reached the host only if the host sees that it has: by what
//! became of the bait, or by what a process of the sandbox holds of the host's
//! kernel, or by what that kernel answered. What the probe says only tells
//! "refused" from "done to something of the sandbox's own", and where a witness
//! saw the system calls, it has the last word on that too.

use bulkhead_reports::schema::AttemptOutcome;

use super::bait::{Bait, MARK, SETTING};
use super::observe;
use super::scene::Scene;

/// One attempt on the host.
pub struct Trial {
    /// As the probe calls it.
    pub name: &'static str,
    /// The arguments.
    arguments: fn(&Bait) -> Vec<String>,
    /// System calls it cannot do without; none where they tell nothing.
    calls: &'static [&'static str],
    /// Being granted the calls is what is attempted: the host's kernel has then
    /// done for the sandbox what it was to be kept from.
    call_is_all: bool,
    /// What the host sees if it was reached.
    reached: fn(&mut Scene<'_>) -> Option<String>,
    /// What the host sees if it was not.
    unharmed: &'static str,
}

/// Nothing is passed.
fn none(_: &Bait) -> Vec<String> {
    Vec::new()
}

const TRIAL: Trial = Trial {
    name: "",
    arguments: none,
    calls: &[],
    call_is_all: false,
    reached: |_| None,
    unharmed: "",
};

/// All attempts but the bombs, in the order they are made.
pub const TRIALS: &[Trial] = &[
    Trial {
        name: "host_processes",
        arguments: |_| vec![MARK.to_owned()],
        reached: |scene| {
            let seen = tells(scene);
            seen.then(|| "the command line of a host process was read".to_owned())
        },
        unharmed: "the secret in a host process's command line did not come out",
        ..TRIAL
    },
    Trial {
        name: "host_files",
        arguments: |bait| vec![bait.path("secret")],
        reached: |scene| {
            tells(scene).then(|| "the secret in a file of the host was read".to_owned())
        },
        unharmed: "the secret in a file of the host did not come out",
        ..TRIAL
    },
    Trial {
        name: "write_host_file",
        arguments: |bait| vec![bait.path("target"), bait.token.clone()],
        reached: |scene| {
            let changed = scene.bait.target_changed();
            changed.then(|| "a file of the host has another content".to_owned())
        },
        unharmed: "the file on the host is unchanged",
        ..TRIAL
    },
    Trial {
        name: "ptrace_neighbour",
        arguments: |bait| vec![bait.canary().to_string()],
        calls: &["ptrace"],
        reached: |scene| {
            let tracer = observe::status_number(scene.bait.canary(), "TracerPid")?;
            (tracer != 0).then(|| format!("a host process is traced by process {tracer}"))
        },
        unharmed: "the host process beside it is not traced",
        ..TRIAL
    },
    Trial {
        name: "mount",
        arguments: |bait| vec![bait.path("mount"), bait.token.clone()],
        calls: &["mount"],
        reached: |scene| {
            let mounts = observe::text("/proc/self/mountinfo");
            let line = mounts.lines().find(|line| line.contains(&scene.bait.token))?;
            Some(format!("the host has the mount `{line}`"))
        },
        unharmed: "the host has no new mount",
        ..TRIAL
    },
    Trial {
        name: "write_proc_sys",
        arguments: |bait| vec![SETTING.to_owned(), bait.other_setting(), bait.path("proc")],
        reached: |scene| {
            let value = scene.bait.changed_setting()?;
            Some(format!("/proc/sys/{SETTING} of the host became {value}"))
        },
        unharmed: "the setting of the host is unchanged",
        ..TRIAL
    },
    Trial {
        name: "set_clock",
        calls: &["clock_adjtime"],
        call_is_all: true,
        reached: |scene| {
            let set = scene.bait.clock_was_set();
            set.then(|| "the host's clock was set".to_owned())
        },
        unharmed: "the host's clock was not set",
        ..TRIAL
    },
    Trial {
        name: "load_module",
        calls: &["init_module"],
        call_is_all: true,
        reached: |scene| {
            // Past the question whether it may: the kernel looked at the file.
            let looked = scene.answers(&["init_module"])?.errno == Some(libc::ENOEXEC);
            (looked || scene.modules_changed())
                .then(|| "the host's kernel took a module to load".to_owned())
        },
        unharmed: "the host's kernel took no module",
        ..TRIAL
    },
    Trial {
        name: "raw_socket",
        calls: &["socket"],
        reached: |scene| {
            let socket = scene.new_descriptor("socket:[")?;
            let inode = socket.trim_start_matches("socket:[").trim_end_matches(']');
            is_raw("/proc/self/net", inode)
                .then(|| format!("raw socket {inode} is in the host's network namespace"))
        },
        unharmed: "the host's network has no new raw socket",
        ..TRIAL
    },
    Trial {
        name: "keyctl",
        arguments: |bait| vec![bait.token.clone()],
        calls: &["add_key"],
        call_is_all: true,
        reached: |scene| {
            let there = observe::text("/proc/keys").contains(&scene.bait.token);
            there.then(|| "the key is in the host's /proc/keys".to_owned())
        },
        unharmed: "the host's key store has no such key",
    },
    holding("bpf", &["bpf"], |scene| held(scene, "anon_inode:bpf-prog")),
    holding("perf_event_open", &["perf_event_open"], |scene| {
        held(scene, "anon_inode:[perf_event]")
    }),
    holding("io_uring", &["io_uring_setup"], |scene| held(scene, "anon_inode:[io_uring]")),
    Trial {
        name: "nested_user_namespace",
        calls: &["unshare"],
        call_is_all: true,
        reached: |scene| {
            let namespace = scene.new_user_namespace()?;
            Some(format!("a process of the sandbox is in a new namespace, {namespace}"))
        },
        unharmed: "no process of the sandbox is in a new user namespace of the host's",
        ..TRIAL
    },
];

/// An attempt to get something of the kernel that is held by a descriptor.
const fn holding(
    name: &'static str,
    calls: &'static [&'static str],
    reached: fn(&mut Scene<'_>) -> Option<String>,
) -> Trial {
    let unharmed = "no process of the sandbox holds such a thing of the host's kernel";
    Trial { name, calls, call_is_all: true, reached, unharmed, arguments: none }
}

fn held(scene: &mut Scene<'_>, prefix: &str) -> Option<String> {
    let link = scene.new_descriptor(prefix)?;
    Some(format!("a process of the sandbox holds {link} of the host's kernel"))
}

/// Whether the secret came out.
fn tells(scene: &Scene<'_>) -> bool {
    scene.says().is_some_and(|says| says.contains(&scene.bait.secret))
}

/// Whether the socket with this inode is a raw one of the network whose
/// `/proc/<pid>/net` is given.
fn is_raw(net: &str, inode: &str) -> bool {
    ["packet", "raw", "raw6"].into_iter().any(|kind| {
        let sockets = observe::text(format!("{net}/{kind}"));
        sockets.lines().any(|line| line.split_ascii_whitespace().any(|field| field == inode))
    })
}

impl Trial {
    /// What to tell the probe.
    pub fn order(&self, bait: &Bait) -> Vec<String> {
        let mut words = vec![self.name.to_owned()];
        words.extend((self.arguments)(bait));
        words
    }

    /// What came of it, and the host's evidence.
    pub fn judge(&self, scene: &mut Scene<'_>) -> (AttemptOutcome, String) {
        if let Some(evidence) = (self.reached)(scene) {
            return (AttemptOutcome::Reached, evidence);
        }
        let done = scene.says().is_some();
        let answers = scene.answers(self.calls).filter(|_| !self.calls.is_empty());
        let unharmed = self.unharmed;
        match (answers, scene.private_kernel) {
            (Some(answers), false) if answers.granted > 0 && self.call_is_all => {
                let calls = self.calls.join(", ");
                (AttemptOutcome::Reached, format!("the host's kernel granted {calls}"))
            }
            (Some(answers), false) if answers.granted > 0 && done => {
                let how = "its kernel granted it to the sandbox within its namespaces";
                (AttemptOutcome::Contained, format!("{unharmed}; {how}"))
            }
            (Some(answers), false) => {
                let errno = answers.errno.map(std::io::Error::from_raw_os_error);
                let said = errno.map_or_else(
                    || "the host's kernel was not asked".to_owned(),
                    |error| format!("the host's kernel answered: {error}"),
                );
                (AttemptOutcome::Refused, format!("{unharmed}; {said}"))
            }
            (Some(answers), true) if done && answers.made == 0 => {
                let how = "the sandbox's own kernel did it, the host's was not asked";
                (AttemptOutcome::Contained, format!("{unharmed}; {how}"))
            }
            (_, _) if done => (AttemptOutcome::Contained, unharmed.to_owned()),
            (_, _) => (AttemptOutcome::Refused, unharmed.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attempt_has_a_name_and_evidence() {
        for trial in TRIALS {
            assert!(!trial.name.is_empty() && !trial.unharmed.is_empty(), "{}", trial.name);
            assert!(!trial.call_is_all || !trial.calls.is_empty(), "{}", trial.name);
        }
    }

    #[test]
    fn a_raw_socket_is_found_by_its_inode() {
        assert!(!is_raw("/proc/self/net", "0x"));
        assert!(!is_raw("/nonexistent", "1"));
    }
}
