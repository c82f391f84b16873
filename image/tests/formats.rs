//! Every form an image comes in gives the same image.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bulkhead_image::{
    Digest, Format, ImportError, ImportOptions, Imported, NoProgress, RootfsConfig, Store,
};
use bulkhead_runtime::Rootfs;
use common::archive::{Archive, gzip, zstd};
use common::layout::Layout;
use common::store;
use serde_json::json;
use tempfile::TempDir;

fn layer() -> Vec<u8> {
    Archive::new()
        .dir("./")
        .dir("./etc")
        .file("./etc/passwd", b"root:x:0:0::/root:/bin/sh\nwww:x:33:33::/srv:\n")
        .file("./etc/group", b"root:x:0:\n")
        .finish()
}

fn options() -> ImportOptions {
    ImportOptions::default()
}

fn import(store: &Store, path: &Path) -> Vec<Imported> {
    store.import(path, &options(), &NoProgress).unwrap()
}

fn only(imported: Vec<Imported>) -> Imported {
    let [only]: [Imported; 1] = imported.try_into().unwrap();
    only
}

fn names(imported: &Imported) -> Vec<String> {
    imported.names.iter().map(ToString::to_string).collect()
}

/// Whether the content arrived: the one file that all images here have.
fn assert_unpacked(imported: &Imported) {
    let Rootfs::Layers(layers) = imported.image.layers() else { panic!() };
    let found = layers.iter().any(|layer| layer.join("etc/passwd").is_file());
    assert!(found, "{layers:?}");
    assert_eq!(imported.image.accounts().users[1].name, "www");
}

/// Makes an archive of a directory, in the order of names.
fn archive_of(dir: &Path, prefix: &str) -> Vec<u8> {
    let mut archive = Archive::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(inner) = todo.pop() {
        let mut paths: Vec<_> =
            fs::read_dir(dir.join(&inner)).unwrap().map(|e| e.unwrap().file_name()).collect();
        paths.sort();
        for name in paths {
            let path = inner.join(name);
            let written = format!("{prefix}{}", path.display());
            if dir.join(&path).is_dir() {
                archive = archive.dir(&written);
                todo.push(path);
            } else {
                archive = archive.file(&written, &fs::read(dir.join(&path)).unwrap());
            }
        }
    }
    archive.finish()
}

fn layout_with(dir: &TempDir, compress: fn(&[u8]) -> Vec<u8>) -> Layout {
    let mut layout = Layout::new(&dir.path().join("busybox"));
    let image = layout.image(&[(compress(&layer()), layer())], "linux/amd64", json!({}));
    layout.list(image, Some("1.36"));
    layout
}

#[test]
fn a_layout_is_imported_whatever_its_layers_compression() {
    for compress in [<[u8]>::to_vec, gzip, zstd] {
        let dir = tempfile::tempdir().unwrap();
        let (_dir, store) = store();
        let imported = only(import(&store, layout_with(&dir, compress).path()));
        assert_eq!(names(&imported), ["busybox:1.36"]);
        assert_unpacked(&imported);
        assert_eq!(imported.image.layer_blobs(), [Digest::of(&compress(&layer()))]);
    }
}

#[test]
fn an_archive_of_a_layout_is_imported_as_the_layout_is() {
    let dir = tempfile::tempdir().unwrap();
    let (_dir, store) = store();
    let layout = layout_with(&dir, gzip);
    let expected = only(import(&store, layout.path())).image.digest();
    for (prefix, compress) in
        [("", <[u8]>::to_vec as fn(&[u8]) -> Vec<u8>), ("./", gzip), ("./", zstd)]
    {
        let file = dir.path().join("busybox.tar");
        fs::write(&file, compress(&archive_of(layout.path(), prefix))).unwrap();
        let (_dir, store) = common::store();
        let imported = only(import(&store, &file));
        assert_eq!(imported.image.digest(), expected);
        assert_eq!(names(&imported), ["busybox:1.36"]);
        assert_unpacked(&imported);
    }
}

#[test]
fn of_many_platforms_the_one_of_this_machine_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let mut layout = Layout::new(&dir.path().join("multi"));
    let foreign = [(b"never looked at".to_vec(), Vec::new())];
    let arm = layout.image(&foreign, "linux/arm64", json!({}));
    let mut attestation = layout.image(&foreign, "linux/arm64", json!({}));
    attestation["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
    let ours = layout.image(&[(layer(), layer())], "linux/amd64", json!({}));
    let index = json!({ "schemaVersion": 2, "manifests": [arm, attestation, ours] });
    let index =
        layout.blob("application/vnd.oci.image.index.v1+json", index.to_string().as_bytes());
    layout.list(index, Some("docker.io/library/multi:2"));
    let (_dir, store) = store();
    let imported = only(import(&store, layout.path()));
    assert_eq!(imported.image.digest().to_string(), ours["digest"].as_str().unwrap());
    assert_eq!(names(&imported), ["multi:2"]);
}

#[test]
fn all_images_of_a_layout_are_imported_and_keep_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let mut layout = Layout::new(&dir.path().join("several"));
    let one = layout.image(&[(layer(), layer())], "linux/amd64", json!({ "Cmd": ["1"] }));
    let two = layout.image(&[(layer(), layer())], "linux/amd64", json!({ "Cmd": ["2"] }));
    layout.list(one.clone(), Some("a"));
    layout.list(two, Some("b"));
    layout.list(one, Some("example.org/c:1"));
    let (_dir, store) = store();
    let imported = import(&store, layout.path());
    let all: Vec<_> = imported.iter().map(names).collect();
    assert_eq!(all, [vec!["example.org/c:1", "several:a"], vec!["several:b"]]);
    let named = ImportOptions { name: Some("mine".parse().unwrap()), ..options() };
    let error = store.import(layout.path(), &named, &NoProgress).unwrap_err();
    assert!(matches!(error, ImportError::SeveralImages { count: 2 }), "{error:?}");
}

/// What `docker save` wrote before version 25.
fn docker_archive() -> Vec<u8> {
    let config = json!({
        "architecture": "amd64", "os": "linux", "docker_version": "20.10.5",
        "config": { "Cmd": ["/bin/sh"], "Env": null, "ExposedPorts": null, "Labels": null },
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(&layer()), Digest::of(&layer())] },
    })
    .to_string();
    let config_name = format!("{}.json", Digest::of(config.as_bytes()).hex());
    let (first, second) = ("1".repeat(64), "2".repeat(64));
    let manifest = json!([{
        "Config": config_name,
        "RepoTags": ["busybox:latest", "busybox:1.36"],
        "Layers": [format!("{first}/layer.tar"), format!("{second}/layer.tar")],
    }])
    .to_string();
    Archive::new()
        .dir(&first)
        .file(&format!("{first}/layer.tar"), &layer())
        .file(&format!("{first}/VERSION"), b"1.0")
        .dir(&second)
        // The same layer again is a symlink to the first.
        .symlink(&format!("{second}/layer.tar"), &format!("../{first}/layer.tar"))
        .file(&config_name, config.as_bytes())
        .file("manifest.json", manifest.as_bytes())
        .file("repositories", b"{}")
        .finish()
}

#[test]
fn an_archive_of_docker_is_imported() {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in
        [("saved.tar", docker_archive()), ("saved.tar.gz", gzip(&docker_archive()))]
    {
        let file = dir.path().join(name);
        fs::write(&file, bytes).unwrap();
        let (_dir, store) = store();
        let imported = only(import(&store, &file));
        assert_eq!(names(&imported), ["busybox:1.36", "busybox:latest"]);
        assert_unpacked(&imported);
        let Rootfs::Layers(layers) = imported.image.layers() else { panic!() };
        assert_eq!(layers.len(), 2);
    }
}

#[test]
fn an_archive_of_docker_with_a_wrong_configuration_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("saved.tar");
    let text = docker_archive();
    // Digits of the version in the configuration; its name stays as it was.
    let place = text.windows(7).position(|w| w == b"20.10.5").unwrap();
    let mut wrong = text;
    wrong[place] = b'3';
    fs::write(&file, wrong).unwrap();
    let (_dir, store) = store();
    let error = store.import(&file, &options(), &NoProgress).unwrap_err();
    assert!(matches!(error, ImportError::WrongDigest { .. }), "{error:?}");
    assert_eq!(common::leftovers(&store), [""; 0]);
}

#[test]
fn docker_25_archives_are_both_and_taken_as_layouts() {
    let dir = tempfile::tempdir().unwrap();
    let layout = layout_with(&dir, <[u8]>::to_vec);
    fs::write(layout.path().join("manifest.json"), "[]").unwrap();
    let file = dir.path().join("saved.tar");
    fs::write(&file, archive_of(layout.path(), "")).unwrap();
    let (_dir, store) = store();
    // Only the tag is in the annotation here; the rest is the file's name.
    assert_eq!(names(&only(import(&store, &file))), ["saved:1.36"]);
}

#[test]
fn an_archive_of_a_root_filesystem_is_configured() {
    let dir = tempfile::tempdir().unwrap();
    let config = RootfsConfig {
        entrypoint: vec!["/entry".to_owned()],
        cmd: vec!["-x".to_owned()],
        env: vec!["A=1".to_owned()],
        working_dir: Some("/srv".to_owned()),
        user: Some("www".to_owned()),
        labels: BTreeMap::from([("b".to_owned(), "2".to_owned())]),
        stop_signal: Some("SIGINT".to_owned()),
    };
    let mut digests = Vec::new();
    for (name, bytes) in [
        ("debian.tar", layer()),
        ("debian.tar.gz", gzip(&layer())),
        ("debian.tar.zst", zstd(&layer())),
    ] {
        let file = dir.path().join(name);
        fs::write(&file, bytes).unwrap();
        let (_dir, store) = store();
        let options = ImportOptions { config: config.clone(), ..options() };
        let import = || only(store.import(&file, &options, &NoProgress).unwrap());
        let imported = import();
        assert_eq!(names(&imported), ["debian:latest"]);
        assert_unpacked(&imported);
        let found = imported.image.config().config().clone().unwrap();
        assert_eq!(found.entrypoint().as_deref().unwrap(), ["/entry"]);
        assert_eq!(found.cmd().as_deref().unwrap(), ["-x"]);
        assert_eq!(found.env().as_deref().unwrap(), ["A=1"]);
        assert_eq!(found.working_dir().as_deref(), Some("/srv"));
        assert_eq!(found.user().as_deref(), Some("www"));
        assert_eq!(found.labels().as_ref().unwrap()["b"], "2");
        assert_eq!(found.stop_signal().as_deref(), Some("SIGINT"));
        // The same file makes the same image.
        assert_eq!(import().image.digest(), imported.image.digest());
        digests.push(imported.image.digest());
    }
    digests.dedup();
    assert_eq!(digests.len(), 3, "the blobs differ, so the images do");
}

#[test]
fn a_configuration_is_for_root_filesystems_only() {
    let dir = tempfile::tempdir().unwrap();
    let (_dir, store) = store();
    let config = RootfsConfig { cmd: vec!["x".to_owned()], ..RootfsConfig::default() };
    let options = ImportOptions { config, ..options() };
    let layout = layout_with(&dir, gzip);
    let error = store.import(layout.path(), &options, &NoProgress).unwrap_err();
    assert!(matches!(error, ImportError::HasConfig { .. }), "{error:?}");
}

#[test]
fn a_format_can_be_insisted_on() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("odd.tar");
    // A root filesystem that begins like a layout.
    let odd = Archive::new().dir("blobs").dir("etc").file("etc/passwd", b"").finish();
    fs::write(&file, odd).unwrap();
    let (_dir, store) = store();
    assert!(store.import(&file, &options(), &NoProgress).is_err());
    let insisting = ImportOptions { format: Some(Format::Rootfs), ..options() };
    assert_eq!(store.import(&file, &insisting, &NoProgress).unwrap().len(), 1);
}

#[test]
fn accounts_are_found_through_symlinks_and_layers() {
    let dir = tempfile::tempdir().unwrap();
    let bottom = Archive::new()
        .dir("usr/etc")
        .file("usr/etc/passwd", b"old:x:1:1::/:\n")
        .file("usr/etc/group", b"users:x:100:\n")
        .symlink("etc", "/usr/./etc/../etc");
    let top = Archive::new()
        .file("usr/etc/real", b"new:x:2:2::/home:\n")
        .symlink("usr/etc/passwd", "../../etc/real")
        .file("usr/etc/.wh.group", b"");
    let layout =
        common::layout::simple(&dir.path().join("l"), &[bottom.finish(), top.finish()]);
    let (_dir, store) = store();
    let imported = only(import(&store, layout.path()));
    let accounts = imported.image.accounts();
    assert_eq!(accounts.users.iter().map(|user| &*user.name).collect::<Vec<_>>(), ["new"]);
    assert!(accounts.groups.is_empty());
}

#[test]
fn accounts_that_lead_out_of_the_image_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("passwd");
    fs::write(&secret, "secret:x:9:9::/:\n").unwrap();
    let climb = format!("{}{}", "../".repeat(30), secret.display());
    for target in [secret.to_str().unwrap(), &climb, "passwd", "/proc/self/root/etc/passwd"] {
        if target.len() >= 100 {
            continue;
        }
        let layer = Archive::new().dir("etc").symlink("etc/passwd", target).finish();
        let layout = common::layout::simple(&dir.path().join("l"), &[layer]);
        let (_dir, store) = store();
        assert!(only(import(&store, layout.path())).image.accounts().users.is_empty());
    }
}
