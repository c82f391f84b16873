//! Kernels that are none, kernels that do not boot, and a disk that is gone.

use std::fs;
use std::path::{Path, PathBuf};

use crate::images::BUSYBOX;
use crate::lab::{Footprint, Lab, Wall, entries};

fn kernel_file(name: &str, content: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, content).expect("a new file");
    path
}

/// The kernel the tests run on.
fn good_kernel(lab: &Lab) -> PathBuf {
    let list = lab.verb(&["kernel", "ls", "--format", "json"]);
    let kernels: serde_json::Value = serde_json::from_slice(&list.stdout).expect("JSON");
    kernels[0]["path"].as_str().expect("a path").into()
}

#[track_caller]
fn refused(lab: &Lab, kernel: &Path, reason: &str) {
    let before = Footprint::now(lab);
    let kernel = kernel.to_str().expect("utf-8");
    let run = lab.run(Wall::MicroVm, &["--kernel", kernel, BUSYBOX, "true"]);
    run.expect_error(125, reason);
    Footprint::settles_to(lab, &before);
}

pub fn a_kernel_that_is_none_is_refused(lab: &Lab, _: Wall) {
    refused(lab, Path::new("/nonexistent/vmlinux"), "/nonexistent/vmlinux");
    refused(lab, &kernel_file("garbage-kernel", &[0x5a; 8192]), "kernel");
    refused(lab, &kernel_file("empty-kernel", b""), "kernel");
    let good = fs::read(good_kernel(lab)).expect("the kernel");
    refused(lab, &kernel_file("short-kernel", &good[..good.len() / 3]), "kernel");
}

pub fn a_kernel_that_does_not_boot_is_reported(lab: &Lab, _: Wall) {
    // The same kernel with its entry code overwritten by `ud2`, which without an
    // interrupt table is a triple fault.
    let mut kernel = fs::read(good_kernel(lab)).expect("the kernel");
    let at = |offset: usize, kernel: &[u8]| {
        u64::from_le_bytes(kernel[offset..offset + 8].try_into().expect("eight bytes"))
    };
    let (entry, first_header) = (at(24, &kernel), at(32, &kernel));
    let header = usize::try_from(first_header).expect("an offset");
    let (offset, physical) = (at(header + 8, &kernel), at(header + 24, &kernel));
    let start = usize::try_from(offset + (entry - physical)).expect("an offset");
    for pair in kernel[start..start + 64].chunks_exact_mut(2) {
        pair.copy_from_slice(&[0x0f, 0x0b]);
    }
    refused(lab, &kernel_file("broken-kernel", &kernel), "guest");
}

pub fn a_missing_disk_is_reported(lab: &Lab, _: Wall) {
    lab.run(Wall::MicroVm, &[BUSYBOX, "true"]).expect_code(0);
    // A disk that was damaged, not merely removed: it is made anew when missing.
    let before = Footprint::now(lab);
    let disks: Vec<_> =
        entries(&lab.store.join("disks")).into_iter().filter(|path| path.is_file()).collect();
    assert!(!disks.is_empty(), "no disk was cached");
    for disk in &disks {
        fs::rename(disk, disk.with_extension("aside")).expect("moved aside");
        fs::write(disk, vec![0; 1 << 20]).expect("a disk of zeros");
    }
    let run = lab.run(Wall::MicroVm, &[BUSYBOX, "true"]);
    for disk in &disks {
        fs::rename(disk.with_extension("aside"), disk).expect("moved back");
    }
    run.expect_error(125, "guest");
    Footprint::settles_to(lab, &before);
}
