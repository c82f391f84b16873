use std::path::PathBuf;

use bulkhead_guest::protocol::{SHARES, SHARES_TAG};
use bulkhead_runtime::Rootfs;
use oci_spec::runtime::Spec;
use serde_json::{Value, json};

use super::*;

fn bundle(config: Value) -> Bundle {
    let spec: Spec = serde_json::from_value(config).unwrap();
    Bundle { spec, rootfs: Rootfs::Disk(PathBuf::from("/nowhere.erofs")) }
}

/// A configuration as an engine writes it.
fn config() -> Value {
    json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "web",
        "process": {
            "args": ["sh", "-c", "id"],
            "env": ["PATH=/bin", "EMPTY="],
            "cwd": "/srv",
            "user": {"uid": 33, "gid": 34, "umask": 63, "additionalGids": [5, 6]},
            "capabilities": {"bounding": ["CAP_CHOWN", "CAP_KILL"]},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128}],
            "noNewPrivileges": true,
            "oomScoreAdj": -5
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc",
             "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=64k"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
             "options": ["ro", "rw", "rprivate"]}
        ],
        "linux": {
            "maskedPaths": ["/proc/kcore"],
            "readonlyPaths": ["/proc/sys"],
            "resources": {"pids": {"limit": 7}},
            "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229,
                         "fileMode": 0o600, "uid": 3, "gid": 4}]
        }
    })
}

#[test]
fn a_process_keeps_its_meaning() {
    let start = workload(&bundle(config()), true, true).unwrap();
    let expected = Process {
        args: CStrings::from_texts(["sh", "-c", "id"]).unwrap(),
        env: CStrings::from_texts(["PATH=/bin", "EMPTY="]).unwrap(),
        cwd: c"/srv".into(),
        uid: 33,
        gid: 34,
        groups: vec![5, 6],
        umask: 0o077,
        rlimits: vec![Rlimit { resource: libc::RLIMIT_NOFILE, soft: 64, hard: 128 }],
        capabilities: Capabilities { bounding: 0b10_0001, ..Capabilities::default() },
        no_new_privileges: true,
        oom_score_adj: Some(-5),
        stdin: true,
        terminal: None,
    };
    assert_eq!(start.process, expected);
}

#[test]
fn a_sandbox_keeps_its_meaning() {
    let start = workload(&bundle(config()), true, false).unwrap();
    let sandbox = start.sandbox.unwrap();
    assert_eq!(sandbox.hostname.as_deref(), Some(c"web"));
    assert!(sandbox.read_only_root);
    assert!(sandbox.init);
    assert_eq!(sandbox.pids_limit, Some(7));
    let targets: Vec<_> = sandbox.mounts.iter().map(|mount| mount.target.as_c_str()).collect();
    assert_eq!(targets, [c"/proc", c"/dev", c"/dev/mqueue"]);
    let [proc, dev, mqueue] = &sandbox.mounts[..] else { panic!("three mounts") };
    assert_eq!(proc.flags, libc::MS_NOSUID | libc::MS_NOEXEC | libc::MS_NODEV);
    assert_eq!(dev.data.as_c_str(), c"mode=755,size=64k");
    assert_eq!((mqueue.flags, mqueue.optional), (0, true));
    assert!(!proc.optional);
    let fuse = sandbox.devices.last().unwrap();
    assert_eq!((fuse.mode, fuse.major, fuse.minor), (libc::S_IFCHR | 0o600, 10, 229));
    assert_eq!((fuse.uid, fuse.gid), (3, 4));
    assert_eq!(sandbox.devices[0].path.as_c_str(), c"/dev/null");
    assert_eq!(sandbox.symlinks.iter().count() % 2, 0);
}

#[test]
fn an_image_without_dev_gets_no_devices() {
    let mut config = config();
    config["mounts"] = json!([]);
    config["linux"]["devices"] = json!([]);
    let sandbox = workload(&bundle(config), false, false).unwrap().sandbox.unwrap();
    assert!(sandbox.devices.is_empty() && sandbox.symlinks.is_empty());
}

#[test]
fn a_further_process_joins() {
    let bundle = bundle(config());
    let start = further(bundle.process().unwrap(), false).unwrap();
    assert_eq!(start.sandbox, None);
    assert_eq!(start.process.uid, 33);
}

#[test]
fn shares_come_by_their_numbers_and_go_to_their_places() {
    let mut config = config();
    config["mounts"] = json!([
        {"destination": "/a", "source": "/srv/a", "options": ["rbind", "rprivate", "nodev", "rw"]},
        {"destination": "/t", "type": "tmpfs", "source": "tmpfs"},
        {"destination": "/b", "type": "bind", "source": "/srv/b", "options": ["rro"]},
    ]);
    let sandbox = workload(&bundle(config.clone()), false, false).unwrap().sandbox.unwrap();
    let mounts: Vec<_> = sandbox
        .mounts
        .iter()
        .map(|mount| {
            (mount.source.to_str().unwrap(), mount.target.to_str().unwrap(), mount.flags)
        })
        .collect();
    let bind = libc::MS_BIND | libc::MS_REC;
    let all = (SHARES_TAG, SHARES.to_str().unwrap(), libc::MS_NOSUID | libc::MS_NODEV);
    let first = ("/dev/.bulkhead-shares/0", "/a", bind | libc::MS_NODEV);
    let second = ("/dev/.bulkhead-shares/1", "/b", bind | libc::MS_RDONLY);
    assert_eq!(mounts, [all, first, ("tmpfs", "/t", 0), second]);
    assert!(sandbox.shares);
    let shares = shares(&bundle(config));
    let read_only: Vec<_> = shares.iter().map(|share| share.read_only).collect();
    assert_eq!(read_only, [false, true]);
}

fn refused(change: impl FnOnce(&mut Value)) -> String {
    let mut config = config();
    change(&mut config);
    workload(&bundle(config), false, false).unwrap_err().to_string()
}

#[test]
fn what_a_machine_cannot_do_is_refused_by_name() {
    let options = ["rbind", "idmap"];
    let bind = json!([{"destination": "/data", "source": "/srv/data", "options": options}]);
    assert_eq!(
        refused(|config| config["mounts"] = bind),
        "a microVM cannot have the host's files mounted on /data with `idmap`"
    );
    assert_eq!(
        refused(|config| config["process"]["args"] = json!(["a\0b"])),
        "argument contains a NUL byte"
    );
    assert_eq!(
        refused(|config| config["process"]["args"] = json!([])),
        "config.json names no command to run"
    );
    assert_eq!(
        refused(|config| config["linux"]["devices"][0]["major"] = json!(-1)),
        "major number of a device is out of range: -1"
    );
}

#[test]
fn limits_that_weigh_against_others_are_refused() {
    for (resources, what) in [
        (json!({"memory": {"limit": 1 << 26, "swap": 1 << 27}}), "swap"),
        (json!({"memory": {"reservation": 1 << 20}}), "reservation"),
        (json!({"cpu": {"shares": 512}}), "share"),
        (json!({"blockIO": {"weight": 100}}), "disks"),
    ] {
        let said = refused(|config| config["linux"]["resources"] = resources.clone());
        assert!(said.contains("a microVM cannot have") && said.contains(what), "{said}");
    }
    let mut config = config();
    config["linux"]["resources"] = json!({"memory": {"limit": 1 << 26, "swap": 1 << 26}});
    workload(&bundle(config), false, false).unwrap();
}
