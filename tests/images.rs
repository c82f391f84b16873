//! The images the tests run: a busybox tree and a Debian made by mmdebstrap.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab::Lab;

/// Debian packages the fixtures are made with, beyond what bulkhead itself asks
/// for.
const PACKAGES: [&str; 9] = [
    "busybox-static",
    "curl",
    "docker-registry",
    "erofs-utils",
    "mmdebstrap",
    "nftables",
    "procps",
    "skopeo",
    "umoci",
];

/// Applets that get a name in the busybox image.
const APPLETS: &str = "sh cat echo ls id env hostname pwd sleep true false kill head dd \
    sha256sum wc touch mkdir rm mount ps stat grep seq yes tr ip mknod chmod chown printf \
    readlink test ulimit find sort cut dmesg ping nc timeout ln mv mkfifo rmdir sync tail";

/// Files of the Debian image that only make reading all of it longer.
const LEFT_OUT: [&str; 5] = [
    "/usr/lib/x86_64-linux-gnu/gconv/*",
    "/usr/share/doc/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
    "/usr/share/zoneinfo/*",
];

pub const BUSYBOX: &str = "busybox-test";
pub const DEBIAN: &str = "debian-test";

/// Installs what the fixtures need; a no-op where it is there.
pub fn install_packages() {
    let installed = |package: &&str| {
        let query = Command::new("dpkg").args(["-s", package]).output();
        query.is_ok_and(|output| output.status.success())
    };
    let missing: Vec<&str> = PACKAGES.into_iter().filter(|p| !installed(p)).collect();
    if missing.is_empty() {
        return;
    }
    eprintln!("installing {}", missing.join(" "));
    for arguments in
        [vec!["update"], [vec!["install", "-y", "--no-install-recommends"], missing].concat()]
    {
        let mut apt = Command::new("apt-get");
        apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdout(io::stderr());
        let status = apt.status().expect("apt-get: the tests run on Debian");
        assert!(status.success(), "apt-get failed");
    }
}

/// Imports both images.
pub fn import_all(lab: &Lab) {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images");
    fs::create_dir_all(&dir).expect("a writable target directory");
    import(lab, &busybox(&dir), BUSYBOX, &["--cmd", "/bin/sh"]);
    import(lab, &debian(&dir), DEBIAN, &["--cmd", "/bin/bash"]);
}

fn import(lab: &Lab, archive: &Path, name: &str, options: &[&str]) {
    let mut command = lab.command(["image", "import", "--name", name]);
    let status = command.args(options).arg(archive).status().expect("bulkhead starts");
    assert!(status.success(), "{} could not be imported", archive.display());
}

/// A root filesystem tar with busybox and two users.
fn busybox(dir: &Path) -> PathBuf {
    let path = dir.join("busybox.tar");
    let mut tar = tar::Builder::new(File::create(&path).expect("a new archive"));
    for directory in ["bin", "etc", "root", "home/user", "usr/bin"] {
        add(&mut tar, directory, tar::EntryType::Directory, 0o755, b"");
    }
    add(&mut tar, "tmp", tar::EntryType::Directory, 0o1777, b"");
    let users = b"root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n";
    add(&mut tar, "etc/passwd", tar::EntryType::Regular, 0o644, users);
    let groups = b"root:x:0:\nuser:x:1000:\nextra:x:2000:user\n";
    add(&mut tar, "etc/group", tar::EntryType::Regular, 0o644, groups);
    let program = fs::read("/bin/busybox").expect("busybox-static is installed");
    add(&mut tar, "bin/busybox", tar::EntryType::Regular, 0o755, &program);
    add(&mut tar, "bin/not-executable", tar::EntryType::Regular, 0o644, b"text\n");
    for applet in APPLETS.split_whitespace() {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        let name = format!("bin/{applet}");
        tar.append_link(&mut header, name, "busybox").expect("a link in the archive");
    }
    tar.finish().expect("a finished archive");
    path
}

/// Appends one entry owned by root.
pub fn add<W: io::Write>(
    tar: &mut tar::Builder<W>,
    path: &str,
    kind: tar::EntryType,
    mode: u32,
    content: &[u8],
) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, path, content).expect("an entry in the archive");
}

fn debian(dir: &Path) -> PathBuf {
    mmdebstrap(dir, "debian-essential", &["--variant=essential"])
}

/// A Debian with an interpreter and a server, as a root filesystem tar.
pub fn with_python_and_redis() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images");
    let options = ["--variant=minbase", "--include=python3,redis-server"];
    mmdebstrap(&dir, "debian-counter", &options)
}

/// A minimal Debian, made once by mmdebstrap from the host's own sources.
fn mmdebstrap(dir: &Path, name: &str, options: &[&str]) -> PathBuf {
    let path = dir.join(name).with_extension("tar");
    if path.exists() {
        return path;
    }
    eprintln!("making a Debian root filesystem with mmdebstrap");
    let fresh = path.with_extension("new");
    let release = fs::read_to_string("/etc/os-release").expect("os-release");
    let suite = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .expect("a Debian release");
    let status = Command::new("mmdebstrap")
        .args(["--format=tar", "--quiet"])
        .args(options)
        .args(LEFT_OUT.map(|paths| format!("--dpkgopt=path-exclude={paths}")))
        .arg(suite)
        .arg(&fresh)
        .args(debian_sources(suite))
        .status()
        .expect("mmdebstrap is installed");
    assert!(status.success(), "mmdebstrap failed");
    fs::rename(&fresh, &path).expect("renamed in place");
    path
}

/// The host's apt sources that serve `suite`.
fn debian_sources(suite: &str) -> Vec<PathBuf> {
    let mut files = crate::lab::entries(Path::new("/etc/apt/sources.list.d"));
    files.push("/etc/apt/sources.list".into());
    files.retain(|file| {
        let known = file.extension().is_some_and(|end| end == "sources" || end == "list");
        known && fs::read_to_string(file).is_ok_and(|text| text.contains(suite))
    });
    files
}
