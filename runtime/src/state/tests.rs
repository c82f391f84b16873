use super::*;

fn record(name: &str) -> Record {
    Record::creating(&name.parse().unwrap(), Isolation::Container, Lifetime::Attached)
}

#[test]
fn a_record_survives_the_round_trip_and_its_owner_is_seen() {
    let root = tempfile::tempdir().unwrap();
    let written = record("web");
    let owner = StateDir::create(root.path(), &written).unwrap();
    let visitor = StateDir::open(root.path(), &written.id).unwrap();
    assert_eq!(visitor.read().unwrap(), written);
    assert!(visitor.is_owned());
    drop(owner);
    assert!(!visitor.is_owned());
    assert_eq!(list(root.path()).unwrap(), [written.id]);
    visitor.remove().unwrap();
    visitor.remove().unwrap();
    assert!(list(root.path()).unwrap().is_empty());
}

#[test]
fn a_name_is_taken_once() {
    let root = tempfile::tempdir().unwrap();
    let _owner = StateDir::create(root.path(), &record("web")).unwrap();
    let again = StateDir::create(root.path(), &record("web"));
    assert!(matches!(again, Err(StateError::Exists(_))));
}

#[test]
fn a_damaged_record_is_said_to_be_damaged() {
    let root = tempfile::tempdir().unwrap();
    let dir = StateDir::create(root.path(), &record("web")).unwrap();
    fs::write(dir.path().join("state.json"), b"{\"version\":").unwrap();
    assert!(matches!(dir.read(), Err(StateError::Damaged { .. })));
}

#[test]
fn only_what_lost_its_owner_is_abandoned() {
    let root = tempfile::tempdir().unwrap();
    let owned = StateDir::create(root.path(), &record("owned")).unwrap();
    drop(StateDir::create(root.path(), &record("left")).unwrap());
    let detached = Record { lifetime: Lifetime::Detached, ..record("detached") };
    drop(StateDir::create(root.path(), &detached).unwrap());
    fs::create_dir(root.path().join("empty")).unwrap();
    let found: Vec<_> =
        abandoned(root.path()).unwrap().into_iter().map(|(id, _)| id.to_string()).collect();
    assert_eq!(found, ["empty", "left"]);
    drop(owned);
}

#[test]
fn a_missing_root_lists_nothing() {
    assert!(abandoned(Path::new("/nonexistent/bulkhead")).unwrap().is_empty());
    assert!(list(Path::new("/nonexistent/bulkhead")).unwrap().is_empty());
}
