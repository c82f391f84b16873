//! What is written out is read in again as what it was.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;

use bulkhead_image::{Format, Image, ImportOptions, NoProgress, SaveError, Saved, Store};
use common::archive::{Archive, gzip};
use common::layout::Layout;
use common::store;
use serde_json::json;

/// Two images with a layer in common.
fn two(store: &Store) -> Vec<Image> {
    let dir = tempfile::tempdir().unwrap();
    let base = Archive::new().dir("etc").file("etc/hostname", b"x").finish();
    ["one", "example.org/two:2"]
        .into_iter()
        .map(|name| {
            let own = Archive::new().file("name", name.as_bytes()).finish();
            let layers = [(gzip(&base), base.clone()), (own.clone(), own)];
            let mut layout = Layout::new(&dir.path().join(name.replace('/', "-")));
            let image = layout.image(&layers, "linux/amd64", json!({}));
            layout.list(image, None);
            let options =
                ImportOptions { name: Some(name.parse().unwrap()), ..Default::default() };
            let imported = store.import(layout.path(), &options, &NoProgress).unwrap();
            imported.into_iter().next().unwrap().image
        })
        .collect()
}

fn save(store: &Store, images: &[Image]) -> Vec<u8> {
    let names: Vec<_> =
        images.iter().map(|image| store.names_of(image.digest()).unwrap().remove(0)).collect();
    let saved: Vec<_> = std::iter::zip(images, &names)
        .map(|(image, name)| Saved { image, name: Some(name) })
        .collect();
    let mut archive = Vec::new();
    store.save(&saved, &mut archive, &NoProgress).unwrap();
    archive
}

/// Names and digests of all images in a store.
fn listed(store: &Store) -> BTreeSet<(String, String)> {
    let name = |listed: bulkhead_image::Listed| {
        (listed.name.to_string(), listed.image.digest().to_string())
    };
    store.list().unwrap().into_iter().map(name).collect()
}

#[test]
fn what_is_written_out_is_read_in_with_the_same_names_and_digests() {
    let (dir, from) = store();
    let images = two(&from);
    let archive = save(&from, &images);
    assert_eq!(save(&from, &images), archive, "there is a date in it");
    let file = dir.path().join("saved.tar");
    fs::write(&file, archive).unwrap();

    let (_dir, to) = store();
    to.import(&file, &ImportOptions::default(), &NoProgress).unwrap();
    assert_eq!(listed(&to), listed(&from));

    // The same archive as one of docker's: the layers are the same.
    let (_dir, to) = store();
    let options = ImportOptions { format: Some(Format::DockerArchive), ..Default::default() };
    to.import(&file, &options, &NoProgress).unwrap();
    for image in &images {
        let name = from.names_of(image.digest()).unwrap().remove(0);
        let again = to.resolve(&name.to_string()).unwrap();
        assert_eq!(again.config_digest(), image.config_digest());
        assert_eq!(again.layer_blobs(), image.layer_blobs());
    }
}

#[test]
fn a_layer_of_several_images_is_written_once() {
    let (_dir, from) = store();
    let archive = save(&from, &two(&from));
    let mut names = Vec::new();
    let mut reader = tar::Archive::new(&archive[..]);
    for entry in reader.entries().unwrap() {
        let mut entry = entry.unwrap();
        entry.read_to_end(&mut Vec::new()).unwrap();
        names.push(entry.path().unwrap().display().to_string());
    }
    // Two manifests, two configurations, three layers, and three documents.
    assert_eq!(names.len(), 10, "{names:?}");
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 10, "{names:?}");
}

#[test]
fn an_image_whose_blob_is_gone_is_not_written() {
    let (_dir, from) = store();
    let images = two(&from);
    fs::remove_file(from.blob_path(images[0].layer_blobs()[0])).unwrap();
    let saved = [Saved { image: &images[0], name: None }];
    let error = from.save(&saved, &mut Vec::new(), &NoProgress).unwrap_err();
    assert!(matches!(error, SaveError::Blob(_)), "{error}");
}
