//! Tells the tests whether this machine has a usable KVM, so that those that
//! need it are reported as ignored where it is missing.

use std::fs::File;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(has_kvm)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=/dev/kvm");
    if File::options().read(true).write(true).open("/dev/kvm").is_ok() {
        println!("cargo::rustc-cfg=has_kvm");
    }
}
