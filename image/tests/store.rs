//! Names, garbage, and what a crash leaves.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use std::fs;
use std::path::Path;

use bulkhead_image::{Garbage, Image, ImportOptions, NoProgress, Store, StoreError, builtin};
use bulkhead_runtime::Rootfs;
use common::archive::Archive;
use common::{layout, leftovers, store};

fn import(store: &Store, name: &str, content: &str) -> Image {
    let dir = tempfile::tempdir().unwrap();
    let layer = Archive::new().file(content, b"x").finish();
    let layout = layout::simple(&dir.path().join("layout"), &[layer]);
    let options = ImportOptions { name: Some(name.parse().unwrap()), ..Default::default() };
    let imported = store.import(layout.path(), &options, &NoProgress).unwrap();
    imported.into_iter().next().unwrap().image
}

fn names(store: &Store) -> Vec<String> {
    store.list().unwrap().iter().map(|listed| listed.name.to_string()).collect()
}

#[test]
fn images_are_found_by_name_and_digest() {
    let (_dir, store) = store();
    let one = import(&store, "one", "a");
    let two = import(&store, "example.org/two:2", "b");
    assert_eq!(names(&store), ["example.org/two:2", "one:latest"]);
    let found = |wanted: &str| store.resolve(wanted).map(|image| image.digest());
    assert_eq!(found("one").unwrap(), one.digest());
    assert_eq!(found("docker.io/library/one:latest").unwrap(), one.digest());
    assert_eq!(found("example.org/two:2").unwrap(), two.digest());
    assert_eq!(found(&two.digest().to_string()).unwrap(), two.digest());
    assert_eq!(found(&one.digest().hex()[..12]).unwrap(), one.digest());
    for missing in ["three", "one:2", "0000000000000000", "", "../one"] {
        assert!(matches!(found(missing), Err(StoreError::NotFound(_))), "{missing}");
    }
}

#[test]
fn an_empty_store_is_just_empty() {
    let (_dir, store) = store();
    assert_eq!(names(&store), [""; 0]);
    assert!(matches!(store.resolve("x"), Err(StoreError::NotFound(_))));
    assert_eq!(store.collect_garbage().unwrap(), Garbage::default());
    assert!(!store.root().exists(), "looking made something");
}

#[test]
fn a_name_moves_and_what_it_left_is_collected() {
    let (_dir, store) = store();
    let old = import(&store, "app", "a").digest();
    let new = import(&store, "app", "b").digest();
    assert_ne!(old, new);
    assert_eq!(store.resolve("app").unwrap().digest(), new);
    assert_eq!(store.resolve(&old.to_string()).unwrap().digest(), old);
    let garbage = store.collect_garbage().unwrap();
    // Manifest, layer blob, layer; the configurations differ in their diff_id.
    assert_eq!(garbage, Garbage { images: 1, parts: 4, leftovers: 0 });
    assert!(matches!(store.resolve(&old.to_string()), Err(StoreError::NotFound(_))));
    let image = store.resolve("app").unwrap();
    let Rootfs::Layers(layers) = image.layers() else { panic!() };
    assert!(layers[0].join("b").is_file());
}

#[test]
fn parts_that_another_image_needs_stay() {
    let (_dir, store) = store();
    drop(import(&store, "one", "same"));
    let image = import(&store, "two", "same");
    store.tag(&image, &"three:3".parse().unwrap()).unwrap();
    drop(image);
    assert_eq!(store.remove("one").unwrap().len(), 1);
    assert_eq!(store.collect_garbage().unwrap(), Garbage::default());
    let digest = store.resolve("two").unwrap().digest();
    let removed = store.remove(&digest.to_string()).unwrap();
    assert_eq!(
        removed.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["three:3", "two:latest"]
    );
    store.collect_garbage().unwrap();
    assert_eq!(leftovers(&store), [""; 0]);
    assert!(matches!(store.remove("two"), Err(StoreError::NotFound(_))));
}

#[test]
fn an_image_in_use_is_kept_whole() {
    let (_dir, store) = store();
    let image = import(&store, "app", "a");
    store.remove("app").unwrap();
    assert_eq!(store.collect_garbage().unwrap(), Garbage::default());
    let Rootfs::Layers(layers) = image.layers() else { panic!() };
    assert!(layers[0].join("a").is_file());
    drop(image);
    assert_eq!(store.collect_garbage().unwrap().images, 1);
    assert_eq!(leftovers(&store), [""; 0]);
}

#[test]
fn what_a_crash_left_is_collected() {
    let (_dir, store) = store();
    drop(import(&store, "app", "a"));
    // As after a kill in the middle of an import, and of a collection.
    let half = store.root().join("tmp/import-x/layers/y/d");
    fs::create_dir_all(&half).unwrap();
    fs::write(half.join("f"), "x").unwrap();
    let orphan = store.root().join("layers").join("0".repeat(64));
    fs::create_dir(&orphan).unwrap();
    fs::write(store.root().join("disks/unknown.erofs"), "x").unwrap();
    let garbage = store.collect_garbage().unwrap();
    assert_eq!(garbage, Garbage { images: 0, parts: 2, leftovers: 1 });
    assert!(!half.exists() && !orphan.exists());
    assert_eq!(names(&store), ["app:latest"]);
}

#[test]
fn a_damaged_record_is_an_error_until_it_is_removed() {
    let (_dir, store) = store();
    drop(import(&store, "app", "a"));
    let records = fs::read_dir(store.root().join("records")).unwrap();
    let path = records.map(|entry| entry.unwrap().path()).next().unwrap();
    fs::write(&path, "{").unwrap();
    assert!(matches!(store.resolve("app"), Err(StoreError::Damaged { .. })));
    store.remove("app").unwrap();
    store.collect_garbage().unwrap();
    assert_eq!(leftovers(&store), [""; 0]);
}

#[test]
fn many_at_once_do_not_get_in_each_others_way() {
    let (_dir, store) = store();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for round in 0..5 {
                    // The same image by all, and one of each worker's own.
                    drop(import(store, "shared", "same"));
                    drop(import(store, &format!("own{worker}"), &format!("{worker}{round}")));
                    store.collect_garbage().unwrap();
                }
            });
        }
    });
    store.collect_garbage().unwrap();
    assert_eq!(names(&store).len(), 5);
    for listed in store.list().unwrap() {
        let Rootfs::Layers(layers) = listed.image.layers() else { panic!() };
        assert_eq!(fs::read_dir(&layers[0]).unwrap().count(), 1, "{}", listed.name);
    }
}

#[test]
fn the_probe_is_made_once_and_replaced_when_it_changes() {
    let (_dir, store) = store();
    let one = builtin::probe(&store, b"program").unwrap();
    assert_eq!(builtin::probe(&store, b"program").unwrap().digest(), one.digest());
    assert_eq!(store.resolve("probe").unwrap().digest(), one.digest());
    let Rootfs::Layers(layers) = one.layers() else { panic!() };
    let program = layers[0].join("probe");
    assert_eq!(fs::read(&program).unwrap(), b"program");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&program).unwrap().permissions());
    assert_eq!(mode & 0o7777, 0o755);
    let config = one.config().config().clone().unwrap();
    assert_eq!(config.entrypoint().as_deref().unwrap(), ["/probe"]);

    let two = builtin::probe(&store, b"PROGRAM").unwrap();
    assert_ne!(two.digest(), one.digest());
    assert_eq!(store.resolve("probe").unwrap().digest(), two.digest());
    // The same program makes the same image in any store.
    let (_other_dir, other) = common::store();
    assert_eq!(builtin::probe(&other, b"PROGRAM").unwrap().digest(), two.digest());
}

#[test]
fn a_store_is_for_its_owner_alone() {
    let (_dir, store) = store();
    drop(import(&store, "app", "a"));
    let mode = |path: &Path| {
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions())
            & 0o7777
    };
    assert_eq!(mode(store.root()), 0o700);
}
