//! Dockerfiles as people write them, and what they come to. None of these runs a
//! command: those that do are in the end-to-end tests, behind both walls.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;
mod dockerfiles;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use bulkhead_image::build::{BuildError, BuildOptions, Built, Cause, Event, Host, Ran, Run};
use bulkhead_image::{Image, ImportOptions, NoProgress, Store};
use bulkhead_runtime::Rootfs;
use common::archive::{Archive, Attributes, mode};
use common::{chain, store};
use dockerfiles::{CORPUS, Case};
use tempfile::TempDir;

/// Builds without commands; remembers what it was told.
struct Quiet<'a> {
    store: &'a Store,
    cached: RefCell<Vec<usize>>,
}

impl Host for Quiet<'_> {
    fn image(&self, name: &str) -> Result<Image, Cause> {
        Ok(self.store.resolve(name)?)
    }

    fn run(&self, _: &Run<'_>) -> Result<Ran, Cause> {
        Err("no commands here".into())
    }

    fn is_interrupted(&self) -> bool {
        false
    }

    fn say(&self, event: Event<'_>) {
        if let Event::Cached { number } = event {
            self.cached.borrow_mut().push(number);
        }
    }
}

/// A store with a base image that has links where Debian has them.
fn based() -> (TempDir, Store) {
    let (dir, store) = store();
    let passwd = "root:x:0:0::/root:/bin/sh\napp:x:100:101::/home/app:/bin/sh\n";
    let base = Archive::new()
        .dir("usr")
        .dir("usr/lib")
        .symlink("lib", "usr/lib")
        .dir("etc")
        .file("etc/passwd", passwd.as_bytes())
        .file("etc/group", b"root:x:0:\napp:x:101:\nweb:x:200:\n")
        .entry(tar::EntryType::Directory, "opt/", "", mode(0o700), b"")
        .file("opt/old", b"old")
        .finish();
    let path = dir.path().join("base.tar");
    fs::write(&path, base).unwrap();
    let mut options =
        ImportOptions { name: Some("base".parse().unwrap()), ..ImportOptions::default() };
    options.config.env = vec!["PATH=/bin".to_owned(), "FROM_BASE=yes".to_owned()];
    options.config.cmd = vec!["base".to_owned()];
    store.import(&path, &options, &NoProgress).unwrap();
    (dir, store)
}

fn write_context(dir: &Path, files: &[(&str, &str)]) {
    for (path, content) in files {
        let path = dir.join(path.trim_end_matches('*').trim_end_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if let Some(target) = content.strip_prefix("-> ") {
            std::os::unix::fs::symlink(target, &path).unwrap();
            continue;
        }
        fs::write(&path, content).unwrap();
        let executable = content.starts_with("#!");
        let mode = fs::Permissions::from_mode(if executable { 0o755 } else { 0o644 });
        fs::set_permissions(&path, mode).unwrap();
    }
}

fn options(context: &Path, case: &Case) -> BuildOptions {
    let pairs = case.args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    BuildOptions {
        context: context.to_owned(),
        args: pairs.collect(),
        target: (!case.target.is_empty()).then(|| case.target.to_owned()),
        epoch: Some(1_500_000_000),
        ..BuildOptions::default()
    }
}

fn build(store: &Store, options: &BuildOptions) -> (Result<Built, BuildError>, Vec<usize>) {
    let host = Quiet { store, cached: RefCell::default() };
    let built = store.build(options, &host);
    (built, host.cached.take())
}

/// A tree as lines: `path mode uid:gid content`, of what is in the layers of an image.
fn tree(image: &Image) -> BTreeMap<String, String> {
    let Rootfs::Layers(layers) = image.layers() else { panic!("no layers") };
    let mut found = BTreeMap::new();
    for layer in layers.iter().rev() {
        walk(layer, "", &mut found);
    }
    found
}

fn walk(dir: &Path, below: &str, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{below}/{}", entry.file_name().to_string_lossy());
        let metadata = fs::symlink_metadata(entry.path()).unwrap();
        let kind = metadata.file_type();
        assert!(!kind.is_char_device(), "nothing is deleted here");
        let content = if kind.is_symlink() {
            format!("-> {}", fs::read_link(entry.path()).unwrap().display())
        } else if kind.is_dir() {
            walk(&entry.path(), &name, found);
            "/".to_owned()
        } else {
            fs::read_to_string(entry.path()).unwrap()
        };
        let mode = metadata.mode() & 0o7777;
        let (uid, gid) = (metadata.uid(), metadata.gid());
        found.insert(name, format!("{mode:o} {uid}:{gid} {content}"));
    }
}

/// Checks one line of what is expected.
fn expect(case: &Case, image: &Image, wanted: &str) {
    let config = serde_json::to_value(image.config()).unwrap();
    let (key, value) = wanted.split_once(' ').unwrap_or((wanted, ""));
    let tree = tree(image);
    let (path, rest) = value.split_once(' ').unwrap_or((value, ""));
    let file = || {
        let line =
            tree.get(path).unwrap_or_else(|| panic!("{}: no {path} in {tree:#?}", case.name));
        let mut parts = line.splitn(3, ' ');
        [parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap()].map(str::to_owned)
    };
    let json = || serde_json::from_str::<serde_json::Value>(rest).unwrap();
    match key {
        "file" => assert_eq!(file()[2], rest.replace("\\n", "\n"), "{}: {wanted}", case.name),
        "mode" => assert_eq!(file()[0], rest, "{}: {wanted}", case.name),
        "owner" => assert_eq!(file()[1], rest, "{}: {wanted}", case.name),
        "absent" => assert!(!tree.contains_key(path), "{}: {wanted}", case.name),
        "config" => assert_eq!(config["config"][path], json(), "{}: {wanted}", case.name),
        "layers" => {
            assert_eq!(image.layer_blobs().len().to_string(), value, "{}: {wanted}", case.name);
        }
        "history" => {
            let count = image.history().len().to_string();
            assert_eq!(count, value, "{}: {wanted} {:?}", case.name, image.history());
        }
        other => panic!("{}: what is `{other}`?", case.name),
    }
}

#[test]
fn dockerfiles_come_to_what_they_should() {
    assert!(CORPUS.len() >= 25, "{}", CORPUS.len());
    let (_dir, store) = based();
    for case in CORPUS {
        let context = tempfile::tempdir().unwrap();
        write_context(context.path(), case.files);
        fs::write(context.path().join("Dockerfile"), case.dockerfile).unwrap();
        let options = options(context.path(), case);
        let (built, _) = build(&store, &options);
        if let Some(problem) =
            case.expected.first().and_then(|line| line.strip_prefix("error "))
        {
            let said = chain(&built.unwrap_err());
            assert!(said.contains(problem), "{}: {said}", case.name);
            continue;
        }
        let image = built.unwrap_or_else(|e| panic!("{}: {}", case.name, chain(&e))).image;
        for wanted in case.expected {
            expect(case, &image, wanted);
        }
        // The same again is the same, from the cache and without it.
        for no_cache in [false, true] {
            let (again, cached) = build(&store, &BuildOptions { no_cache, ..options.clone() });
            assert_eq!(again.unwrap().image.digest(), image.digest(), "{}", case.name);
            assert!(!no_cache || cached.is_empty(), "{}", case.name);
        }
    }
    assert_eq!(fs::read_dir(store.root().join("builds")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 0);
}

#[test]
fn only_what_changes_is_built_again() {
    let (_dir, store) = based();
    let context = tempfile::tempdir().unwrap();
    write_context(
        context.path(),
        &[("a", "1"), ("b", "1"), ("ignored", "1"), (".dockerignore", "ignored")],
    );
    let dockerfile = "FROM base\nCOPY a /a\nENV X=1\nCOPY b /b\n";
    fs::write(context.path().join("Dockerfile"), dockerfile).unwrap();
    let options =
        BuildOptions { context: context.path().to_owned(), ..BuildOptions::default() };
    let (first, cached) = build(&store, &options);
    assert_eq!(cached, [0; 0]);
    let first = first.unwrap().image.digest();

    // Neither what is left out nor the time of a file counts.
    fs::write(context.path().join("ignored"), "2").unwrap();
    fs::write(context.path().join("a"), "1").unwrap();
    let (again, cached) = build(&store, &options);
    assert_eq!((again.unwrap().image.digest(), cached), (first, vec![2, 4]));

    fs::write(context.path().join("b"), "2").unwrap();
    assert_eq!(build(&store, &options).1, [2]);
    // A mode is content.
    fs::set_permissions(context.path().join("a"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(build(&store, &options).1, [0; 0]);

    // Without the cache nothing is left to find, and the images stay.
    let (last, _) = build(&store, &options);
    let last = last.unwrap().image;
    assert!(store.forget_builds().unwrap().unwrap() > 0);
    store.tag(&last, &"kept".parse().unwrap()).unwrap();
    drop(last);
    store.collect_garbage().unwrap();
    assert_eq!(build(&store, &options).1, [0; 0]);
    assert!(tree(&store.resolve("kept").unwrap()).contains_key("/b"));
}

#[test]
fn the_cache_outlives_the_images_until_it_is_forgotten() {
    let (_dir, store) = based();
    let context = tempfile::tempdir().unwrap();
    write_context(context.path(), &[("a", "1"), ("Dockerfile", "FROM base\nCOPY a /a\n")]);
    let options =
        BuildOptions { context: context.path().to_owned(), ..BuildOptions::default() };
    drop(build(&store, &options).0.unwrap());
    store.collect_garbage().unwrap();
    assert_eq!(build(&store, &options).1, [2]);
    let usage = store.usage().unwrap();
    assert!(usage.cached_steps > 0 && usage.cache_bytes > 0, "{usage:?}");
}

#[test]
fn shared_layers_are_counted_once() {
    let (_dir, store) = based();
    let context = tempfile::tempdir().unwrap();
    write_context(context.path(), &[("a", "1"), ("Dockerfile", "FROM base\nCOPY a /a\n")]);
    let options = BuildOptions {
        context: context.path().to_owned(),
        names: vec!["one".parse().unwrap(), "two".parse().unwrap()],
        ..BuildOptions::default()
    };
    build(&store, &options).0.unwrap();
    let usage = store.usage().unwrap();
    let built = usage.images.iter().find(|image| image.names.len() == 2).unwrap();
    let base = usage.images.iter().find(|image| image.names.len() == 1).unwrap();
    assert_eq!(base.unique_bytes(), 0);
    assert_eq!(built.shared_bytes, base.size_bytes);
    assert_eq!(usage.images_bytes, built.size_bytes);
}

#[test]
fn what_a_killed_build_leaves_is_collected() {
    let (_dir, store) = based();
    let left = store.root().join("builds/killed/run-1/upper/d");
    fs::create_dir_all(&left).unwrap();
    fs::write(store.root().join("builds/killed/.lock"), "").unwrap();
    assert_eq!(store.collect_garbage().unwrap().leftovers, 1);
    assert!(!store.root().join("builds/killed").exists());
}

#[test]
fn archives_are_unpacked_by_add_and_copied_by_copy() {
    let (_dir, store) = based();
    let context = tempfile::tempdir().unwrap();
    let owned = Attributes { uid: 5, gid: 6, ..mode(0o640) };
    let archive = Archive::new()
        .entry(tar::EntryType::Regular, "d/file", "", owned, b"content")
        .symlink("d/link", "/etc/passwd")
        .file("../../escape", b"no further than the target")
        .finish();
    fs::write(context.path().join("a.tar"), &archive).unwrap();
    fs::write(context.path().join("a.tar.gz"), common::archive::gzip(&archive)).unwrap();
    let dockerfile = "FROM scratch\nADD a.tar /x/\nADD a.tar.gz /y\nCOPY a.tar /z/\n";
    fs::write(context.path().join("Dockerfile"), dockerfile).unwrap();
    let options =
        BuildOptions { context: context.path().to_owned(), ..BuildOptions::default() };
    let image = build(&store, &options).0.unwrap().image;
    let Rootfs::Layers(layers) = image.layers() else { panic!("no layers") };
    for (layer, dir) in layers.iter().rev().zip(["x", "y"]) {
        let mut found = BTreeMap::new();
        walk(layer, "", &mut found);
        assert_eq!(found[&format!("/{dir}/d/file")], "640 5:6 content");
        assert_eq!(found[&format!("/{dir}/d/link")], "777 0:0 -> /etc/passwd");
        assert!(found.contains_key(&format!("/{dir}/escape")), "{found:?}");
    }
    assert_eq!(fs::read(layers[0].join("z/a.tar")).unwrap(), archive);
}
