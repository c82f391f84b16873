use super::*;
use crate::{LogLimits, Phase, RestartPolicy, Timestamp};
use bulkhead_runtime::{Isolation, Lifetime, Record, Signal, StateDir};

fn config(id: InstanceId, name: &str) -> Config {
    Config {
        version: Config::VERSION,
        id,
        name: name.to_owned(),
        image: "tiny".to_owned(),
        image_digest: "sha256:00".to_owned(),
        command: vec!["sh".to_owned()],
        isolation: Isolation::Container,
        created: Timestamp::now(),
        labels: std::collections::BTreeMap::new(),
        restart: RestartPolicy::No,
        stop_signal: Signal::TERM,
        stop_timeout: Some(Config::STOP_TIMEOUT),
        timeout: None,
        auto_remove: false,
        interactive: false,
        stdin_once: false,
        terminal: false,
        health: None,
        log: LogLimits::default(),
        directory: "/".into(),
        run: serde_json::Value::Null,
    }
}

pub(crate) fn instance(id: &str, name: &str) -> Instance {
    let id = InstanceId::try_from(id.to_owned()).unwrap();
    let keeper = Keeper::Supervisor { alive: false };
    Instance { config: config(id, name), state: State::default(), keeper, dir: "/".into() }
}

fn fresh(name: &str) -> Config {
    config(InstanceId::random().unwrap(), name)
}

fn instances(dir: &Path) -> Instances {
    Instances::of(&dir.join("store"), &dir.join("run"))
}

fn actions(all: &Instances) -> Vec<String> {
    let mut reader = all.events().reader().unwrap();
    let mut actions = Vec::new();
    while let Some(event) = reader.next_event().unwrap() {
        actions.push(event.action);
    }
    actions
}

#[test]
fn an_instance_is_kept_found_renamed_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let all = instances(dir.path());
    assert!(all.list().unwrap().is_empty());
    let held = all.create(fresh("web")).unwrap();
    let id = held.instance.config.id.clone();
    assert!(matches!(all.create(fresh("web")), Err(StoreError::NameTaken { .. })));
    let generated = all.create(fresh("")).unwrap();
    assert!(generated.instance.config.name.contains('_'));
    for text in ["web", id.as_str(), id.short()] {
        assert_eq!(all.find(text).unwrap().config.id, id, "{text}");
    }
    let found = all.find("web").unwrap();
    assert!(matches!(all.take(&found), Err(StoreError::Running(_))));
    all.rename(&found, "db").unwrap();
    assert!(all.find("web").is_err());
    drop(held);
    let held = all.take(&found).unwrap();
    assert_eq!(held.instance.config.name, "db");
    all.remove(held).unwrap();
    assert_eq!(all.list().unwrap().len(), 1);
    assert_eq!(actions(&all), ["create", "create", "rename", "destroy"]);
}

#[test]
fn what_its_supervisor_left_is_dead_until_it_is_settled() {
    let dir = tempfile::tempdir().unwrap();
    let all = instances(dir.path());
    let mut held = all.create(fresh("web")).unwrap();
    held.note(|state| state.phase = Phase::Running).unwrap();
    let mut brief = all.create(Config { auto_remove: true, ..fresh("brief") }).unwrap();
    brief.note(|state| state.phase = Phase::Starting).unwrap();
    assert_eq!(all.find("web").unwrap().status(), Status::Running);
    assert!(all.collect_garbage(true).unwrap().is_empty());
    drop((held, brief));
    assert_eq!(all.find("web").unwrap().status(), Status::Dead);
    assert_eq!(all.collect_garbage(false).unwrap().len(), 2);
    assert_eq!(all.collect_garbage(true).unwrap().len(), 2);
    let web = all.find("web").unwrap();
    assert_eq!((web.status(), web.state.exit_code), (Status::Exited, Some(137)));
    assert!(all.find("brief").is_err(), "it was to be removed");
    assert!(all.collect_garbage(true).unwrap().is_empty());
}

#[test]
fn what_is_half_made_or_damaged_hides_nothing_and_is_collected() {
    let dir = tempfile::tempdir().unwrap();
    let all = instances(dir.path());
    drop(all.create(fresh("web")).unwrap());
    for name in [".new-x", ".gone-x", "strange", &"0".repeat(64)] {
        fs::create_dir(all.dir.join(name)).unwrap();
    }
    fs::write(all.dir.join("0".repeat(64)).join(CONFIG), "{").unwrap();
    assert_eq!(all.list().unwrap().len(), 1);
    all.collect_garbage(true).unwrap();
    assert!(!all.dir.join(".new-x").exists() && !all.dir.join(".gone-x").exists());
}

#[test]
fn a_command_in_the_foreground_is_listed_while_it_lives() {
    let dir = tempfile::tempdir().unwrap();
    let all = instances(dir.path());
    let root = dir.path().join("run");
    let sandbox: SandboxId = "shell".parse().unwrap();
    let record = Record::creating(&sandbox, Isolation::Container, Lifetime::Attached);
    let owned = StateDir::create(&root, &record).unwrap();
    all.note_foreground(&sandbox, &fresh("shell")).unwrap();
    let found = all.find("shell").unwrap();
    assert_eq!(found.status(), Status::Starting);
    assert!(found.is_foreground());
    assert_eq!(all.sandbox("shell").unwrap(), sandbox);
    assert!(matches!(all.create(fresh("shell")), Err(StoreError::NameTaken { .. })));
    assert!(matches!(all.take(&found), Err(StoreError::Running(_))));
    all.rename(&found, "other").unwrap();
    assert!(all.find("other").unwrap().is_foreground());
    drop(owned);
    assert!(all.list().unwrap().is_empty());
}
