//! Tells the tests whether they run as root, so that those which need it are
//! reported as ignored, with their reason, where they cannot run.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(is_root)");
    println!("cargo::rustc-check-cfg=cfg(user_namespaces)");
    println!("cargo::rerun-if-changed=build.rs");
    // The owner of this process, as the kernel shows it; a build script should
    // not need a crate to ask.
    use std::os::unix::fs::MetadataExt;
    if std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
        println!("cargo::rustc-cfg=is_root");
    }
    if user_namespaces() {
        println!("cargo::rustc-cfg=user_namespaces");
    }
}

/// Whether an ordinary user may make a user namespace: the kernel's own limit,
/// Debian's switch and Ubuntu's. A switch that is not there forbids nothing.
fn user_namespaces() -> bool {
    let value = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
        text.trim().parse::<u64>().ok()
    };
    value("user/max_user_namespaces").is_none_or(|most| most > 0)
        && value("kernel/unprivileged_userns_clone") != Some(0)
        && value("kernel/apparmor_restrict_unprivileged_userns").is_none_or(|on| on == 0)
}
