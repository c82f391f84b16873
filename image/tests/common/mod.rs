//! What the tests of this crate share: archives made byte by byte, layouts made
//! of them, and a way to write down a whole tree.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]
#![allow(clippy::needless_pass_by_value, reason = "json!() makes a value to give away")]

pub mod archive;
pub mod layout;
pub mod manifest;

use std::path::Path;

use bulkhead_image::Store;
use tempfile::TempDir;

/// A store in a directory of its own.
pub fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store"));
    (dir, store)
}

/// Files anywhere in a store, besides its lock: what an operation left behind.
pub fn leftovers(store: &Store) -> Vec<String> {
    let mut found = Vec::new();
    collect(store.root(), &mut found);
    found.retain(|path| !path.ends_with("/lock"));
    found
}

fn collect(dir: &Path, found: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() && entry.file_name() != "layers" {
            collect(&entry.path(), found);
        } else if entry.file_type().unwrap().is_dir() {
            let layers = std::fs::read_dir(entry.path()).unwrap();
            found.extend(layers.map(|layer| layer.unwrap().path().display().to_string()));
        } else {
            found.push(entry.path().display().to_string());
        }
    }
    // Half-made things are directories.
    if dir.ends_with("tmp") {
        let tmp = std::fs::read_dir(dir).unwrap();
        found.extend(tmp.map(|entry| entry.unwrap().path().display().to_string()));
    }
}

/// The chain of an error's messages, as a user gets to see it.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
