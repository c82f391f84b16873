//! The disk holds exactly what overlayfs shows of the same layers.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use bulkhead_image::{DiskError, DiskLayout, Image, ImportOptions, NoProgress, Store};
use bulkhead_runtime::Rootfs;
use common::archive::{Archive, Attributes, mode};
use common::{layout, manifest, store};
use tar::EntryType;

/// `VFS_CAP_REVISION_2` with CAP_NET_RAW permitted (linux/capability.h); one
/// byte of it is a newline, at which naive PAX parsers stumble.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Three layers with one of everything.
fn layers() -> Vec<Vec<u8>> {
    let big: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_le_bytes).collect();
    let owner = Attributes { mode: 0o4750, uid: 1234, gid: 70_000, mtime: 86_400 };
    let bottom = Archive::new()
        .dir_with("./", mode(0o751))
        .dir_with("etc", mode(0o750))
        .file("etc/hidden", b"hidden by a whiteout")
        .file("etc/kept", b"kept")
        .dir("opaque")
        .file("opaque/below", b"hidden by an opaque directory")
        .dir("replaced")
        .file("replaced/inside", b"gone")
        .dir_with("merged", Attributes { mode: 0o1777, uid: 5, gid: 6, mtime: 7 })
        .file("merged/below", b"below")
        .file("big", &big)
        .file("holes", &vec![0; 2_000_000])
        .finish();
    let middle = Archive::new()
        .file_with("etc/setuid", owner, b"#!/bin/sh\n")
        .file("etc/.wh.hidden", b"")
        .file("opaque/above", b"above")
        .file("opaque/.wh..wh..opq", b"")
        .file("replaced", b"now a file")
        .pax("mtime", b"1700000000.123456789")
        .xattr("user.note", b"a\nb\0c")
        .xattr("security.capability", &CAPABILITY)
        .xattr("trusted.own", b"yes")
        .file("merged/above", b"above")
        .finish();
    let top = Archive::new()
        .file("data", b"one file")
        .hard_link("etc/data-again", "data")
        .hard_link("data-once-more", "./data")
        .symlink("absolute", "/etc/kept")
        .symlink("relative", "../../outside")
        .device(EntryType::Char, "null", 1, 3)
        .device(EntryType::Block, "disk", 259, 70_000)
        .entry(EntryType::Fifo, "fifo", "", mode(0o620), &[])
        .file(&format!("deep/{}/{}", "d".repeat(200), "f".repeat(254)), b"long names")
        .dir_with("empty", mode(0o2770))
        .finish();
    vec![bottom, middle, top]
}

fn import(store: &Store, dir: &Path, layers: &[Vec<u8>]) -> bulkhead_image::Image {
    let layout = layout::simple(&dir.join("layout"), layers);
    let imported = store.import(layout.path(), &ImportOptions::default(), &NoProgress).unwrap();
    imported.into_iter().next().unwrap().image
}

fn layer_dirs(rootfs: Rootfs) -> Vec<PathBuf> {
    let Rootfs::Layers(layers) = rootfs else { panic!("not layers") };
    layers
}

/// Compares, naming only the lines that differ.
fn assert_same(left: &manifest::Manifest, right: &manifest::Manifest) {
    for name in left.keys().chain(right.keys()) {
        assert_eq!(left.get(name), right.get(name), "{}", name.display());
    }
}

fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

#[test]
#[cfg_attr(not(is_root), ignore = "needs root: mounts, devices, owners")]
fn disk_and_layers_show_the_same_tree() {
    let (dir, store) = store();
    let image = import(&store, dir.path(), &layers());
    for layout in [DiskLayout::Compact, DiskLayout::Mappable] {
        shows_the_tree_of_the_layers(&store, &image, layout);
    }
}

fn shows_the_tree_of_the_layers(store: &Store, image: &Image, layout: DiskLayout) {
    let before = mounts();
    let made = store.disk(image, b"init program", layout);
    let Rootfs::Disk(disk) = made.unwrap() else { panic!() };
    assert_eq!(mounts(), before, "a mount was left");
    assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 0);

    let seen = manifest::of_layers(&layer_dirs(image.layers()));
    for gone in ["etc/hidden", "opaque/below", "replaced/inside"] {
        assert!(!seen.contains_key(Path::new(gone)), "{gone} is there");
    }
    let whole = manifest::of_disk(&disk);
    let mut tree: manifest::Manifest = whole
        .iter()
        .filter_map(|(path, line)| Some((path.strip_prefix("rootfs").ok()?.to_owned(), line)))
        // Where a name appears in a line, it is that of the first hard link.
        .map(|(path, line)| (path, line.replace("(rootfs/", "(")))
        .collect();
    let root = tree.remove(Path::new("")).unwrap();
    assert!(root.contains("mode 40751 owner 0:0"), "{root}");
    assert_same(&tree, &seen);

    assert!(whole[Path::new("init")].starts_with("mode 100755 owner 0:0 size 12 "));
    for name in ["dev", "proc", "run"] {
        assert!(whole[Path::new(name)].starts_with("mode 40755 owner 0:0"), "{name}");
    }
    let others = whole.keys().filter(|path| !path.starts_with("rootfs")).count();
    assert_eq!(others, 5, "the disk has more at its top than it should");
}

#[test]
#[cfg_attr(not(is_root), ignore = "needs root: mounts, devices, owners")]
fn a_single_layer_is_shown_as_it_is() {
    let (dir, store) = store();
    let image = import(&store, dir.path(), &layers()[..1]);
    let Rootfs::Disk(disk) = store.disk(&image, b"init", DiskLayout::Compact).unwrap() else {
        panic!()
    };
    let expected = manifest::of(&layer_dirs(image.layers())[0]);
    let tree = manifest::of_disk(&disk)
        .into_iter()
        .filter_map(|(path, line)| {
            let line = line.replace("(rootfs/", "(").replace("(rootfs)", "()");
            Some((path.strip_prefix("rootfs").ok()?.to_owned(), line))
        })
        .collect();
    assert_same(&tree, &expected);
}

#[test]
#[cfg_attr(not(is_root), ignore = "needs root: mounts, devices, owners")]
fn a_disk_is_made_once_for_each_init() {
    let (dir, store) = store();
    let image = import(&store, dir.path(), &layers()[..1]);
    let made_as = |init: &[u8], layout| {
        let Rootfs::Disk(disk) = store.disk(&image, init, layout).unwrap() else { panic!() };
        let time = fs::metadata(&disk).unwrap().modified().unwrap();
        (disk, time)
    };
    let made = |init| made_as(init, DiskLayout::Compact);
    assert_eq!(made(b"one"), made(b"one"));
    assert_ne!(made(b"one").0, made_as(b"one", DiskLayout::Mappable).0);
    assert_ne!(made(b"one").0, made(b"two").0);
}

#[test]
#[cfg_attr(not(user_namespaces), ignore = "needs user namespaces for ordinary users")]
fn without_privilege_the_users_files_are_roots_on_the_disk() {
    let mut made = None;
    common::without_privilege(|| {
        let (dir, store) = store();
        let bottom = Archive::new().file("gone", b"").dir("d").file("d/x", b"x").finish();
        let top = Archive::new().file(".wh.gone", b"").file("d/y", b"y").finish();
        let image = import(&store, dir.path(), &[bottom, top]);
        let Rootfs::Disk(disk) = store.disk(&image, b"init", DiskLayout::Compact).unwrap()
        else {
            panic!()
        };
        // EROFS's magic number (fs/erofs/erofs_fs.h), at its place.
        let bytes = fs::read(&disk).unwrap();
        assert_eq!(bytes[1024..1028], 0xE0F5_E1E2u32.to_le_bytes());
        made = Some((dir, disk));
    });
    let (_dir, disk) = made.unwrap();
    // Only root can mount it, to look further.
    if cfg!(is_root) {
        let tree = manifest::of_disk(&disk);
        assert!(!tree.contains_key(Path::new("rootfs/gone")));
        assert!(tree.contains_key(Path::new("rootfs/d/x")));
        assert!(tree.contains_key(Path::new("rootfs/d/y")));
        for (path, line) in &tree {
            assert!(line.contains("owner 0:0"), "{}: {line}", path.display());
        }
    }
}

#[test]
#[cfg_attr(not(is_root), ignore = "needs root: mounts")]
fn a_name_too_long_for_mkfs_is_said_to_be() {
    let (dir, store) = store();
    let layer = Archive::new().file(&"x".repeat(255), b"").finish();
    let image = import(&store, dir.path(), &[layer]);
    let error = store.disk(&image, b"init", DiskLayout::Compact).unwrap_err();
    assert!(matches!(error, DiskError::LongName { .. }), "{error:?}");
    assert_eq!(fs::read_dir(store.root().join("disks")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 0);
}

#[test]
#[cfg_attr(not(is_root), ignore = "needs root: mounts")]
fn any_number_of_layers_fits() {
    let (dir, store) = store();
    // More than fit into mount options by their paths.
    let layers: Vec<_> =
        (0..120).map(|n| Archive::new().file(&format!("f{n}"), b"").finish()).collect();
    let image = import(&store, dir.path(), &layers);
    let Rootfs::Disk(disk) = store.disk(&image, b"init", DiskLayout::Compact).unwrap() else {
        panic!()
    };
    let files = manifest::of_disk(&disk);
    assert_eq!(files.keys().filter(|path| path.starts_with("rootfs")).count(), 121);
}
