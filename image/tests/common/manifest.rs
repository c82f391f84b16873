//! Writing down a whole tree, and showing layers or a disk as one.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use bulkhead_image::Digest;
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::thread::UnshareFlags;

/// Path to everything that is known of a file.
pub type Manifest = BTreeMap<PathBuf, String>;

/// Writes down a tree: type, mode, owner, size, content, attributes, device
/// number, time, and which names are one file.
pub fn of(root: &Path) -> Manifest {
    let mut manifest = Manifest::new();
    let mut first_names = BTreeMap::new();
    walk(root, root, &mut manifest, &mut first_names);
    manifest
}

fn walk(
    root: &Path,
    path: &Path,
    manifest: &mut Manifest,
    first_names: &mut BTreeMap<u64, PathBuf>,
) {
    let meta = fs::symlink_metadata(path).unwrap();
    let name = path.strip_prefix(root).unwrap().to_owned();
    let kind = meta.file_type();
    let content = if kind.is_file() {
        Digest::of(&fs::read(path).unwrap()).hex()
    } else if kind.is_symlink() {
        fs::read_link(path).unwrap().display().to_string()
    } else if kind.is_char_device() || kind.is_block_device() {
        format!("{:x}", meta.rdev())
    } else {
        String::new()
    };
    // The size of a directory is the filesystem's own affair; so are inode
    // numbers, but not which names share one.
    let size = if kind.is_dir() { 0 } else { meta.len() };
    let (links, first) = if kind.is_dir() {
        (0, name.clone())
    } else {
        (meta.nlink(), first_names.entry(meta.ino()).or_insert_with(|| name.clone()).clone())
    };
    let line = format!(
        "mode {:o} owner {}:{} size {size} links {links} ({}) mtime {}.{:09} xattrs {:?} {content}",
        meta.mode(),
        meta.uid(),
        meta.gid(),
        first.display(),
        meta.mtime(),
        meta.mtime_nsec(),
        xattrs(path),
    );
    manifest.insert(name, line);
    if kind.is_dir() {
        let mut names: Vec<_> =
            fs::read_dir(path).unwrap().map(|e| e.unwrap().path()).collect();
        names.sort();
        for inner in names {
            walk(root, &inner, manifest, first_names);
        }
    }
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut list = vec![0; 65536];
    let len = rustix::fs::llistxattr(path, &mut list[..]).unwrap();
    let names = list[..len].split(|b| *b == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 65536];
            let len =
                rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value[..]).unwrap();
            (String::from_utf8_lossy(name).into_owned(), value[..len].to_owned())
        })
        .collect()
}

/// Runs something on a thread whose mounts nobody else sees, and which are gone
/// when it is.
pub fn with_own_mounts<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: no descriptors are unshared, only mounts and the working
            // directory, which nothing on this thread relies on.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }
                .unwrap();
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            rustix::mount::mount_change("/", private).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

/// What a container sees: the layers, topmost first, under an empty layer that
/// takes its writes.
pub fn of_layers(layers: &[PathBuf]) -> Manifest {
    with_own_mounts(|| {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| {
            let path = dir.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let upper_fs = at("tmpfs");
        rustix::mount::mount("tmpfs", &upper_fs, "tmpfs", MountFlags::empty(), None).unwrap();
        let merged = at("merged");
        let (upper, work) = (at("tmpfs/upper"), at("tmpfs/work"));
        // The root of an overlay is the upper directory's: give it the image's.
        let root = fs::symlink_metadata(&layers[0]).unwrap();
        std::os::unix::fs::chown(&upper, Some(root.uid()), Some(root.gid())).unwrap();
        fs::set_permissions(&upper, root.permissions()).unwrap();
        let lower: Vec<_> = layers.iter().map(|layer| layer.display().to_string()).collect();
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.join(":"),
            upper.display(),
            work.display(),
        );
        let options = std::ffi::CString::new(options).unwrap();
        rustix::mount::mount(
            "overlay",
            &merged,
            "overlay",
            MountFlags::empty(),
            Some(&*options),
        )
        .unwrap();
        let mut manifest = of(&merged);
        // Its time and attributes are the upper directory's as well.
        manifest.remove(Path::new(""));
        rustix::mount::unmount(&merged, rustix::mount::UnmountFlags::DETACH).unwrap();
        rustix::mount::unmount(&upper_fs, rustix::mount::UnmountFlags::DETACH).unwrap();
        manifest
    })
}

/// Everything on an EROFS disk, mounted through a loop device.
pub fn of_disk(disk: &Path) -> Manifest {
    with_own_mounts(|| {
        let dir = tempfile::tempdir().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "erofs", "-o", "ro,loop"])
            .args([disk, dir.path()])
            .output()
            .unwrap();
        assert!(mount.status.success(), "{}", String::from_utf8_lossy(&mount.stderr));
        let manifest = of(dir.path());
        let unmount = Command::new("umount").arg(dir.path()).status().unwrap();
        assert!(unmount.success());
        manifest
    })
}
