//! Tells the tests whether they run as root, so that those which need it are
//! reported as ignored, with their reason, where they cannot run.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(is_root)");
    println!("cargo::rerun-if-changed=build.rs");
    // The owner of this process, as the kernel shows it; a build script should
    // not need a crate to ask.
    use std::os::unix::fs::MetadataExt;
    if std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
        println!("cargo::rustc-cfg=is_root");
    }
}
