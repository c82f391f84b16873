//! Pulling, also from registries and over connections that fail. A registry that is one
//! is pushed to and pulled from by the end-to-end tests.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use std::fs;
use std::sync::Arc;

use bulkhead_image::registry::{
    Credentials, Pulled, Registry, RegistryError, RegistryOptions, RemoteRef,
};
use bulkhead_image::{
    Digest, ImportError, ImportOptions, NoProgress, Platform, Store, UnpackLimits,
};
use common::archive::{Archive, gzip};
use common::layout::Layout;
use common::registry::{Faults, Registry as Served};
use common::store;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Bytes of a file that no compression makes small.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33).to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// An image of three layers, served under the tag `1`.
struct Remote {
    _dir: TempDir,
    layout: Layout,
    manifest: Digest,
    layers: Vec<Digest>,
    served: Served,
}

fn digest_of(descriptor: &Value) -> Digest {
    descriptor["digest"].as_str().unwrap().parse().unwrap()
}

fn remote() -> Remote {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let layers: Vec<_> = (1..=3)
        .map(|seed| {
            let name = format!("file{seed}");
            let plain = Archive::new().file(&name, &noise(seed, 100_000)).finish();
            (gzip(&plain), plain)
        })
        .collect();
    let image = layout.image(&layers, "linux/amd64", json!({ "Cmd": ["/bin/true"] }));
    let manifest = digest_of(&image);
    let served = Served::serve(dir.path(), &[("1", manifest)]);
    let layers = layers.iter().map(|(blob, _)| Digest::of(blob)).collect();
    Remote { _dir: dir, layout, manifest, layers, served }
}

impl Remote {
    fn name(&self, tag: &str) -> RemoteRef {
        format!("{}/a/b:{tag}", self.served.address).parse().unwrap()
    }

    fn pull(&self, store: &Store, image: &RemoteRef) -> Result<Pulled, ImportError> {
        let options = RegistryOptions::default();
        let silent = Arc::new(NoProgress);
        let registry = Registry::with(image, &Credentials::Anonymous, options, silent)?;
        store.pull(image, &registry, UnpackLimits::default(), &NoProgress)
    }
}

fn contents(store: &Store, name: &str) -> Vec<u64> {
    let image = store.resolve(name).unwrap();
    let bulkhead_runtime::Rootfs::Layers(dirs) = image.layers() else { panic!() };
    let size = |number| {
        dirs.iter().find_map(|dir| fs::metadata(dir.join(format!("file{number}"))).ok())
    };
    (1..=3).map(|number| size(number).map_or(0, |metadata| metadata.len())).collect()
}

#[test]
fn what_is_pulled_is_what_the_layout_holds() {
    let mut remote = remote();
    let (_dir, pulled) = store();
    let name = remote.name("1");
    let first = remote.pull(&pulled, &name).unwrap();
    assert!(first.new);
    assert_eq!(first.image.digest(), remote.manifest);
    assert_eq!(first.image.layer_blobs(), remote.layers);
    assert_eq!(contents(&pulled, &name.to_string()), [100_000; 3]);

    let listed = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": remote.manifest,
        "size": fs::metadata(remote.layout.blob_path(remote.manifest)).unwrap().len(),
    });
    remote.layout.list(listed, Some("1"));
    let (_dir, imported) = store();
    let options = ImportOptions { name: Some("twin".parse().unwrap()), ..Default::default() };
    let twin = imported.import(remote.layout.path(), &options, &NoProgress).unwrap();
    assert_eq!(twin[0].image.digest(), first.image.digest());
}

#[test]
fn what_is_here_is_not_asked_for_again() {
    let remote = remote();
    let (_dir, store) = store();
    remote.pull(&store, &remote.name("1")).unwrap();
    assert_eq!(remote.served.asked().len(), 4, "three layers and a configuration");
    let again = remote.pull(&store, &remote.name("1")).unwrap();
    assert!(!again.new);
    assert_eq!(remote.served.asked(), []);

    // The name is gone, the blobs are there until they are collected.
    store.remove(&remote.name("1").to_string()).unwrap();
    let by_digest = format!("{}/a/b@{}", remote.served.address, remote.manifest);
    let named = remote.pull(&store, &by_digest.parse().unwrap()).unwrap();
    assert!(!named.new);
    assert_eq!(remote.served.asked(), []);
    let tag = &remote.manifest.hex()[..12];
    assert_eq!(store.names_of(remote.manifest).unwrap()[0].tag(), tag);
}

#[test]
fn a_connection_that_breaks_is_gone_on_with() {
    let remote = remote();
    let (_dir, store) = store();
    remote.served.faults(Faults { cut: Some((30_000, 5)), ..Faults::default() });
    remote.pull(&store, &remote.name("1")).unwrap();
    assert_eq!(contents(&store, &remote.name("1").to_string()), [100_000; 3]);
    let asked = remote.served.asked();
    let resumed = asked.iter().filter(|(_, from)| *from > 0).count();
    assert_eq!((asked.len(), resumed), (9, 5), "{asked:?}");
}

#[test]
fn a_registry_without_ranges_is_asked_for_the_whole() {
    let remote = remote();
    let (_dir, store) = store();
    let faults = Faults { cut: Some((30_000, 2)), whole_only: true, ..Faults::default() };
    remote.served.faults(faults);
    remote.pull(&store, &remote.name("1")).unwrap();
    assert_eq!(contents(&store, &remote.name("1").to_string()), [100_000; 3]);
    assert!(remote.served.asked().iter().all(|(_, from)| *from == 0));
}

#[test]
fn the_next_pull_goes_on_where_the_last_one_failed() {
    let remote = remote();
    let (_dir, store) = store();
    // Not a byte comes through.
    remote.served.faults(Faults { cut: Some((0, 1000)), ..Faults::default() });
    let partial = store.root().join("partial").join(remote.layers[0].hex());
    fs::create_dir_all(partial.parent().unwrap()).unwrap();
    let blob = fs::read(remote.layout.blob_path(remote.layers[0])).unwrap();
    fs::write(&partial, &blob[..40_000]).unwrap();
    let error = remote.pull(&store, &remote.name("1")).unwrap_err();
    let broken = matches!(error, ImportError::Registry(RegistryError::BrokenOff { .. }));
    assert!(broken, "{}", common::chain(&error));
    assert!(store.resolve(&remote.name("1").to_string()).is_err());
    assert_eq!(fs::metadata(&partial).unwrap().len(), 40_000, "what was there is kept");

    remote.served.faults(Faults::default());
    remote.served.asked();
    remote.pull(&store, &remote.name("1")).unwrap();
    assert!(remote.served.asked().contains(&(remote.layers[0], 40_000)));
    assert_eq!(fs::read_dir(partial.parent().unwrap()).unwrap().count(), 0);
}

#[test]
fn other_content_than_was_asked_for_is_refused() {
    let remote = remote();
    let (_dir, store) = store();
    remote.served.faults(Faults { changed: true, ..Faults::default() });
    let error = remote.pull(&store, &remote.name("1")).unwrap_err();
    let wrong = matches!(error, ImportError::Registry(RegistryError::WrongDigest { .. }));
    assert!(wrong, "{}", common::chain(&error));
    assert!(store.list().unwrap().is_empty());

    // Nothing of it is gone on with.
    remote.served.faults(Faults::default());
    remote.pull(&store, &remote.name("1")).unwrap();
    assert_eq!(contents(&store, &remote.name("1").to_string()), [100_000; 3]);
}

#[test]
fn a_layer_that_is_too_large_is_not_begun() {
    let remote = remote();
    let (_dir, store) = store();
    let name = remote.name("1");
    let silent = Arc::new(NoProgress);
    let options = RegistryOptions::default();
    let registry = Registry::with(&name, &Credentials::Anonymous, options, silent).unwrap();
    let limits = UnpackLimits { max_bytes: 50_000, ..UnpackLimits::default() };
    let error = store.pull(&name, &registry, limits, &NoProgress).unwrap_err();
    assert!(matches!(error, ImportError::Layer { number: 1, .. }), "{error}");
    assert_eq!(remote.served.asked().len(), 1, "more than the configuration");
}

#[test]
fn of_an_index_the_image_for_this_machine_is_taken() {
    let remote = remote();
    let manifest = fs::metadata(remote.layout.blob_path(remote.manifest)).unwrap().len();
    let foreign = remote.layout.blob("application/vnd.oci.image.manifest.v1+json", b"{}");
    let with = |digest: &Value, size: &Value, architecture: &str| {
        json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest, "size": size,
            "platform": { "os": "linux", "architecture": architecture },
        })
    };
    let index = json!({ "schemaVersion": 2, "manifests": [
        with(&foreign["digest"], &foreign["size"], "arm64"),
        with(&json!(remote.manifest), &json!(manifest), "amd64"),
    ]});
    let index = remote
        .layout
        .blob("application/vnd.oci.image.index.v1+json", index.to_string().as_bytes());
    let served = Served::serve(remote.layout.path(), &[("many", digest_of(&index))]);
    let remote = Remote { served, ..remote };
    let (_dir, pulled) = store();
    let image = remote.pull(&pulled, &remote.name("many")).unwrap().image;
    assert_eq!(image.digest(), remote.manifest);

    let only_foreign = json!({ "schemaVersion": 2, "manifests": [
        with(&foreign["digest"], &foreign["size"], "arm64"),
    ]});
    let index = remote
        .layout
        .blob("application/vnd.oci.image.index.v1+json", only_foreign.to_string().as_bytes());
    let served = Served::serve(remote.layout.path(), &[("arm", digest_of(&index))]);
    let remote = Remote { served, ..remote };
    let error = remote.pull(&pulled, &remote.name("arm")).unwrap_err();
    let ImportError::WrongPlatform { wanted, .. } = error else { panic!("{error}") };
    assert_eq!(wanted, Platform::supported());
}

#[test]
fn who_may_not_and_what_is_not_there_are_said() {
    let remote = remote();
    let (_dir, store) = store();
    let error = remote.pull(&store, &remote.name("2")).unwrap_err();
    let missing = matches!(error, ImportError::Registry(RegistryError::NotFound { .. }));
    assert!(missing, "{}", common::chain(&error));
    remote.served.faults(Faults { refuses: true, ..Faults::default() });
    let error = remote.pull(&store, &remote.name("1")).unwrap_err();
    let refused = matches!(error, ImportError::Registry(RegistryError::Unauthorized { .. }));
    assert!(refused, "{}", common::chain(&error));
    // The port of a listener that is gone.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone: RemoteRef = format!("{nobody}/a:1").parse().unwrap();
    let error = remote.pull(&store, &gone).unwrap_err();
    assert!(matches!(error, ImportError::Registry(RegistryError::Request { .. })), "{error}");
}
