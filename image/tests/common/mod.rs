//! What the tests of this crate share: archives made byte by byte, layouts made
//! of them, and a way to write down a whole tree.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]
#![allow(clippy::needless_pass_by_value, reason = "json!() makes a value to give away")]

pub mod archive;
pub mod layout;
pub mod manifest;
pub mod registry;

use std::path::Path;

use bulkhead_image::{ImportError, ImportOptions, NoProgress, Store, UnpackLimits};
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

/// Runs something as an ordinary user: as root, on a thread that has become
/// `nobody`.
pub fn without_privilege(work: impl FnOnce() + Send) {
    use rustix::process::{DumpableBehavior, Gid, Uid};
    if !rustix::process::geteuid().is_root() {
        return work();
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let (user, group) = (Uid::from_raw(65_534), Gid::from_raw(65_534));
            // SAFETY: credentials of this thread only, and it ends after the test.
            rustix::thread::set_thread_groups(&[]).unwrap();
            rustix::thread::set_thread_res_gid(group, group, group).unwrap();
            rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            // The kernel takes a change of user for a setuid program, whose
            // files in /proc are root's; here it is an ordinary user's process.
            rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).unwrap();
            work();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Imports a file that must be refused and checks that nothing is left.
pub fn refuse(file: &Path, limits: UnpackLimits) -> ImportError {
    let (_dir, store) = store();
    let options = ImportOptions { limits, ..ImportOptions::default() };
    let error = store.import(file, &options, &NoProgress).unwrap_err();
    assert_eq!(leftovers(&store), [""; 0], "after {}", chain(&error));
    error
}
