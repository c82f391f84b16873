//! Artifacts come back as they were written, or not at all.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use std::fs;
use std::io::{Read, Seek, Write};
use std::path::Path;

use bulkhead_image::{Artifact, ImportError, NewArtifact, NoProgress, Store};
use common::{leftovers, store};

const KIND: &str = "application/vnd.example.kind";
const CONFIG: &str = "application/vnd.example.config";
const LAYER: &str = "application/vnd.example.layer+zstd";

fn write(path: &Path, content: &[u8]) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file.rewind().unwrap();
    let new = NewArtifact {
        artifact_type: KIND,
        name: "name",
        config: (CONFIG, b"config"),
        layer: (LAYER, &file),
    };
    new.write(path).unwrap();
}

fn read<'s>(store: &'s Store, path: &Path, kind: &str) -> Result<Artifact<'s>, ImportError> {
    store.artifact(path, &[kind], &NoProgress)
}

#[test]
fn a_directory_and_an_archive_come_back_and_leave_nothing() {
    let (dir, store) = store();
    let content = vec![7; 3 << 20];
    for name in ["layout", "layout.tar"] {
        let path = dir.path().join(name);
        write(&path, &content);
        let artifact = read(&store, &path, KIND).unwrap();
        assert_eq!(
            (artifact.artifact_type.as_str(), artifact.name.as_deref()),
            (KIND, Some("name"))
        );
        assert_eq!(artifact.config().unwrap(), b"config");
        let mut back = Vec::new();
        artifact.layer(LAYER).unwrap().read_to_end(&mut back).unwrap();
        assert!(back == content);
        assert!(matches!(artifact.layer(CONFIG), Err(ImportError::Missing(_))));
        drop(artifact);
        assert!(leftovers(&store).is_empty());
    }
    let whole = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(whole, 3, "the store and the two layouts, and no scratch");
}

#[test]
fn other_kinds_are_refused_by_name() {
    let (dir, store) = store();
    let path = dir.path().join("layout");
    write(&path, b"content");
    let other = read(&store, &path, "application/vnd.example.other").unwrap_err();
    assert_eq!(
        other.to_string(),
        format!("it holds `{KIND}`, not `application/vnd.example.other`")
    );
}
