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
    Plan::new(
        bundle,
        Setting {
            scratch,
            privileged,
            attached: true,
            init: false,
            files: &[],
            is_first: true,
            changes: None,
        },
    )
    .unwrap()
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
    let setting = Setting {
        scratch,
        privileged: true,
        attached: true,
        init: false,
        files: &[],
        is_first: true,
        changes: None,
    };
    Plan::part(&bundle, setting, part).unwrap()
}

#[test]
fn the_parts_make_up_the_whole() {
    let (whole, ahead, rest) = (part(Part::Whole), part(Part::Ahead), part(Part::Rest));
    assert_eq!(ahead.setup[0], Step::DieWithParent, "the keeper's child");
    let mut together = [&ahead.setup[1..], rest.setup.as_slice()].concat();
    assert_eq!(together.len(), whole.setup.len());
    // The whole has the same steps, with those of the rest in between.
    for step in &whole.setup {
        let found = together.iter().position(|other| other == step).unwrap();
        together.remove(found);
    }
    assert!(ahead.launch.is_empty());
    assert_eq!(rest.launch, whole.launch);
}

#[test]
fn what_belongs_to_the_process_comes_last() {
    let ahead = part(Part::Ahead).setup;
    assert!(ahead.iter().any(|step| is_mount_of(step, c"/proc")));
    assert!(ahead.contains(&Step::LoopbackUp) && ahead.contains(&Step::DetachOldRoot));
    assert!(!ahead.iter().any(|step| {
        matches!(step, Step::Hostname(_) | Step::EnsureDirectory(_) | Step::StampRootfs)
    }));
    assert_eq!(part(Part::Rest).setup[0], Step::StampRootfs);
}

/// A plan of everything that can be left for a prepared container.
fn full_rest() -> Plan {
    let mut bundle = bundle(true);
    bundle.spec.set_domainname(Some("domain".to_owned()));
    let root = oci_spec::runtime::RootBuilder::default().readonly(true).build().unwrap();
    bundle.spec.set_root(Some(root));
    let process = bundle.spec.process_mut().as_mut().unwrap();
    process.set_env(Some(vec!["A=b".to_owned(), "PATH=/x:/y".to_owned(), String::new()]));
    process.user_mut().set_additional_gids(Some(vec![7, 8, 9]));
    let limit = oci_spec::runtime::PosixRlimitBuilder::default()
        .typ(oci_spec::runtime::PosixRlimitType::RlimitNofile)
        .soft(64_u64)
        .hard(128_u64)
        .build();
    process.set_rlimits(Some(vec![limit.unwrap()]));
    let scratch = Path::new("/run/x");
    let setting = Setting {
        scratch,
        privileged: true,
        attached: true,
        init: true,
        files: &[],
        is_first: true,
        changes: None,
    };
    Plan::part(&bundle, setting, Part::Rest).unwrap()
}

#[test]
fn a_brief_says_what_the_plan_says() {
    use crate::brief::{self, Brief};
    let plan = full_rest();
    for init in [true, false] {
        let words = brief::write(&plan, init).unwrap();
        let brief = Brief::read(&words).unwrap();
        // What a step calls a limit is for those who describe it.
        let named = |step: &Step| match step {
            Step::Limit { resource, soft, hard, .. } => {
                Step::Limit { resource: *resource, name: "", soft: *soft, hard: *hard }
            }
            other => other.clone(),
        };
        let same = |read: brief::Steps<'_>, planned: &[Step]| {
            let read: Vec<_> = read.map(Result::unwrap).collect();
            assert_eq!(read, planned.iter().map(named).collect::<Vec<_>>());
        };
        same(brief.setup, &plan.setup);
        same(brief.launch, &plan.launch);
        let same = |read: brief::Strings<'_>, planned: &[CString]| {
            assert_eq!(read.count_left(), planned.len());
            let read: Vec<CString> = read.map(|text| text.unwrap().to_owned()).collect();
            assert_eq!(read, planned);
        };
        same(brief.candidates, &plan.command.candidates);
        same(brief.argv, plan.command.argv.strings());
        same(brief.envp, plan.command.envp.strings());
        assert_eq!(brief.init, init.then_some(false));
    }
    assert!(brief::write(&part(Part::Whole), false).is_none(), "mounts are made ahead");
}

#[test]
fn a_brief_that_is_cut_off_or_damaged_is_not_followed_blindly() {
    use crate::brief::{self, Brief};
    let words = brief::write(&full_rest(), false).unwrap();
    let read_all = |words: &[u64]| {
        if let Some(brief) = Brief::read(words) {
            let steps = [brief.setup, brief.launch].into_iter().flatten();
            let texts = [brief.candidates, brief.argv, brief.envp].into_iter().flatten();
            // An error ends the reading, as it does in the child.
            let _ = steps.take_while(Result::is_ok).count();
            let _ = texts.take_while(Result::is_ok).count();
        }
    };
    for len in 0..words.len() {
        assert!(Brief::read(&words[..len]).is_none(), "{len}");
    }
    for at in 0..words.len() {
        for value in [0, 1, u64::MAX, u64::MAX / 8 + 1] {
            let mut damaged = words.clone();
            damaged[at] = value;
            read_all(&damaged);
        }
    }
}

#[test]
fn a_working_directory_below_what_is_protected_does_not_fit() {
    let mut bundle = bundle(true);
    let linux = bundle.spec.linux_mut().as_mut().unwrap();
    linux.set_readonly_paths(Some(vec!["/locked".to_owned()]));
    linux.set_masked_paths(Some(vec!["/hidden".to_owned()]));
    let mut at = |cwd: &str| {
        bundle.spec.process_mut().as_mut().unwrap().set_cwd(cwd.into());
        fits_ahead(&bundle.spec)
    };
    assert!(at("/") && at("/lockedin"));
    assert!(!at("/locked") && !at("/locked/deeper") && !at("/hidden/x"));
}

#[test]
fn a_target_is_absolute() {
    assert!(directory("mounts", Path::new("/a")).is_ok());
    assert!(target("mounts", Path::new("a"), true).is_err());
}
