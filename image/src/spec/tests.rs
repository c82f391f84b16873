//! What becomes of image and options.

use super::*;

fn image(json: &str) -> ImageConfiguration {
    let rootfs = r#""rootfs":{"type":"layers","diff_ids":[]}"#;
    let json = format!(r#"{{"architecture":"amd64","os":"linux","config":{json},{rootfs}}}"#);
    serde_json::from_str(&json).unwrap()
}

fn spec(json: &str, options: &RunOptions) -> Result<Spec, SpecError> {
    let accounts = Accounts::parse("root:x:0:0::/root:\nwww:x:33:33::/var/www:\n", "");
    runtime_spec(&image(json), &accounts, options)
}

fn process(json: &str, options: &RunOptions) -> oci_spec::runtime::Process {
    spec(json, options).unwrap().process().clone().unwrap()
}

fn args(json: &str, options: &RunOptions) -> String {
    process(json, options).args().clone().unwrap().join(" ")
}

const BOTH: &str = r#"{"Entrypoint":["/entry","-e"],"Cmd":["cmd"]}"#;

#[test]
fn arguments_are_replaced_as_docker_does() {
    let given = |args: &[&str]| args.iter().map(|&a| a.to_owned()).collect::<Vec<_>>();
    let mut options = RunOptions::default();
    assert_eq!(args(BOTH, &options), "/entry -e cmd");
    options.args = given(&["mine"]);
    assert_eq!(args(BOTH, &options), "/entry -e mine");
    options.entrypoint = Some(given(&["/own"]));
    assert_eq!(args(BOTH, &options), "/own mine");
    options.args.clear();
    assert_eq!(args(BOTH, &options), "/own");
    options.entrypoint = Some(Vec::new());
    assert!(matches!(spec(BOTH, &options), Err(SpecError::NoCommand)));
    options.args = given(&["sh"]);
    assert_eq!(args(BOTH, &options), "sh");
    assert!(matches!(spec("{}", &RunOptions::default()), Err(SpecError::NoCommand)));
}

#[test]
fn the_environment_is_put_together() {
    let json = r#"{"Cmd":["a"],"Env":["A=1","PATH=/bin","B=2","A=3"],"User":"www"}"#;
    let env = |options: &RunOptions| process(json, options).env().clone().unwrap();
    assert_eq!(env(&RunOptions::default()), ["PATH=/bin", "HOME=/var/www", "A=3", "B=2"]);
    let options = RunOptions {
        env: vec!["B=".to_owned(), "A".to_owned(), "C=x=y".to_owned()],
        hostname: Some("box".to_owned()),
        terminal: true,
        ..RunOptions::default()
    };
    let expected = ["PATH=/bin", "HOSTNAME=box", "TERM=xterm", "HOME=/var/www", "B=", "C=x=y"];
    assert_eq!(env(&options), expected);
    let nameless = RunOptions { env: vec!["=x".to_owned()], ..RunOptions::default() };
    assert!(matches!(spec(json, &nameless), Err(SpecError::Environment(_))));
}

#[test]
fn the_working_directory_is_absolute() {
    let mut options = RunOptions::default();
    assert_eq!(
        process(r#"{"Cmd":["a"],"WorkingDir":""}"#, &options).cwd(),
        "/".as_ref() as &std::path::Path
    );
    let json = r#"{"Cmd":["a"],"WorkingDir":"/srv"}"#;
    assert_eq!(process(json, &options).cwd().to_str(), Some("/srv"));
    options.working_dir = Some("tmp".to_owned());
    assert!(matches!(spec(json, &options), Err(SpecError::WorkingDirectory(_))));
}

#[test]
fn only_root_has_capabilities_to_begin_with() {
    let json = r#"{"Cmd":["a"]}"#;
    let sets = |options: &RunOptions| process(json, options).capabilities().clone().unwrap();
    let count = |set: &Option<std::collections::HashSet<_>>| set.as_ref().unwrap().len();
    let mut options = RunOptions::default();
    let root = sets(&options);
    assert_eq!((count(root.bounding()), count(root.effective())), (14, 14));
    options.user = Some("www".to_owned());
    let www = sets(&options);
    assert_eq!((count(www.bounding()), count(www.effective())), (14, 0));
    assert_eq!((count(www.permitted()), count(www.inheritable())), (0, 0));
    options.cap_drop = vec!["all".to_owned()];
    options.cap_add = vec!["CAP_KILL".to_owned(), "net_admin".to_owned()];
    assert_eq!(count(sets(&options).bounding()), 2);
}

#[test]
fn limits_are_converted() {
    let options = RunOptions {
        memory_bytes: Some(64 << 20),
        cpus: Some(1.5),
        pids_limit: Some(10),
        ..RunOptions::default()
    };
    let spec = spec(BOTH, &options).unwrap();
    let resources = spec.linux().as_ref().unwrap().resources().clone().unwrap();
    assert_eq!(resources.memory().unwrap().limit(), Some(64 << 20));
    let cpu = resources.cpu().clone().unwrap();
    assert_eq!((cpu.quota(), cpu.period()), (Some(150_000), Some(100_000)));
    assert_eq!(resources.pids().unwrap().limit(), 10);
}

#[test]
fn limits_that_leave_nothing_are_refused() {
    for cpus in [0.0, -1.0, 0.001, f64::NAN, f64::INFINITY] {
        let options = RunOptions { cpus: Some(cpus), ..RunOptions::default() };
        assert!(matches!(spec(BOTH, &options), Err(SpecError::Cpus(_))), "{cpus}");
    }
    let memory = RunOptions { memory_bytes: Some(u64::MAX), ..RunOptions::default() };
    assert!(matches!(spec(BOTH, &memory), Err(SpecError::Limit { .. })));
    let pids = RunOptions { pids_limit: Some(0), ..RunOptions::default() };
    assert!(matches!(spec(BOTH, &pids), Err(SpecError::Limit { .. })));
}

#[test]
fn labels_and_the_stop_signal_become_annotations() {
    let json = r#"{"Cmd":["a"],"StopSignal":"SIGINT","Labels":{"a":"b"},
        "ExposedPorts":{"80/tcp":{},"443/tcp":{}}}"#;
    let annotations =
        spec(json, &RunOptions::default()).unwrap().annotations().clone().unwrap();
    assert_eq!(annotations[STOP_SIGNAL], "SIGINT");
    assert_eq!(annotations["a"], "b");
    assert_eq!(annotations["org.opencontainers.image.exposedPorts"], "443/tcp,80/tcp");
}

#[test]
fn a_user_namespace_is_mapped() {
    let range = IdMapping { inside: 0, outside: 100_000, count: 1 };
    let options = RunOptions {
        user_namespace: Some(UserNamespace { users: vec![range], groups: vec![range] }),
        ..RunOptions::default()
    };
    let spec = spec(BOTH, &options).unwrap();
    let linux = spec.linux().as_ref().unwrap();
    assert_eq!(linux.namespaces().as_ref().unwrap().len(), 7);
    assert_eq!(linux.uid_mappings().as_ref().unwrap()[0].host_id(), 100_000);
    // Group 5 is not mapped, so devpts must not be given it.
    let mounts = spec.mounts().as_ref().unwrap();
    assert!(!format!("{mounts:?}").contains("gid=5"));
}
