//! Files laid over the image's.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod common;

use std::fs;
use std::os::unix::fs::symlink;

use bulkhead_runtime::{Create, PlacedFile, Runtime, SandboxId};
use oci_spec::runtime::MountBuilder;

use common::{Host, capture, read};

fn placed(path: &str, content: &str) -> PlacedFile {
    PlacedFile { path: path.to_owned(), content: content.as_bytes().to_vec() }
}

#[test]
fn links_are_replaced_and_directories_made() {
    let host = Host::new();
    fs::write(host.layer().join("etc/target"), "the image's\n").unwrap();
    symlink("target", host.layer().join("etc/resolv.conf")).unwrap();
    let long = "x".repeat(100_000);
    let files = [
        placed("/etc/resolv.conf", "ours\n"),
        placed("/etc/marker", "ours too\n"),
        placed("/new/place/file", "deep\n"),
        placed("/long", &long),
    ];
    let mut bundle = host.script(
        "cat /etc/resolv.conf /etc/target /etc/marker /new/place/file; wc -c < /long
         stat -c '%a %u %g %F' /etc/resolv.conf",
    );
    let mut root = bundle.spec.root().clone().unwrap();
    root.set_readonly(Some(true));
    bundle.spec.set_root(Some(root));
    let text = run(&host, &bundle, &files);
    let expected = "ours\nthe image's\nours too\ndeep\n100000\n644 0 0 regular file\n";
    assert_eq!(text, expected);
    assert_eq!(fs::read_to_string(host.layer().join("etc/target")).unwrap(), "the image's\n");
}

#[test]
fn what_is_mounted_stays_as_it_is() {
    let host = Host::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("hosts"), "the host's\n").unwrap();
    // Over a file, over its directory, and over where a link of the image leads.
    fs::write(host.layer().join("etc/hosts"), "").unwrap();
    fs::create_dir(host.layer().join("dir")).unwrap();
    symlink("dir", host.layer().join("link")).unwrap();
    let mut bundle = host.script("cat /etc/hosts /dir/hosts");
    let mut mounts = bundle.spec.mounts().clone().unwrap();
    for (source, destination) in
        [(outside.path().join("hosts"), "/etc/hosts"), (outside.path().to_owned(), "/dir")]
    {
        let mount = MountBuilder::default()
            .typ("bind")
            .source(source)
            .destination(destination)
            .options(vec!["bind".to_owned()]);
        mounts.push(mount.build().unwrap());
    }
    bundle.spec.set_mounts(Some(mounts));
    let files = ["/etc/hosts", "/dir/hosts", "/link/hosts", "/dir/new"];
    let text = run(&host, &bundle, &files.map(|path| placed(path, "ours\n")));
    assert_eq!(text, "the host's\nthe host's\n");
    let left: Vec<_> = fs::read_dir(outside.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing was written on the host");
}

fn run(host: &Host, bundle: &bulkhead_runtime::Bundle, files: &[PlacedFile]) -> String {
    let (output, stdio) = capture();
    let id = SandboxId::random().unwrap();
    let request = Create { files, ..Create::attached(&id, bundle, stdio) };
    let mut sandbox = host.runtime.create(request).unwrap();
    sandbox.start(None).unwrap();
    let text = read(output);
    sandbox.wait(None).unwrap().unwrap();
    sandbox.delete().unwrap();
    text
}
