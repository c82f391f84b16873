//! What a container sees, and what it does not.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod common;

use std::fs;

use common::{Host, bind, spec};
use oci_spec::runtime::{
    LinuxCapabilitiesBuilder, LinuxDeviceBuilder, LinuxDeviceType, PosixRlimitBuilder,
    PosixRlimitType, UserBuilder,
};

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn the_host_is_out_of_sight() {
    let host = Host::new();
    assert_eq!(host.says("echo $$; ls /proc | grep -c '^[0-9]'").lines().next(), Some("1"));
    // The shell, ls and grep.
    let visible = host.says("set -- /proc/[0-9]*; echo $#");
    assert_eq!(visible, "1\n");
    assert_eq!(
        host.says("ls -A / | tr '\\n' ' '"),
        "bin dev etc lib lib64 proc sbin sys tmp usr "
    );
    assert_eq!(host.says("hostname"), "inside\n");
    assert_eq!(host.says("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '"), "lo\n");
    assert_eq!(host.says("cut -d: -f3 /proc/self/cgroup | sort -u"), "/\n");
    let mounts = host.says("cat /proc/self/mountinfo");
    assert!(!mounts.contains(" / /mnt") && !mounts.contains("ext4 /dev/vda rw,discard - "));
    assert_eq!(mounts.lines().filter(|line| line.contains(" / / ")).count(), 1, "{mounts}");
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn the_loopback_interface_is_up() {
    let host = Host::new();
    // IFF_UP | IFF_LOOPBACK | IFF_RUNNING (linux/if.h); sysfs shows the flags of
    // the namespace it was mounted in.
    let flags = host.says("cat /sys/class/net/lo/flags");
    assert_eq!(flags, "0x9\n");
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn writes_go_with_the_container_and_never_reach_the_layer() {
    let host = Host::new();
    let script = "echo changed >/etc/marker; rm -r /tmp; echo new >/etc/new; cat /etc/marker";
    assert_eq!(host.says(script), "changed\n");
    assert_eq!(host.says("cat /etc/marker; ls /etc"), "from the layer\nmarker\n");
    assert_eq!(
        fs::read_to_string(host.layer().join("etc/marker")).unwrap(),
        "from the layer\n"
    );
    assert!(host.layer().join("tmp").is_dir());
    assert!(!host.layer().join("proc").exists(), "a mount point was made in the layer");
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn a_read_only_root_cannot_be_written() {
    let host = Host::new();
    let mut bundle = host.script("echo x >/etc/marker || exit 9");
    let mut root = bundle.spec.root().clone().unwrap();
    root.set_readonly(Some(true));
    bundle.spec.set_root(Some(root));
    let ran = host.run(&bundle).unwrap();
    assert_eq!(ran.exit.code(), 9);
    assert!(ran.text.contains("Read-only file system"), "{}", ran.text);
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn capabilities_filter_and_privileges_are_what_the_spec_says() {
    let host = Host::new();
    let status = host.says("cat /proc/self/status");
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    // Docker's fourteen capabilities.
    for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
        assert_eq!(field(set), "00000000a80425fb", "{set}");
    }
    for set in ["CapInh:", "CapAmb:"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!((field("NoNewPrivs:").as_str(), field("Seccomp:").as_str()), ("1", "2"));
    let ran = host.run(&host.script("mount -t tmpfs x /tmp; unshare -U true; exit 4")).unwrap();
    assert_eq!(ran.exit.code(), 4);
    assert!(!ran.text.is_empty());
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn a_user_has_its_ids_and_no_capabilities_of_its_own() {
    let host = Host::new();
    let mut bundle = host.script("id -u; id -g; id -G; umask; grep CapEff /proc/self/status");
    let mut process = bundle.spec.process().clone().unwrap();
    let user = UserBuilder::default()
        .uid(1000_u32)
        .gid(1001_u32)
        .additional_gids(vec![5_u32, 7])
        .umask(0o27_u32)
        .build()
        .unwrap();
    process.set_user(user);
    bundle.spec.set_process(Some(process));
    let ran = host.run(&bundle).unwrap();
    assert_eq!(ran.text, "1000\n1001\n1001 5 7\n0027\nCapEff:\t0000000000000000\n");
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn ambient_capabilities_survive_the_exec_of_a_user() {
    let host = Host::new();
    let mut bundle = host.script("grep -E 'Cap(Eff|Amb)' /proc/self/status");
    let mut process = bundle.spec.process().clone().unwrap();
    process.set_user(UserBuilder::default().uid(1000_u32).gid(1000_u32).build().unwrap());
    let one = std::collections::HashSet::from([oci_spec::runtime::Capability::NetBindService]);
    let sets = LinuxCapabilitiesBuilder::default()
        .bounding(one.clone())
        .effective(one.clone())
        .permitted(one.clone())
        .inheritable(one.clone())
        .ambient(one)
        .build()
        .unwrap();
    process.set_capabilities(Some(sets));
    bundle.spec.set_process(Some(process));
    let text = host.run(&bundle).unwrap().text;
    assert_eq!(text.matches("0000000000000400").count(), 2, "{text}");
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn kernel_interfaces_are_masked_and_protected() {
    let host = Host::new();
    let mut bundle = host.script(
        "wc -c </proc/version; ls -A /proc/irq /etc | grep -vc :; wc -c </etc/marker
         touch /etc/x 2>&1 | grep -c 'Read-only'
         (echo x >/proc/sys/kernel/hostname) 2>&1 | grep -c 'Read-only'
         touch /sys/x 2>&1 | grep -c 'Read-only'; true",
    );
    let mut linux = bundle.spec.linux().clone().unwrap();
    // Two files, two directories, and what is not there.
    let masked = ["/proc/version", "/proc/irq", "/etc", "/nonexistent", "/proc/self/none/x"];
    linux.set_masked_paths(Some(masked.map(str::to_owned).to_vec()));
    let readonly = ["/proc/sys", "/nonexistent"];
    linux.set_readonly_paths(Some(readonly.map(str::to_owned).to_vec()));
    bundle.spec.set_linux(Some(linux));
    let text = host.run(&bundle).unwrap().text;
    assert_eq!(text, "0\n1\n/bin/sh: 1: cannot open /etc/marker: No such file\n1\n1\n1\n");
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn only_harmless_devices_exist_and_open() {
    let host = Host::new();
    let text = host.says(
        "ls /dev | tr '\\n' ' '; echo
         head -c3 /dev/zero | wc -c; echo x >/dev/null; head -c1 /dev/urandom | wc -c
         readlink /dev/fd /dev/ptmx
         mknod /tmp/disk b 254 0 && head -c1 /tmp/disk 2>&1 | grep -c 'not permitted'",
    );
    let mut lines = text.lines();
    let names = "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero ";
    assert_eq!(lines.next(), Some(names));
    assert_eq!(lines.collect::<Vec<_>>(), ["3", "1", "/proc/self/fd", "pts/ptmx", "1"]);
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn a_device_of_the_spec_is_made() {
    let host = Host::new();
    let mut bundle = host.script("stat -c '%a %t:%T %u' /dev/sub/fuse");
    let mut linux = bundle.spec.linux().clone().unwrap();
    let device = LinuxDeviceBuilder::default()
        .path("/dev/sub/fuse")
        .typ(LinuxDeviceType::C)
        .major(10)
        .minor(229)
        .file_mode(0o640_u32)
        .uid(7_u32)
        .build()
        .unwrap();
    linux.set_devices(Some(vec![device]));
    bundle.spec.set_linux(Some(linux));
    assert_eq!(host.run(&bundle).unwrap().text, "640 a:e5 7\n");
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn working_directory_limits_and_sysctls_are_set() {
    let host = Host::new();
    let mut bundle =
        host.script("pwd; ulimit -n; ulimit -Hn; cat /proc/sys/net/ipv4/ip_default_ttl");
    let mut process = bundle.spec.process().clone().unwrap();
    process.set_cwd("/made/for/this".into());
    let files = PosixRlimitBuilder::default()
        .typ(PosixRlimitType::RlimitNofile)
        .soft(77_u64)
        .hard(88_u64)
        .build()
        .unwrap();
    process.set_rlimits(Some(vec![files]));
    bundle.spec.set_process(Some(process));
    let mut linux = bundle.spec.linux().clone().unwrap();
    linux.set_sysctl(Some([("net.ipv4.ip_default_ttl".into(), "61".into())].into()));
    bundle.spec.set_linux(Some(linux));
    assert_eq!(host.run(&bundle).unwrap().text, "/made/for/this\n77\n88\n61\n");
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn a_volume_is_bound_as_asked() {
    let host = Host::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), "host\n").unwrap();
    let path = outside.path().to_str().unwrap();
    let file = format!("{path}/file");
    let script =
        "cat /data/file /single; echo new >/data/new; touch /frozen/x 2>/dev/null || echo ro";
    let mut bundle = host.script(script);
    let mut mounts = bundle.spec.mounts().clone().unwrap();
    mounts.push(bind(path, "/data", &["rbind", "rw", "nosuid"]));
    mounts.push(bind(&file, "/single", &["bind", "ro"]));
    mounts.push(bind(path, "/frozen", &["rbind", "rro"]));
    bundle.spec.set_mounts(Some(mounts));
    assert_eq!(host.run(&bundle).unwrap().text, "host\nhost\nro\n");
    assert_eq!(fs::read_to_string(outside.path().join("new")).unwrap(), "new\n");
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn upper_layers_cover_lower_ones() {
    let host = Host::new();
    let top = tempfile::tempdir().unwrap();
    fs::create_dir(top.path().join("etc")).unwrap();
    fs::write(top.path().join("etc/marker"), "on top\n").unwrap();
    let mut layers = vec![top.path().to_owned()];
    layers.extend(std::iter::repeat_n(host.layer().to_owned(), 1));
    // Many layers with long names: more than an option string holds.
    let deep = tempfile::tempdir().unwrap();
    for index in 0..120 {
        let layer = deep.path().join(format!("{index:0>64}"));
        fs::create_dir(&layer).unwrap();
        layers.push(layer);
    }
    let bundle = bulkhead_runtime::Bundle {
        spec: spec(&["cat", "/etc/marker"]),
        rootfs: bulkhead_runtime::Rootfs::Layers(layers),
    };
    assert_eq!(host.run(&bundle).unwrap().text, "on top\n");
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn cgroups_can_be_seen_from_inside_and_not_changed() {
    let host = Host::new();
    let mut bundle = host.script(
        "find /sys/fs/cgroup -name cgroup.procs -maxdepth 2 | xargs grep -hx $$ | sort -u
         find /sys/fs/cgroup -name bulkhead | wc -l
         mkdir /sys/fs/cgroup/x 2>&1 | grep -c Read-only
         procs=$(find /sys/fs/cgroup -name cgroup.procs -maxdepth 2 | head -n1)
         (echo 0 >$procs) 2>&1 | grep -c Read-only",
    );
    let mut mounts = bundle.spec.mounts().clone().unwrap();
    let cgroup = oci_spec::runtime::get_default_mounts()
        .into_iter()
        .find(|mount| mount.typ().as_deref() == Some("cgroup"))
        .unwrap();
    mounts.insert(mounts.len() - 1, cgroup);
    bundle.spec.set_mounts(Some(mounts));
    assert_eq!(host.run(&bundle).unwrap().text, "1\n0\n1\n1\n");
}
