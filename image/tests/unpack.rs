//! Layers are unpacked by the rules of image-spec, "Image Layer Filesystem
//! Changeset", as the merged view shows.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bulkhead_image::{Image, ImportOptions, NoProgress, Store};
use bulkhead_runtime::Rootfs;
use common::archive::{Archive, Attributes, mode};
use common::manifest::Manifest;
use common::{layout, manifest, store};

fn import(store: &Store, dir: &Path, layers: &[Vec<u8>]) -> Image {
    let layout = layout::simple(&dir.join("layout"), layers);
    let imported = store.import(layout.path(), &ImportOptions::default(), &NoProgress).unwrap();
    imported.into_iter().next().unwrap().image
}

fn layer_dirs(image: &Image) -> Vec<PathBuf> {
    let Rootfs::Layers(layers) = image.layers() else { panic!("not layers") };
    layers
}

/// The merged view of layers, bottom first.
fn merged(layers: &[Archive]) -> Manifest {
    let (dir, store) = store();
    let layers: Vec<_> = layers.iter().map(|layer| layer.clone().finish()).collect();
    let image = import(&store, dir.path(), &layers);
    manifest::of_layers(&layer_dirs(&image))
}

fn names(manifest: &Manifest) -> Vec<&str> {
    manifest.keys().map(|path| path.to_str().unwrap()).collect()
}

fn base() -> Archive {
    Archive::new().dir("d").file("d/a", b"1").file("d/b", b"2").dir("d/s").file("d/s/c", b"3")
}

#[test]
#[cfg_attr(not(is_root), ignore = "needs root: mounts")]
fn a_whiteout_hides_what_is_below() {
    let seen = merged(&[base(), Archive::new().file("d/.wh.a", b"").file("d/.wh.s", b"")]);
    assert_eq!(names(&seen), ["d", "d/b"]);
}

#[test]
#[cfg_attr(not(is_root), ignore = "needs root: mounts")]
fn a_whiteout_spares_its_own_layer_wherever_it_stands() {
    let before = Archive::new().file("d/.wh.s", b"").dir("d/s").file("d/s/new", b"");
    let after = Archive::new().dir("d/s").file("d/s/new", b"").file("d/.wh.s", b"");
    let implied = Archive::new().file("d/.wh.s", b"").file("d/s/new", b"");
    for layer in [before, after, implied] {
        assert_eq!(names(&merged(&[base(), layer])), ["d", "d/a", "d/b", "d/s", "d/s/new"]);
    }
    let file_before = Archive::new().file("d/.wh.a", b"").file("d/a", b"new");
    let file_after = Archive::new().file("d/a", b"new").file("d/.wh.a", b"");
    for layer in [file_before, file_after] {
        let seen = merged(&[base(), layer]);
        assert!(seen[Path::new("d/a")].contains("size 3 "), "{seen:?}");
    }
}

#[test]
#[cfg_attr(not(is_root), ignore = "needs root: mounts")]
fn a_whiteout_in_the_root_is_like_any_other() {
    let seen = merged(&[base(), Archive::new().file(".wh.d", b"")]);
    assert_eq!(names(&seen), [""; 0]);
    let seen = merged(&[base(), Archive::new().file("d/new", b"").file(".wh.d", b"")]);
    assert_eq!(names(&seen), ["d", "d/new"]);
}

#[test]
#[cfg_attr(not(is_root), ignore = "needs root: mounts")]
fn deleting_what_is_hidden_already_changes_nothing() {
    // A directory that became a file or a link, its content deleted one by one.
    for archive in [Archive::new().file("d", b"file"), Archive::new().symlink("d", "/etc")] {
        let after = archive.clone().file("d/.wh.a", b"").file("d/.wh..wh..opq", b"");
        assert_eq!(names(&merged(&[base(), after])), ["d"]);
    }
    let before = Archive::new().file("d/.wh.a", b"").file("d", b"file");
    assert_eq!(names(&merged(&[base(), before])), ["d"]);
    // One that was deleted itself stays so, in any order.
    for marks in [["d/.wh.a", ".wh.d"], [".wh.d", "d/.wh.a"], [".wh.d", "d/.wh..wh..opq"]] {
        let layer = marks.iter().fold(Archive::new(), |layer, mark| layer.file(mark, b""));
        assert_eq!(names(&merged(&[base(), layer])), [""; 0], "{marks:?}");
    }
}

#[test]
#[cfg_attr(not(is_root), ignore = "needs root: mounts")]
fn an_opaque_directory_hides_what_is_below_wherever_its_mark_stands() {
    let first = Archive::new().file("d/.wh..wh..opq", b"").file("d/x", b"");
    let last = Archive::new().dir("d").file("d/x", b"").file("d/.wh..wh..opq", b"");
    for layer in [first, last] {
        assert_eq!(names(&merged(&[base(), layer])), ["d", "d/x"]);
    }
}

#[test]
#[cfg_attr(not(is_root), ignore = "needs root: mounts")]
fn an_opaque_root_hides_everything_below() {
    let opaque = Archive::new().file(".wh..wh..opq", b"").file("only", b"");
    let top = Archive::new().file("top", b"");
    assert_eq!(names(&merged(&[base(), opaque, top])), ["only", "top"]);
}

#[test]
fn whiteouts_in_the_bottom_layer_leave_no_trace() {
    let (dir, store) = store();
    let layer = base().file("d/.wh.gone", b"").file("d/.wh..wh..opq", b"").finish();
    let image = import(&store, dir.path(), &[layer]);
    let seen = manifest::of(&layer_dirs(&image)[0]);
    assert_eq!(names(&seen), ["", "d", "d/a", "d/b", "d/s", "d/s/c"]);
    assert!(seen[Path::new("d")].contains("xattrs {}"));
}

#[test]
fn a_directory_without_an_entry_is_as_it_is_below() {
    let (dir, store) = store();
    let special = Attributes { mode: 0o1757, mtime: 77, ..Attributes::default() };
    let bottom = Archive::new()
        .dir_with("./", mode(0o711))
        .xattr("user.note", b"kept")
        .dir_with("d", special)
        .dir("opaque")
        .dir_with("opaque/d", special);
    let top = Archive::new()
        .file("d/x", b"")
        .file("new/deep/x", b"")
        .file("opaque/.wh..wh..opq", b"")
        .file("opaque/d/x", b"");
    let image = import(&store, dir.path(), &[bottom.finish(), top.finish()]);
    let seen = manifest::of(&layer_dirs(&image)[0]);
    assert!(seen[Path::new("")].starts_with("mode 40711 "), "{seen:?}");
    assert!(seen[Path::new("d")].starts_with("mode 41757 "), "{seen:?}");
    assert!(seen[Path::new("d")].contains("mtime 77.0"), "{seen:?}");
    assert!(seen[Path::new("d")].contains("user.note"), "{seen:?}");
    for implied in ["new", "new/deep", "opaque/d"] {
        assert!(seen[Path::new(implied)].starts_with("mode 40755 "), "{implied}: {seen:?}");
        assert!(seen[Path::new(implied)].contains("mtime 0.0"), "{implied}: {seen:?}");
    }
}

#[test]
fn a_later_entry_takes_the_place_of_an_earlier_one() {
    let (dir, store) = store();
    let layer = Archive::new()
        .dir("dir-to-file")
        .dir("dir-to-file/inner")
        .file("dir-to-file/inner/x", b"")
        .file("dir-to-file", b"file")
        .file("file-to-dir", b"")
        .dir("file-to-dir")
        .file("file-to-dir/x", b"")
        .symlink("link-to-file", "/etc/passwd")
        .file("link-to-file", b"mine")
        .file("twice", b"first")
        .hard_link("other-name", "twice")
        .file("twice", b"second!")
        .dir("kept")
        .file("kept/x", b"")
        .dir_with("kept", mode(0o700))
        .finish();
    let image = import(&store, dir.path(), &[layer]);
    let root = &layer_dirs(&image)[0];
    assert_eq!(fs::read(root.join("dir-to-file")).unwrap(), b"file");
    assert!(root.join("file-to-dir/x").is_file());
    assert!(!root.join("link-to-file").is_symlink());
    assert_eq!(fs::read(root.join("twice")).unwrap(), b"second!");
    assert_eq!(fs::read(root.join("other-name")).unwrap(), b"first");
    assert!(root.join("kept/x").is_file());
    assert_eq!(fs::metadata(root.join("kept")).unwrap().permissions().mode() & 0o7777, 0o700);
}

#[test]
fn overlayfs_bookkeeping_and_aufs_leftovers_are_dropped() {
    let (dir, store) = store();
    let layer = Archive::new()
        .xattr("trusted.overlay.redirect", b"/etc")
        .xattr("user.overlay.metacopy", b"")
        .xattr("user.kept", b"yes")
        .file("a", b"")
        .dir(".wh..wh.plnk")
        .file(".wh..wh.plnk/1.2", b"")
        .file(".wh..wh.aufs", b"")
        .finish();
    let image = import(&store, dir.path(), &[layer]);
    let seen = manifest::of(&layer_dirs(&image)[0]);
    assert_eq!(names(&seen), ["", "a"]);
    assert!(seen[Path::new("a")].contains(r#"xattrs {"user.kept": "#), "{seen:?}");
}

#[test]
fn empty_numbers_are_zero() {
    let (dir, store) = store();
    // As some writers leave owner and time; the checksum is of what is there.
    let mut header = tar::Header::new_ustar();
    header.set_path("x").unwrap();
    header.set_mode(0o600);
    header.set_size(0);
    header.set_cksum();
    let layer = [&header.as_bytes()[..], &[0; 1024]].concat();
    let image = import(&store, dir.path(), &[layer]);
    let meta = fs::metadata(layer_dirs(&image)[0].join("x")).unwrap();
    assert_eq!((meta.mtime(), meta.mode() & 0o7777), (0, 0o600));
}

#[test]
#[cfg_attr(not(is_root), ignore = "needs root: mounts, owners")]
fn the_same_layer_on_another_base_is_unpacked_again() {
    // Where it implies a directory, the result depends on what is below.
    let (dir, store) = store();
    let on = |mode_below: u32| Archive::new().dir_with("d", mode(mode_below)).finish();
    let top = Archive::new().file("d/x", b"").finish();
    let one = import(&store, &dir.path().join("1"), &[on(0o700), top.clone()]);
    let two = import(&store, &dir.path().join("2"), &[on(0o777), top]);
    let mode_of = |image: &Image| {
        fs::metadata(layer_dirs(image)[0].join("d")).unwrap().permissions().mode() & 0o7777
    };
    assert_eq!((mode_of(&one), mode_of(&two)), (0o700, 0o777));
}

#[test]
fn without_privilege_files_belong_to_the_user() {
    common::without_privilege(|| {
        let (dir, store) = store();
        let owned = Attributes { mode: 0o4755, uid: 12, gid: 34, mtime: 9 };
        let bottom = Archive::new()
            .dir_with("closed", mode(0o555))
            .file_with("closed/setuid", owned, b"x")
            .xattr("trusted.note", b"left out")
            .xattr("user.note", b"kept")
            .file("noted", b"")
            .file("gone", b"");
        let top = Archive::new().file(".wh.gone", b"").file("closed/.wh..wh..opq", b"");
        let image = import(&store, dir.path(), &[bottom.finish(), top.finish()]);
        let [top, bottom] = &layer_dirs(&image)[..] else { panic!("not two layers") };
        let me = rustix::process::geteuid().as_raw();
        let setuid = fs::metadata(bottom.join("closed/setuid")).unwrap();
        assert_eq!((setuid.uid(), setuid.mode() & 0o7777), (me, 0o4755));
        let seen = manifest::of(bottom);
        assert!(seen[Path::new("noted")].contains(r#"xattrs {"user.note": "#), "{seen:?}");
        assert!(fs::symlink_metadata(top.join("gone")).unwrap().file_type().is_char_device());
        let seen = manifest::of(top);
        assert!(seen[Path::new("closed")].contains("user.overlay.opaque"), "{seen:?}");

        // And all of it can be removed again.
        store.remove("layout").unwrap();
        drop(image);
        store.collect_garbage().unwrap();
        assert_eq!(common::leftovers(&store), [""; 0]);
    });
}
