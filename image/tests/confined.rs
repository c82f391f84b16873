//! Property: whatever an archive says, nothing outside the root is touched.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use bulkhead_image::{NoProgress, Unpack, UnpackLimits};
use common::archive::{Archive, mode};
use common::manifest;
use proptest::prelude::*;
use tar::EntryType;

/// Names made of few components, so that entries meet and replace each other.
/// What is refused outright is rare: it ends the archive.
fn name() -> impl Strategy<Value = String> {
    let component = prop_oneof![
        30 => Just("a"), 30 => Just("b"), 12 => Just("c"), 1 => Just(".."), 2 => Just("."),
        1 => Just(""), 3 => Just(".wh.a"), 2 => Just(".wh..wh..opq"), 1 => Just(".wh..."),
    ];
    prop::collection::vec(component, 1..4).prop_map(|components| components.join("/"))
}

/// What links point to: inside, outside by climbing, outside by name.
fn target(outside: &Path) -> impl Strategy<Value = String> + use<> {
    let outside = outside.display().to_string();
    prop_oneof![
        4 => name(),
        2 => Just(outside.clone()),
        2 => Just(format!("{outside}/file")),
        2 => Just("../outside".to_owned()),
        1 => Just("../outside/file".to_owned()),
        1 => Just("../../outside/dir".to_owned()),
        1 => Just("/".to_owned()),
        1 => Just("..".to_owned()),
    ]
}

fn kind() -> impl Strategy<Value = EntryType> {
    prop_oneof![
        4 => Just(EntryType::Regular),
        3 => Just(EntryType::Directory),
        4 => Just(EntryType::Symlink),
        1 => Just(EntryType::Link),
        1 => Just(EntryType::Fifo),
    ]
}

/// The place of a test: `outside` must stay as it is, `root` may not.
struct Place {
    _dir: tempfile::TempDir,
    outside: PathBuf,
    root: PathBuf,
    below: PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    fs::create_dir_all(outside.join("dir")).unwrap();
    fs::write(outside.join("file"), "untouched").unwrap();
    fs::write(outside.join("a"), "untouched").unwrap();
    let below = dir.path().join("below");
    fs::create_dir_all(below.join("a/b")).unwrap();
    std::os::unix::fs::symlink(&outside, below.join("b")).unwrap();
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    Place { _dir: dir, outside, root, below }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn nothing_outside_the_root_is_touched(
        entries in prop::collection::vec(
            // The real directory is known only later: a mark stands for it.
            (kind(), name(), target(Path::new("/OUTSIDE"))), 1..24),
    ) {
        let place = place();
        let mut archive = Archive::new();
        for (kind, name, target) in &entries {
            let target = target.replace("/OUTSIDE", place.outside.to_str().unwrap());
            prop_assume!(target.len() < 100);
            let content: &[u8] = if *kind == EntryType::Regular { b"written" } else { &[] };
            archive = archive.entry(*kind, name, &target, mode(0o777), content);
        }
        let before = manifest::of(&place.outside);
        let blob = place.root.with_file_name("blob");
        fs::write(&blob, archive.finish()).unwrap();
        let unpack = Unpack {
            target: &place.root,
            below: std::slice::from_ref(&place.below),
            diff_id: None,
            limits: UnpackLimits::default(),
        };
        let _ = unpack.run(fs::File::open(&blob).unwrap(), &NoProgress);
        prop_assert_eq!(manifest::of(&place.outside), before);
        let mut names: Vec<_> = fs::read_dir(place.root.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        prop_assert_eq!(names, ["below", "blob", "outside", "root"]);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let place = place();
        let blob = place.root.with_file_name("blob");
        fs::write(&blob, bytes).unwrap();
        let unpack = Unpack {
            target: &place.root,
            below: &[],
            diff_id: None,
            limits: UnpackLimits::default(),
        };
        let _ = unpack.run(fs::File::open(&blob).unwrap(), &NoProgress);
    }
}
