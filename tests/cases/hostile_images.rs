//! Images made to do harm are refused with a clear message, and nothing of them
//! stays in the store.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use tar::{EntryType, Header};

use crate::images::add;
use crate::lab::{Lab, Wall, entries};

/// Writes an archive and expects its import to fail saying `reason`.
#[track_caller]
fn refused(lab: &Lab, name: &str, content: &[u8], options: &[&str], reason: &str) {
    let path = scratch(name);
    fs::write(&path, content).expect("a new archive");
    let stored =
        |lab: &Lab| ["blobs/sha256", "layers", "tmp"].map(|dir| entries(&lab.store.join(dir)));
    let before = stored(lab);
    let source = path.to_str().expect("utf-8");
    let import =
        lab.verb(&[&["image", "import", "--name", "hostile"], options, &[source]].concat());
    import.expect_error(1, reason);
    assert_eq!(stored(lab), before, "the store has changed");
    assert!(!lab.verb(&["image", "ls"]).text().contains("hostile"));
}

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// An archive of one entry whose name is written as it is, unchecked.
fn one_entry(name: &str, kind: EntryType, target: Option<&str>) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    add(&mut tar, "etc", EntryType::Directory, 0o755, b"");
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(0);
    let raw = &mut header.as_old_mut().name;
    raw[..name.len()].copy_from_slice(name.as_bytes());
    if let Some(target) = target {
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
    }
    header.set_cksum();
    tar.append(&header, &b""[..]).expect("an entry");
    tar.into_inner().expect("an archive")
}

pub fn paths_that_leave_the_root_are_refused(lab: &Lab, _: Wall) {
    let up = one_entry("etc/../../evil", EntryType::Regular, None);
    refused(lab, "up.tar", &up, &[], "..");
    let link = one_entry("etc/evil", EntryType::Link, Some("../../etc/passwd"));
    refused(lab, "hard.tar", &link, &[], "etc/evil");

    let mut tar = tar::Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Symlink);
    header.set_size(0);
    tar.append_link(&mut header, "out", scratch("")).expect("an entry");
    add(&mut tar, "out/evil", EntryType::Regular, 0o644, b"evil");
    let through = tar.into_inner().expect("an archive");
    refused(lab, "through.tar", &through, &[], "out");
    assert!(!scratch("evil").exists(), "a file was written through the link");
}

pub fn a_whiteout_of_the_root_is_refused(lab: &Lab, _: Wall) {
    for name in [".wh.", ".wh..", ".wh...", "etc/.wh..."] {
        let archive = one_entry(name, EntryType::Regular, None);
        refused(lab, "whiteout.tar", &archive, &[], "whiteout");
    }
}

pub fn damaged_archives_are_refused(lab: &Lab, _: Wall) {
    refused(lab, "garbage.tar", &[0x5a; 4096], &[], "archive");
    refused(lab, "empty.tar", b"", &[], "");
    let content = (0..200_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes());
    let mut tar = tar::Builder::new(Vec::new());
    add(&mut tar, "file", EntryType::Regular, 0o644, &content.collect::<Vec<u8>>());
    let whole = tar.into_inner().expect("an archive");
    refused(lab, "short.tar", &whole[..whole.len() / 2], &[], "");
    for (program, name) in [("gzip", "short.tar.gz"), ("zstd", "short.tar.zst")] {
        let Some(packed) = compress(program, &whole) else { continue };
        refused(lab, name, &packed[..packed.len() / 2], &[], "");
    }
}

/// Through the host's own compressor, so that another implementation than ours
/// made the archive. gzip is on every Debian; zstd may not be.
fn compress(program: &str, content: &[u8]) -> Option<Vec<u8>> {
    let path = scratch("to-compress");
    fs::write(&path, content).expect("a new file");
    let output = std::process::Command::new(program).arg("-c").arg(&path).output().ok()?;
    output.status.success().then_some(output.stdout)
}

pub fn wrong_digests_are_refused(lab: &Lab, _: Wall) {
    let layout = scratch("layout");
    let _ = fs::remove_dir_all(&layout);
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("a new directory");
    let write = |path: PathBuf, text: &str| {
        File::create(path).and_then(|mut f| f.write_all(text.as_bytes())).expect("written");
    };
    write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#);
    let digest = "0123456789abcdef".repeat(4);
    let manifest = r#"{"schemaVersion":2}"#;
    write(blobs.join(&digest), manifest);
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{digest}","size":{}}}]}}"#,
        manifest.len()
    );
    write(layout.join("index.json"), &index);
    let source = layout.to_str().expect("utf-8");
    lab.verb(&["image", "import", "--name", "hostile", source]).expect_error(1, "digest");
}

pub fn a_decompression_bomb_is_refused(lab: &Lab, _: Wall) {
    let mut tar = tar::Builder::new(Vec::new());
    add(&mut tar, "zeros", EntryType::Regular, 0o644, &vec![0; 64 << 20]);
    let bomb = compress("gzip", &tar.into_inner().expect("an archive")).expect("gzip");
    refused(lab, "bomb.tar.gz", &bomb, &["--max-size", "16m"], "limit");
}
