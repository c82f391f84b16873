//! Volumes as their users see them.

use super::*;

fn volumes() -> (tempfile::TempDir, Volumes) {
    let dir = tempfile::tempdir().unwrap();
    let volumes = Store::open(dir.path()).volumes();
    (dir, volumes)
}

fn make(volumes: &Volumes, name: &str, origin: Origin) -> Volume {
    volumes.create(&name.parse().unwrap(), BTreeMap::new(), origin, None).unwrap()
}

#[test]
fn a_volume_is_made_once_and_found_again() {
    let (_dir, volumes) = volumes();
    let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let name: VolumeName = "data".parse().unwrap();
    let first = volumes.create(&name, labels.clone(), Origin::Named, None).unwrap();
    fs::write(first.data().join("f"), "bytes").unwrap();
    drop(first);
    let again = volumes.create(&name, BTreeMap::new(), Origin::Named, None).unwrap();
    assert_eq!(again.record().labels, labels);
    assert_eq!(fs::read(again.data().join("f")).unwrap(), b"bytes");
    let names: Vec<_> = volumes.list().unwrap().iter().map(|v| v.name.to_string()).collect();
    assert_eq!(names, ["data"]);
}

#[test]
fn a_volume_in_use_is_not_removed() {
    let (_dir, volumes) = volumes();
    let volume = make(&volumes, "data", Origin::Named);
    let name = volume.name.clone();
    assert!(matches!(volumes.remove(&name), Err(VolumeError::InUse(_))));
    assert!(volumes.is_used(&name).unwrap());
    let other = volumes.open(&name).unwrap();
    drop(volume);
    assert!(matches!(volumes.remove(&name), Err(VolumeError::InUse(_))));
    drop(other);
    volumes.remove(&name).unwrap();
    assert!(matches!(volumes.open(&name), Err(VolumeError::NotFound(_))));
    assert!(matches!(volumes.remove(&name), Err(VolumeError::NotFound(_))));
}

#[test]
fn garbage_is_what_is_half_made_and_what_belonged_to_a_run() {
    let (dir, volumes) = volumes();
    make(&volumes, "kept", Origin::Named);
    make(&volumes, "belongs", Origin::Anonymous);
    make(&volumes, "over", Origin::Ephemeral);
    let running = make(&volumes, "running", Origin::Ephemeral);
    for half in [".new-1", ".old-1"] {
        fs::create_dir_all(dir.path().join("volumes").join(half).join(DATA)).unwrap();
    }
    volumes.collect_garbage().unwrap();
    let mut left = volumes.entries().unwrap();
    left.sort();
    assert_eq!(left, [LOCK, "belongs", "kept", "running"]);
    drop(running);
}

#[test]
fn many_at_once_make_one_volume() {
    let (_dir, volumes) = volumes();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| drop(make(&volumes, "one", Origin::Named)));
        }
    });
    let mut left = volumes.entries().unwrap();
    left.sort();
    assert_eq!(left, [LOCK, "one"]);
}
