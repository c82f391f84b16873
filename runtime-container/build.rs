//! Tells the tests whether they may make containers: `cfg(can_sandbox)` when
//! the build runs as root. Elsewhere they are reported as ignored.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(can_sandbox)");
    println!("cargo::rerun-if-changed=build.rs");
    if is_root() {
        println!("cargo::rustc-cfg=can_sandbox");
    }
}

/// The effective user of the process: the second number of the `Uid` line
/// (`proc_pid_status(5)`).
fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .and_then(|ids| ids.split_whitespace().nth(1));
    effective == Some("0")
}
