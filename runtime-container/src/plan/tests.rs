use super::*;
use bulkhead_runtime::Rootfs;
use oci_spec::runtime::{
    LinuxBuilder, LinuxNamespaceBuilder, LinuxNamespaceType as Kind, ProcessBuilder,
    SpecBuilder,
};

fn bundle(no_new_privileges: bool) -> Bundle {
    let kinds = [Kind::Mount, Kind::Pid, Kind::Network, Kind::Uts, Kind::Cgroup];
    let namespaces =
        kinds.map(|kind| LinuxNamespaceBuilder::default().typ(kind).build().unwrap());
    let linux = LinuxBuilder::default()
        .namespaces(namespaces.to_vec())
        .seccomp(seccomp::default_profile())
        .build()
        .unwrap();
    let process = ProcessBuilder::default()
        .args(vec!["sh".to_owned()])
        .cwd("/work")
        .no_new_privileges(no_new_privileges)
        .build()
        .unwrap();
    let spec = SpecBuilder::default()
        .hostname("here")
        .process(process)
        .linux(linux)
        .mounts(oci_spec::runtime::get_default_mounts())
        .build()
        .unwrap();
    Bundle { spec, rootfs: Rootfs::Layers(vec!["/usr".into()]) }
}

fn plan(bundle: &Bundle, privileged: bool) -> Plan {
    let scratch = Path::new("/run/x");
    Plan::new(bundle, Setting { scratch, privileged, attached: true, init: false }).unwrap()
}

fn position(steps: &[Step], wanted: impl Fn(&Step) -> bool) -> usize {
    steps.iter().position(wanted).unwrap()
}

fn is_mount_of(step: &Step, path: &std::ffi::CStr) -> bool {
    matches!(step, Step::Mount(mount) if mount.target.path.as_c_str() == path)
}

#[test]
fn nothing_is_mounted_inside_before_the_host_is_gone() {
    let plan = plan(&bundle(true), true);
    let gone = position(&plan.setup, |step| *step == Step::DetachOldRoot);
    let pivot = position(&plan.setup, |step| matches!(step, Step::Pivot { .. }));
    assert_eq!(gone, pivot + 1);
    assert!(gone < position(&plan.setup, |step| is_mount_of(step, c"/proc")));
    assert_eq!(plan.setup.last(), Some(&Step::DieWithParent));
}

#[test]
fn an_unprivileged_caller_gets_a_user_namespace() {
    let plan = plan(&bundle(true), false);
    assert!(plan.namespaces.user);
    assert_eq!(plan.setup.first(), Some(&Step::AwaitMappings));
    let gone = position(&plan.setup, |step| *step == Step::DetachOldRoot);
    assert!(gone > position(&plan.setup, |step| is_mount_of(step, c"/sys")));
    assert!(!plan.setup.iter().any(|step| matches!(step, Step::Node { .. })));
    assert_eq!((plan.mappings.uids.len(), plan.mappings.gids.len()), (1, 1));
}

#[test]
fn the_filter_comes_as_late_as_privileges_allow() {
    let late = plan(&bundle(true), true).launch;
    assert!(matches!(late.last(), Some(Step::Seccomp { .. })));
    let before = position(&late, |step| *step == Step::NoNewPrivileges);
    assert!(before < position(&late, |step| matches!(step, Step::Seccomp { .. })));
    let early = plan(&bundle(false), true).launch;
    let filter = position(&early, |step| matches!(step, Step::Seccomp { .. }));
    assert!(filter < position(&early, |step| matches!(step, Step::Bounding(_))));
    assert!(!early.contains(&Step::NoNewPrivileges));
}

fn part(part: Part) -> Plan {
    let (bundle, scratch) = (bundle(true), Path::new("/run/x"));
    let setting = Setting { scratch, privileged: true, attached: true, init: false };
    Plan::part(&bundle, setting, part).unwrap()
}

#[test]
fn the_parts_make_up_the_whole() {
    let (whole, ahead, rest) = (part(Part::Whole), part(Part::Ahead), part(Part::Rest));
    assert_eq!(ahead.clone_flags | rest.clone_flags, whole.clone_flags);
    assert_eq!(rest.clone_flags, namespaces::PID);
    let mut together = [ahead.setup.as_slice(), rest.setup.as_slice()].concat();
    assert_eq!(together.len(), whole.setup.len());
    // The whole has the same steps, with those of the rest in between.
    for step in &whole.setup {
        let found = together.iter().position(|other| other == step).unwrap();
        together.remove(found);
    }
}

#[test]
fn what_shows_the_pid_namespace_or_the_process_comes_last() {
    let ahead = part(Part::Ahead).setup;
    assert!(ahead.iter().any(|step| is_mount_of(step, c"/sys")));
    assert!(ahead.contains(&Step::LoopbackUp) && ahead.contains(&Step::DetachOldRoot));
    assert!(!ahead.iter().any(|step| {
        is_mount_of(step, c"/proc")
            || matches!(step, Step::Hostname(_) | Step::Mask(_) | Step::ReadOnly(_))
            || matches!(step, Step::DieWithParent | Step::EnsureDirectory(_))
    }));
    let mut rest = part(Part::Rest);
    assert_eq!(position(&rest.setup, |step| *step == Step::StampRootfs), 0);
    rest.enter([Step::Enter { fd: 9, kind: libc::CLONE_NEWNS }]);
    assert!(matches!(rest.setup[0], Step::Enter { .. }), "before any path is followed");
}

#[test]
fn what_is_mounted_over_proc_waits_for_it() {
    let mut bundle = bundle(true);
    let mounts = bundle.spec.mounts_mut().as_mut().unwrap();
    let tmpfs = |at: &str| {
        let mount = oci_spec::runtime::MountBuilder::default().typ("tmpfs").destination(at);
        mount.source("tmpfs").build().unwrap()
    };
    mounts.extend([tmpfs("/proc/bus"), tmpfs("/procession")]);
    let setting =
        Setting { scratch: Path::new("/run/x"), privileged: true, attached: true, init: false };
    let ahead = Plan::part(&bundle, setting, Part::Ahead).unwrap().setup;
    assert!(ahead.iter().any(|step| is_mount_of(step, c"/procession")));
    assert!(!ahead.iter().any(|step| is_mount_of(step, c"/proc/bus")));
}

#[test]
fn a_target_knows_the_way_to_itself() {
    let deep = target("mounts", Path::new("/a/b/c"), false).unwrap();
    assert_eq!(deep.parents, [c"/a".to_owned(), c"/a/b".to_owned()]);
    assert!(directory("mounts", Path::new("/a")).unwrap().parents.is_empty());
    assert!(directory("mounts", Path::new("a")).is_err());
}
