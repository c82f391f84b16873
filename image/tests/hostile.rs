//! Hostile and damaged layers are refused with an error that names the entry,
//! and leave nothing in the store or outside it.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use std::fs;
use std::path::Path;

use bulkhead_image::{
    EntryError, ImportError, ImportOptions, LimitError, NoProgress, PathError, TarError,
    UnpackError, UnpackLimits,
};
use common::archive::{Archive, Attributes, gzip, mode, zstd};
use common::{chain, layout, refuse, store};
use tar::EntryType;

/// A layer on top of a harmless one.
fn refuse_layer(layer: Vec<u8>) -> UnpackError {
    refuse_layer_with(layer, UnpackLimits::default())
}

fn refuse_layer_with(layer: Vec<u8>, limits: UnpackLimits) -> UnpackError {
    let dir = tempfile::tempdir().unwrap();
    let below = Archive::new().dir("d").file("d/x", b"").finish();
    let layout = layout::simple(&dir.path().join("layout"), &[below, layer]);
    match refuse(layout.path(), limits) {
        ImportError::Layer { number: 2, count: 2, source, .. } => source,
        other => panic!("not about the layer: {}", chain(&other)),
    }
}

fn refuse_entry(name: &str, layer: Archive) -> EntryError {
    let error = refuse_layer(layer.finish());
    let text = chain(&error);
    match error {
        UnpackError::Entry { path, source } => {
            assert_eq!(path, name, "{text}");
            source
        }
        _ => panic!("not about the entry: {text}"),
    }
}

#[test]
fn names_that_lead_out_are_refused() {
    for (name, reason) in [
        ("../x", PathError::DotDot),
        ("d/../../x", PathError::DotDot),
        ("/etc/x", PathError::Absolute),
        ("d/..", PathError::DotDot),
    ] {
        let error = refuse_entry(name, Archive::new().file(name, b"x"));
        assert!(matches!(error, EntryError::Path(found) if found == reason), "{name}");
        let error = refuse_entry(name, Archive::new().dir(name));
        assert!(matches!(error, EntryError::Path(_)), "{name}");
    }
}

#[test]
fn nothing_is_written_through_a_symlink() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap();
    for target in [target, "/", "..", "d"] {
        let through = Archive::new().symlink("link", target).file("link/x", b"x");
        let error = refuse_entry("link/x", through);
        assert!(matches!(error, EntryError::ThroughSymlink(_)), "{target}");
        let deeper = Archive::new().symlink("link", target).file("link/a/b/x", b"x");
        let error = refuse_entry("link/a/b/x", deeper);
        assert!(matches!(error, EntryError::ThroughSymlink(_)), "{target}");
    }
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn a_file_in_the_place_of_a_symlink_does_not_follow_it() {
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    fs::write(&victim, "untouched").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let layer = Archive::new()
        .symlink("link", victim.to_str().unwrap())
        .file_with("link", mode(0o777), b"written")
        .finish();
    let layout = layout::simple(&dir.path().join("layout"), &[layer]);
    let (_dir, store) = store();
    store.import(layout.path(), &ImportOptions::default(), &NoProgress).unwrap();
    assert_eq!(fs::read(&victim).unwrap(), b"untouched");
}

#[test]
fn hard_links_out_of_the_image_are_refused() {
    for target in ["../x", "/etc/passwd", "d/../../x"] {
        let error = refuse_entry("link", Archive::new().hard_link("link", target));
        assert!(matches!(error, EntryError::LinkTarget { .. }), "{target}");
    }
    let through = Archive::new().symlink("out", "/etc").hard_link("link", "out/passwd");
    assert!(matches!(refuse_entry("link", through), EntryError::ThroughSymlink(_)));
    for missing in ["nothing", "d", ""] {
        let error = refuse_entry("link", Archive::new().dir("d").hard_link("link", missing));
        assert!(matches!(error, EntryError::LinkTargetMissing(_)), "{missing}");
    }
}

#[test]
fn a_hard_link_to_a_symlink_is_one_to_the_link() {
    let dir = tempfile::tempdir().unwrap();
    let layer = Archive::new().symlink("a", "/etc/passwd").hard_link("b", "a").finish();
    let layout = layout::simple(&dir.path().join("layout"), &[layer]);
    let (_dir, store) = store();
    let imported = store.import(layout.path(), &ImportOptions::default(), &NoProgress).unwrap();
    let bulkhead_runtime::Rootfs::Layers(layers) = imported[0].image.layers() else { panic!() };
    assert_eq!(fs::read_link(layers[0].join("b")).unwrap(), Path::new("/etc/passwd"));
}

#[test]
fn whiteouts_of_the_root_are_refused() {
    for name in [".wh.", "./.wh.", "d/.wh.", ".wh..", "d/.wh..", ".wh..."] {
        let error = refuse_entry(name, Archive::new().file(name, b""));
        assert!(matches!(error, EntryError::WhiteoutOfRoot), "{name}: {error}");
    }
    let inside = Archive::new().file("d/.wh.x/y", b"");
    // A whiteout is a file: nothing can be in it.
    assert!(matches!(refuse_entry("d/.wh.x/y", inside), EntryError::ReservedName));
}

#[test]
fn a_root_that_is_no_directory_is_refused() {
    for layer in [Archive::new().symlink("./", "/"), Archive::new().file(".", b"")] {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout::simple(&dir.path().join("layout"), &[layer.finish()]);
        let error = refuse(layout.path(), UnpackLimits::default());
        assert!(
            chain(&error).contains("root of an image must be a directory"),
            "{}",
            chain(&error)
        );
    }
}

#[test]
fn a_device_that_is_a_whiteout_is_refused() {
    let layer = Archive::new().device(EntryType::Char, "zero", 0, 0);
    assert!(matches!(refuse_entry("zero", layer), EntryError::WhiteoutDevice));
}

#[test]
fn device_nodes_need_privilege() {
    common::without_privilege(|| {
        for kind in [EntryType::Char, EntryType::Block] {
            let error = refuse_entry("dev", Archive::new().device(kind, "dev", 8, 0));
            assert!(matches!(error, EntryError::DeviceUnprivileged), "{error}");
        }
    });
}

#[test]
fn trees_that_could_not_be_removed_are_refused() {
    let deep = |levels: usize| Archive::new().file(&vec!["d"; levels].join("/"), b"");
    let error = refuse_entry(&["d"; 2000].join("/"), deep(2000));
    assert!(matches!(error, EntryError::Path(PathError::TooDeep)), "{error}");
    // The deepest that is allowed can be removed, here by the failing import.
    let error = refuse_layer(deep(512).file("../x", b"").finish());
    assert!(matches!(error, UnpackError::Entry { .. }), "{error}");
}

#[test]
fn owners_and_types_that_do_not_exist_are_refused() {
    let nobody = Attributes { uid: u64::from(u32::MAX), ..Attributes::default() };
    let error = refuse_entry("x", Archive::new().file_with("x", nobody, b""));
    assert!(matches!(error, EntryError::Owner(_)), "{error}");
    let odd = Archive::new().entry(EntryType::new(b'Z'), "x", "", mode(0), b"");
    assert!(matches!(refuse_entry("x", odd), EntryError::Type(b'Z')));
}

#[test]
fn damaged_archives_are_refused() {
    let file = Archive::new().file("x", &[7; 5000]);
    let whole = file.clone().unfinished();
    // In the content, and in the header of what follows.
    for cut in [whole.len() - 600, 512, whole.len() + 100] {
        let mut bytes = file.clone().file("y", b"").unfinished();
        bytes.truncate(cut);
        if cut % 512 == 0 && cut != 512 {
            continue;
        }
        let error = refuse_layer(bytes);
        assert!(matches!(error, UnpackError::Archive(TarError::Truncated)), "{cut}: {error:?}");
    }
    let mut wrong = whole.clone();
    wrong[0] ^= 1;
    assert!(matches!(refuse_layer(wrong), UnpackError::Archive(TarError::Checksum)));
    let mut letters = whole.clone();
    // Two bytes of the owner, whose sum is the same as before: the checksum holds.
    assert_eq!(&letters[113..115], b"00");
    letters[113..115].copy_from_slice(&[b'0' + 9, b'0' - 9]);
    assert!(matches!(
        refuse_layer(letters),
        UnpackError::Archive(TarError::Number { field: "uid", .. })
    ));
    let pax = Archive::new().pax("mtime", b"yesterday").file("x", b"").finish();
    assert!(matches!(refuse_layer(pax), UnpackError::Archive(TarError::Pax)));
    let huge = Archive::new()
        .entry(EntryType::XHeader, "pax", "", mode(0), &vec![b'x'; 2 << 20])
        .finish();
    assert!(matches!(refuse_layer(huge), UnpackError::Archive(TarError::ExtensionTooLong(_))));
    let sparse = Archive::new().pax("GNU.sparse.major", b"1").file("x", b"").finish();
    assert!(matches!(refuse_layer(sparse), UnpackError::Archive(TarError::Sparse(_))));
}

#[test]
fn truncated_compression_is_refused() {
    let noise: Vec<u8> =
        (0..200_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let layer = Archive::new().file("x", &noise).finish();
    for whole in [gzip(&layer), zstd(&layer)] {
        for cut in [whole.len() - 1, whole.len() / 2, 20] {
            let error = refuse_layer(whole[..cut].to_vec());
            assert!(matches!(error, UnpackError::Truncated), "{cut}: {error:?}");
        }
        let mut wrong = whole.clone();
        let middle = wrong.len() - 6;
        wrong[middle] ^= 0xff;
        let error = refuse_layer(wrong);
        assert!(
            matches!(
                error,
                UnpackError::Decode(_) | UnpackError::Truncated | UnpackError::Digest { .. }
            ),
            "{error:?}"
        );
    }
}

#[test]
fn bombs_are_refused() {
    let limits = UnpackLimits {
        max_bytes: 8 << 20,
        max_entries: 100,
        max_ratio: 50,
        ratio_from_bytes: 1 << 20,
    };
    let zeros = Archive::new().file("zeros", &vec![0; 4 << 20]).finish();
    for bomb in [gzip(&zeros), zstd(&zeros)] {
        let error = refuse_layer_with(bomb, limits);
        assert!(matches!(error, UnpackError::Limit(LimitError::Ratio(50))), "{error:?}");
    }
    let large = Archive::new().file("large", &vec![0; 9 << 20]).finish();
    let error = refuse_layer_with(large, limits);
    assert!(matches!(error, UnpackError::Limit(LimitError::Bytes(_))), "{error:?}");
    let many = (0..101).fold(Archive::new(), |archive, n| archive.file(&format!("f{n}"), b""));
    let error = refuse_layer_with(many.finish(), limits);
    assert!(matches!(error, UnpackError::Limit(LimitError::Entries(100))), "{error:?}");
    // The archive around an image is limited as well.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("image.tar");
    let outer =
        Archive::new().file("oci-layout", b"{}").file("index.json", &vec![b' '; 9 << 20]);
    fs::write(&file, outer.finish()).unwrap();
    assert!(matches!(refuse(&file, limits), ImportError::Limit { .. }));
}
