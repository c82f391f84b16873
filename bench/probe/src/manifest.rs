//! What a tree of files looks like from inside, as text that can be compared.
//!
//! One line for each path, nine fields separated by tabs:
//!
//! ```text
//! path  type  mode  uid:gid  links  size  device  content  xattrs
//! /etc/hosts  f  0644  0:0  1  9  -  sha256:…  -
//! /bin  l  0777  0:0  1  7  -  usr/bin  -
//! /dev/null  c  0666  0:0  1  -  1:3  -  -
//! /tmp  d  1777  0:0  -  -  -  -  user.a=0x01,user.b=0x
//! ```
//!
//! A field that does not apply is `-`; so are links and size of a directory,
//! which are up to the file system. Bytes that would break a line are written
//! as `\xNN`. Entries of a directory are sorted by their bytes and follow it.
//! Whatever is mounted over the tree (/proc, /sys, /dev, …) is left out: it is
//! not part of it. A field that could not be read is `!` and the error number.

use std::ffi::{CStr, CString};
use std::fmt::Write;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::sha256::Sha256;
use crate::sys::check;

/// Hands the manifest of the tree at `root` to `emit`, line by line with the
/// newline, and returns how many paths could not be read completely. Paths are
/// relative to `root`, with a slash in front.
pub fn manifest(root: &Path, emit: &mut dyn FnMut(&str)) -> u64 {
    let mut walk = Walk { emit, unread: 0 };
    walk.visit(root, "/");
    walk.unread
}

struct Walk<'a> {
    emit: &'a mut dyn FnMut(&str),
    unread: u64,
}

impl Walk<'_> {
    /// Describes `path`, called `name` in the manifest (already escaped), and
    /// everything below it.
    fn visit(&mut self, path: &Path, name: &str) {
        let is_root = name == "/";
        let status = match status(path) {
            Ok(status) => status,
            Err(error) => return self.give_up(name, &error),
        };
        if is_mount_root(&status) && !is_root {
            return;
        }
        self.describe(path, name, &status);
        if kind(&status) == libc::S_IFDIR {
            self.descend(path, if is_root { "" } else { name });
        }
    }

    fn descend(&mut self, path: &Path, prefix: &str) {
        let entries = fs::read_dir(path)
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect());
        let mut names: Vec<_> = match entries {
            Ok(names) => names,
            Err(error) => return self.give_up(&format!("{prefix}/"), &error),
        };
        names.sort();
        for name in &names {
            self.visit(&path.join(name), &format!("{prefix}/{}", escape(name.as_bytes())));
        }
    }

    fn describe(&mut self, path: &Path, name: &str, status: &libc::statx) {
        let kind = kind(status);
        let is_dir = kind == libc::S_IFDIR;
        let has_size = kind == libc::S_IFREG || kind == libc::S_IFLNK;
        let is_device = kind == libc::S_IFCHR || kind == libc::S_IFBLK;
        let device = format!("{}:{}", status.stx_rdev_major, status.stx_rdev_minor);
        let content = self.field(content(path, kind));
        let xattrs = self.field(xattrs(path));
        let line = format!(
            "{name}\t{}\t{:04o}\t{}:{}\t{}\t{}\t{}\t{content}\t{xattrs}\n",
            letter(kind),
            u32::from(status.stx_mode) & 0o7777,
            status.stx_uid,
            status.stx_gid,
            or_dash(!is_dir, &status.stx_nlink),
            or_dash(has_size, &status.stx_size),
            or_dash(is_device, &device),
        );
        (self.emit)(&line);
    }

    /// The text of a field, or the error in its place.
    fn field(&mut self, text: io::Result<String>) -> String {
        text.unwrap_or_else(|error| {
            self.unread += 1;
            failure(&error)
        })
    }

    fn give_up(&mut self, name: &str, error: &io::Error) {
        self.unread += 1;
        (self.emit)(&format!("{name}\t{}\n", failure(error)));
    }
}

fn failure(error: &io::Error) -> String {
    format!("!{}", error.raw_os_error().unwrap_or(0))
}

fn or_dash(applies: bool, value: &impl ToString) -> String {
    if applies { value.to_string() } else { "-".to_owned() }
}

fn kind(status: &libc::statx) -> u32 {
    u32::from(status.stx_mode) & libc::S_IFMT
}

fn letter(kind: u32) -> char {
    match kind {
        libc::S_IFREG => 'f',
        libc::S_IFDIR => 'd',
        libc::S_IFLNK => 'l',
        libc::S_IFCHR => 'c',
        libc::S_IFBLK => 'b',
        libc::S_IFIFO => 'p',
        libc::S_IFSOCK => 's',
        _ => '?',
    }
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

fn status(path: &Path) -> io::Result<libc::statx> {
    let path = c_path(path)?;
    let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT;
    // SAFETY: the path is terminated; statx is plain data, valid when all zero,
    // and writable.
    unsafe {
        let mut status: libc::statx = std::mem::zeroed();
        let mask = libc::STATX_BASIC_STATS;
        check(libc::statx(libc::AT_FDCWD, path.as_ptr(), flags, mask, &raw mut status))?;
        Ok(status)
    }
}

/// Device numbers do not tell: overlayfs shows files of its layers with device
/// numbers of their own. This attribute (Linux 5.8) does, for files as well.
fn is_mount_root(status: &libc::statx) -> bool {
    status.stx_attributes & u64::from(libc::STATX_ATTR_MOUNT_ROOT.unsigned_abs()) != 0
}

fn content(path: &Path, kind: u32) -> io::Result<String> {
    match kind {
        libc::S_IFREG => digest(path),
        libc::S_IFLNK => Ok(escape(fs::read_link(path)?.as_os_str().as_bytes())),
        _ => Ok("-".to_owned()),
    }
}

fn digest(path: &Path) -> io::Result<String> {
    let mut file = File::options().read(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
    let mut state = Sha256::new();
    // Large reads: in a guest each system call is what costs.
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(format!("sha256:{}", hex(&state.finish())));
        }
        state.update(&buffer[..count]);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// `name=0xVALUE` of each extended attribute, sorted, separated by commas.
fn xattrs(path: &Path) -> io::Result<String> {
    let path = c_path(path)?;
    // SAFETY: the path is terminated; `fill` passes a buffer with its length.
    let list =
        fill(|buffer, size| unsafe { libc::llistxattr(path.as_ptr(), buffer.cast(), size) });
    let list = match list {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Vec::new(),
        other => other?,
    };
    let mut fields = Vec::new();
    for name in list.split_inclusive(|&byte| byte == 0) {
        let name = CStr::from_bytes_with_nul(name)
            .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
        // SAFETY: path and name are terminated; `fill` passes a buffer with its length.
        let value = fill(|buffer, size| unsafe {
            libc::lgetxattr(path.as_ptr(), name.as_ptr(), buffer, size)
        })?;
        fields.push(format!("{}=0x{}", escape(name.to_bytes()), hex(&value)));
    }
    fields.sort();
    Ok(if fields.is_empty() { "-".to_owned() } else { fields.join(",") })
}

/// Calls `read` with a buffer of the size it asks for when called with none.
fn fill(read: impl Fn(*mut libc::c_void, usize) -> isize) -> io::Result<Vec<u8>> {
    let size = check(read(std::ptr::null_mut(), 0))?.unsigned_abs();
    let mut buffer = vec![0; size];
    if size > 0 {
        let filled = check(read(buffer.as_mut_ptr().cast(), size))?.unsigned_abs();
        buffer.truncate(filled);
    }
    Ok(buffer)
}

/// Text without tabs, newlines, backslashes or bytes that are not ASCII.
fn escape(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, &byte| {
        if (byte.is_ascii_graphic() || byte == b' ') && byte != b'\\' {
            text.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn lines(root: &Path) -> (Vec<String>, u64) {
        let mut lines = Vec::new();
        let unread = manifest(root, &mut |line| lines.push(line.to_owned()));
        (lines, unread)
    }

    fn owner() -> String {
        // SAFETY: no arguments.
        unsafe { format!("{}:{}", libc::geteuid(), libc::getegid()) }
    }

    #[test]
    fn describes_files_links_and_directories() {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let file = root.path().join("b\tfile");
        fs::write(&file, "abc").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o4750)).unwrap();
        fs::hard_link(&file, root.path().join("c")).unwrap();
        symlink("b file", root.path().join("a")).unwrap();
        let owner = owner();
        let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let expected = [
            format!("/\td\t0755\t{owner}\t-\t-\t-\t-\t-\n"),
            format!("/a\tl\t0777\t{owner}\t1\t6\t-\tb file\t-\n"),
            format!("/b\\x09file\tf\t4750\t{owner}\t2\t3\t-\t{abc}\t-\n"),
            format!("/c\tf\t4750\t{owner}\t2\t3\t-\t{abc}\t-\n"),
        ];
        assert_eq!(lines(root.path()), (expected.to_vec(), 0));
    }

    #[test]
    fn shows_extended_attributes_where_the_file_system_keeps_them() {
        let root = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = c_path(root.path()).unwrap();
        for (name, value) in [(c"user.b", "x"), (c"user.a", "")] {
            // SAFETY: path and name are terminated, the value has the length given.
            let set = unsafe {
                libc::setxattr(
                    path.as_ptr(),
                    name.as_ptr(),
                    value.as_ptr().cast(),
                    value.len(),
                    0,
                )
            };
            assert_eq!(set, 0, "{}", io::Error::last_os_error());
        }
        let (lines, _) = lines(root.path());
        assert!(lines[0].ends_with("\tuser.a=0x,user.b=0x78\n"), "{lines:?}");
    }

    #[test]
    fn leaves_out_what_is_mounted_over_the_tree() {
        // Every Linux has /proc mounted; the rest of `/` may be large or unreadable,
        // so ask about that one path.
        assert!(is_mount_root(&status(Path::new("/proc")).unwrap()));
        assert!(!is_mount_root(&status(Path::new("/proc/self/fd")).unwrap()));
    }

    #[test]
    fn what_cannot_be_read_is_counted_and_said() {
        let (lines, unread) = lines(Path::new("/nonexistent"));
        assert_eq!((lines, unread), (vec!["/\t!2\n".to_owned()], 1));
    }

    proptest! {
        #[test]
        fn different_names_stay_different_and_on_one_line(a: Vec<u8>, b: Vec<u8>) {
            let (first, second) = (escape(&a), escape(&b));
            prop_assert_eq!(a == b, first == second);
            prop_assert!(!first.contains(['\t', '\n']));
        }
    }
}
