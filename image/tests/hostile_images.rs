//! Hostile, damaged and foreign images are refused with an error that says what
//! is wrong with which part, and leave nothing in the store.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use std::fs;

use bulkhead_image::{Digest, ImportError, UnpackError, UnpackLimits};
use common::archive::Archive;
use common::layout::Layout;
use common::{chain, layout, refuse};
use serde_json::json;

#[test]
fn wrong_digests_are_refused() {
    let layer = Archive::new().file("x", b"x").finish();
    let other = Archive::new().file("y", b"y").finish();
    let dir = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let mut layout = Layout::new(&dir.path().join(name));
        let layers = [(layer.clone(), layer.clone())];
        let image = layout.image(&layers, "linux/amd64", json!({}));
        layout.list(image.clone(), None);
        (layout, image)
    };
    // A layer, a configuration, a manifest that is not what its name says.
    let (layout, _) = make("layer");
    fs::write(layout.blob_path(Digest::of(&layer)), &other).unwrap();
    let error = refuse(layout.path(), UnpackLimits::default());
    assert!(matches!(error, ImportError::WrongDigest { ref what, .. } if what == "layer 1"));

    let (layout, image) = make("manifest");
    let manifest = layout.blob_path(image["digest"].as_str().unwrap().parse().unwrap());
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text + " ").unwrap();
    let error = refuse(layout.path(), UnpackLimits::default());
    assert!(
        matches!(error, ImportError::WrongDigest { ref what, .. } if what == "the manifest")
    );

    // A layer that decompresses to something else than the configuration says.
    let mut layout = Layout::new(&dir.path().join("diff"));
    let image = layout.image(&[(layer, other)], "linux/amd64", json!({}));
    layout.list(image, None);
    let error = refuse(layout.path(), UnpackLimits::default());
    assert!(matches!(
        error,
        ImportError::Layer { source: UnpackError::Digest { .. }, number: 1, .. }
    ));
}

#[test]
fn incomplete_and_foreign_images_are_refused() {
    let layer = Archive::new().file("x", b"x").finish();
    let layers = [(layer.clone(), layer.clone())];
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| Layout::new(&dir.path().join(name));

    let mut missing = at("missing");
    let image = missing.image(&layers, "linux/amd64", json!({}));
    missing.list(image, None);
    fs::remove_file(missing.blob_path(Digest::of(&layer))).unwrap();
    let error = refuse(missing.path(), UnpackLimits::default());
    assert!(matches!(error, ImportError::Missing(ref what) if what.starts_with("layer 1")));

    let mut foreign = at("foreign");
    for platform in ["linux/arm64", "windows/amd64"] {
        let image = foreign.image(&layers, platform, json!({}));
        foreign.list(image, None);
    }
    let error = refuse(foreign.path(), UnpackLimits::default());
    assert_eq!(
        error.to_string(),
        "the image is for linux/arm64, windows/amd64, not for linux/amd64"
    );

    let mut empty = at("empty");
    let image = empty.image(&[], "linux/amd64", json!({}));
    empty.list(image, None);
    assert!(matches!(refuse(empty.path(), UnpackLimits::default()), ImportError::NoLayers));

    let mut short = at("size");
    let mut image = short.image(&layers, "linux/amd64", json!({}));
    image["size"] = json!(1);
    short.list(image, None);
    assert!(matches!(
        refuse(short.path(), UnpackLimits::default()),
        ImportError::WrongSize { expected: 1, .. }
    ));

    let mut artifact = at("artifact");
    let blob = artifact.blob("application/wasm", b"\0asm");
    artifact.list(blob, None);
    assert!(matches!(
        refuse(artifact.path(), UnpackLimits::default()),
        ImportError::MediaType { .. }
    ));
}

#[test]
fn indexes_that_never_end_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut layout = Layout::new(&dir.path().join("layout"));
    let index = |inner| json!({ "schemaVersion": 2, "manifests": [inner] }).to_string();
    let media_type = "application/vnd.oci.image.index.v1+json";
    let mut descriptor = layout.blob(media_type, b"{}");
    for _ in 0..10 {
        descriptor = layout.blob(media_type, index(descriptor).as_bytes());
    }
    layout.list(descriptor, None);
    let error = refuse(layout.path(), UnpackLimits::default());
    assert!(matches!(error, ImportError::NestedTooDeep(_)), "{error:?}");
}

#[test]
fn files_that_are_no_images_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let limits = UnpackLimits::default();
    let plain = refuse(dir.path(), limits);
    assert!(matches!(plain, ImportError::PlainDirectory { .. }), "{plain:?}");
    let empty = refuse(&write("empty.tar", b""), limits);
    assert!(matches!(empty, ImportError::NotAnImage { .. }), "{empty:?}");
    let text = refuse(&write("text.tar", &[b'x'; 2000]), limits);
    assert!(matches!(text, ImportError::Archive { .. }), "{text:?}");
    let xz = refuse(&write("rootfs.tar.xz", b"\xfd7zXZ\0\0\0"), limits);
    assert!(chain(&xz).contains("`xz -d`"), "{}", chain(&xz));
    let missing = refuse(&dir.path().join("missing.tar"), limits);
    assert!(matches!(missing, ImportError::File(_)), "{missing:?}");
}

#[test]
fn a_layout_cannot_make_us_read_other_files() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    let layer = Archive::new().file("x", b"x").finish();
    fs::write(&secret, &layer).unwrap();
    let layout = layout::simple(&dir.path().join("layout"), std::slice::from_ref(&layer));
    let blob = layout.blob_path(Digest::of(&layer));
    fs::remove_file(&blob).unwrap();
    std::os::unix::fs::symlink(&secret, &blob).unwrap();
    // Even though its content would be right.
    let error = refuse(layout.path(), UnpackLimits::default());
    assert!(matches!(error, ImportError::File(_)), "{error:?}");
}
