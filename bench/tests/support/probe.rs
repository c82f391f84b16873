//! The probe, built for real.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Named, as cargo's directories depend on whether it is.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The probe, built once in a target directory of its own.
fn probe() -> &'static Path {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    PROBE.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("probe");
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/probe/Cargo.toml");
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--offline", "--features", "probe", "--bin", "probe"])
            .args(["--profile", "payload", "--target", TARGET, "--manifest-path", manifest])
            .arg("--target-dir")
            .arg(&target)
            .status()
            .unwrap();
        assert!(status.success(), "building the probe");
        target.join(TARGET).join("payload/probe")
    })
}

/// A directory with nothing in it but the probe and what it reads.
pub fn layer_with_probe() -> tempfile::TempDir {
    let layer = tempfile::tempdir().unwrap();
    fs::copy(probe(), layer.path().join("probe")).unwrap();
    fs::write(layer.path().join("data"), vec![1; 4 << 20]).unwrap();
    layer
}
