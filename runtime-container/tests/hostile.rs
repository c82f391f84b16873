//! Bundles that mean harm, or make no sense: a clear error, and nothing left.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod common;

use std::error::Error as _;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;

use bulkhead_runtime::{Bundle, Error, Rootfs};
use common::{Host, bind};
use oci_spec::runtime::{
    HookBuilder, HooksBuilder, LinuxNamespaceType, LinuxPersonalityBuilder, Mount,
    MountBuilder, Spec,
};

/// The error of a bundle that must not run, with all its sources.
fn refusal(host: &Host, bundle: &Bundle) -> String {
    let error = host.run(bundle).map(|ran| ran.text).unwrap_err();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    let left = host.state().read_dir().map_or(0, Iterator::count);
    assert_eq!(left, 0, "state was left behind after: {text}");
    text
}

fn with_mounts(host: &Host, script: &str, added: Vec<Mount>) -> Bundle {
    let mut bundle = host.script(script);
    let mut mounts = bundle.spec.mounts().clone().unwrap();
    mounts.extend(added);
    bundle.spec.set_mounts(Some(mounts));
    bundle
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn an_image_cannot_send_kernel_filesystems_elsewhere() {
    let host = Host::new();
    symlink("etc", host.layer().join("proc")).unwrap();
    let text = refusal(&host, &host.script("true"));
    assert!(text.contains("mounting proc on /proc"), "{text}");
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn a_mount_point_behind_links_stays_inside() {
    let host = Host::new();
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap();
    // Absolute, and up past the root: both mean a place inside the container.
    symlink(target, host.layer().join("absolute")).unwrap();
    symlink(format!("../../../..{target}"), host.layer().join("upwards")).unwrap();
    for link in ["/absolute", "/upwards"] {
        let source = tempfile::tempdir().unwrap();
        fs::write(source.path().join("file"), "bound\n").unwrap();
        let inside = format!("{link}/deep/er");
        let mount = bind(source.path().to_str().unwrap(), &inside, &["bind"]);
        let bundle = with_mounts(&host, &format!("cat {inside}/file"), vec![mount]);
        // The link's target does not exist inside: refused, or made inside.
        if let Ok(ran) = host.run(&bundle) {
            assert_eq!(ran.text, "bound\n");
        }
        assert_eq!(outside.path().read_dir().unwrap().count(), 0, "the host was written to");
    }
    let masked = ["/absolute", "/upwards"].map(str::to_owned).to_vec();
    let mut bundle = host.script("echo fine");
    let mut linux = bundle.spec.linux().clone().unwrap();
    linux.set_masked_paths(Some(masked));
    bundle.spec.set_linux(Some(linux));
    assert_eq!(host.run(&bundle).unwrap().text, "fine\n");
    let host_mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!host_mounts.contains(target));
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn mounts_that_reach_the_host_are_refused() {
    let host = Host::new();
    let mount = |typ: &str, source: &str, destination: &str| {
        MountBuilder::default()
            .typ(typ)
            .source(source)
            .destination(destination)
            .build()
            .unwrap()
    };
    for (added, expected) in [
        (mount("ext4", "/dev/vda", "/mnt"), "filesystem ext4"),
        (mount("debugfs", "debugfs", "/mnt"), "filesystem debugfs"),
        (mount("tmpfs", "tmpfs", "relative"), "not absolute"),
        (bind("relative", "/mnt", &["bind"]), "absolute source"),
        (bind("/nonexistent/source", "/mnt", &["bind"]), "/nonexistent/source"),
        (bind("/usr", "/mnt", &["bind", "idmap"]), "option idmap"),
    ] {
        let text = refusal(&host, &with_mounts(&host, "true", vec![added]));
        assert!(text.contains(expected), "{text}");
    }
}

type Change = fn(&mut Spec);

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn what_cannot_be_done_is_refused_by_name() {
    let host = Host::new();
    let changes: [(Change, &str); 8] = [
        (
            |spec| {
                let hook = HookBuilder::default().path("/bin/true").build().unwrap();
                let hooks = HooksBuilder::default().poststart(vec![hook]).build().unwrap();
                spec.set_hooks(Some(hooks));
            },
            "hooks",
        ),
        (|spec| process(spec, |p| _ = p.set_apparmor_profile(Some("x".into()))), "apparmor"),
        (|spec| process(spec, |p| _ = p.set_selinux_label(Some("x".into()))), "selinuxLabel"),
        (
            |spec| {
                linux(spec, |l| {
                    l.set_personality(Some(
                        LinuxPersonalityBuilder::default().build().unwrap(),
                    ));
                });
            },
            "linux.personality",
        ),
        (
            |spec| {
                linux(spec, |l| {
                    l.set_sysctl(Some([("kernel.panic".into(), "1".into())].into()));
                });
            },
            "linux.sysctl kernel.panic",
        ),
        (
            |spec| {
                linux(spec, |l| {
                    let mut namespaces = l.namespaces().clone().unwrap();
                    namespaces.retain(|n| n.typ() != LinuxNamespaceType::Pid);
                    l.set_namespaces(Some(namespaces));
                });
            },
            "pid namespace",
        ),
        (|spec| linux(spec, |l| _ = l.set_cgroups_path(Some("../../x".into()))), "cgroupsPath"),
        (|spec| process(spec, |p| _ = p.set_args(Some(vec!["a\0b".into()]))), "null byte"),
    ];
    for (change, expected) in changes {
        let mut bundle = host.script("true");
        change(&mut bundle.spec);
        let text = refusal(&host, &bundle);
        assert!(text.contains(expected), "{text}");
    }
}

fn process(spec: &mut Spec, change: impl FnOnce(&mut oci_spec::runtime::Process)) {
    let mut process = spec.process().clone().unwrap();
    change(&mut process);
    spec.set_process(Some(process));
}

fn linux(spec: &mut Spec, change: impl FnOnce(&mut oci_spec::runtime::Linux)) {
    let mut linux = spec.linux().clone().unwrap();
    change(&mut linux);
    spec.set_linux(Some(linux));
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn a_missing_layer_or_a_file_as_working_directory_is_named() {
    let host = Host::new();
    let mut bundle = host.script("true");
    bundle.rootfs = Rootfs::Layers(vec!["/nonexistent/layer".into()]);
    assert!(matches!(host.run(&bundle).map(drop), Err(Error::Bundle(_))));
    bundle.rootfs = Rootfs::Disk("/nonexistent/disk".into());
    assert!(matches!(host.run(&bundle).map(drop), Err(Error::Bundle(_))));
    let mut bundle = host.script("true");
    process(&mut bundle.spec, |p| _ = p.set_cwd("/etc/marker".into()));
    let text = refusal(&host, &bundle);
    assert!(text.contains("/etc/marker"), "{text}");
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn no_descriptor_of_the_host_leaks_in() {
    let host = Host::new();
    let leak = fs::File::open("/").unwrap();
    // SAFETY: clears a flag of a descriptor of ours.
    assert_eq!(unsafe { libc::fcntl(leak.as_raw_fd(), libc::F_SETFD, 0) }, 0);
    // 3 is the directory ls reads.
    assert_eq!(host.says("ls /proc/self/fd | tr '\\n' ' '"), "0 1 2 3 ");
    let mut bundle = host.script("pwd");
    let path = format!("/proc/self/fd/{}", leak.as_raw_fd());
    process(&mut bundle.spec, |p| _ = p.set_cwd(path.into()));
    assert!(host.run(&bundle).is_err(), "the working directory was outside the root");
}
