//! Files, mounts, settings, the clock, modules and the network.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::{Done, Words, word};
use crate::sys::check;

/// Reads file `PATH` as it is named, through the root directories of all
/// processes, and from as far up as one can climb.
pub fn read_file(words: &Words<'_>) -> io::Result<Done> {
    let path = word(words, 0)?;
    let named = fs::read_to_string(path);
    let failure = match named {
        Ok(text) => return Ok(Done::saying(text)),
        Err(error) => error,
    };
    for way in other_ways(path) {
        if let Ok(text) = fs::read_to_string(way) {
            return Ok(Done::saying(text));
        }
    }
    Err(failure)
}

/// Other names the host's file may go by.
fn other_ways(path: &str) -> impl Iterator<Item = PathBuf> {
    let climbing = PathBuf::from("../".repeat(32)).join(path.trim_start_matches('/'));
    let below = path.trim_start_matches('/').to_owned();
    let roots = fs::read_dir("/proc").into_iter().flatten().flatten();
    let through = roots.map(move |entry| entry.path().join("root").join(&below));
    std::iter::once(climbing).chain(through)
}

/// Replaces the content of file `PATH` by `TEXT`; makes it if it is not there,
/// as a workload would not notice the difference.
pub fn write_file(words: &Words<'_>) -> io::Result<Done> {
    let (path, text) = (Path::new(word(words, 0)?), word(words, 1)?);
    if fs::write(path, text).is_err() {
        path.parent().map(fs::create_dir_all).transpose()?;
        fs::write(path, text)?;
    }
    Ok(Done::saying("the file was written"))
}

/// A mount of ours, taken away when dropped.
struct Mounted(CString);

impl Drop for Mounted {
    fn drop(&mut self) {
        // SAFETY: a terminated path.
        unsafe { libc::umount2(self.0.as_ptr(), libc::MNT_DETACH) };
    }
}

fn mount_at(dir: &str, kind: &str, source: &str) -> io::Result<Mounted> {
    fs::create_dir_all(dir)?;
    let [dir, kind, source] = [dir, kind, source].map(CString::new);
    let (dir, kind, source) = (dir?, kind?, source?);
    let nothing = std::ptr::null();
    // SAFETY: terminated strings and no data.
    let mounted =
        unsafe { libc::mount(source.as_ptr(), dir.as_ptr(), kind.as_ptr(), 0, nothing) };
    check(mounted).map(|_| Mounted(dir))
}

/// Mounts a tmpfs called `NAME` at `DIR`.
pub fn mount(words: &Words<'_>) -> io::Result<Done> {
    let dir = word(words, 0)?;
    let mounted = mount_at(dir, "tmpfs", word(words, 1)?)?;
    Ok(Done::holding(mounted, format!("mounted at {dir}")))
}

/// A setting of the kernel's, set back when dropped.
struct Setting {
    path: PathBuf,
    before: String,
}

impl Setting {
    fn change(path: PathBuf, value: &str) -> io::Result<Self> {
        let before = fs::read_to_string(&path)?;
        write(&path, value)?;
        Ok(Self { path, before })
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        // It could be written a moment ago; the host sets it back in any case.
        let _ = write(&self.path, &self.before);
    }
}

fn write(path: &Path, value: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}

/// Writes `VALUE` to the setting `PATH` under /proc/sys; where that is read-only,
/// through a procfs of its own at `DIR`.
pub fn write_sysctl(words: &Words<'_>) -> io::Result<Done> {
    let (path, value, dir) = (word(words, 0)?, word(words, 1)?, word(words, 2)?);
    let failure = match Setting::change(Path::new("/proc/sys").join(path), value) {
        Ok(setting) => return Ok(Done::holding(setting, "written")),
        Err(error) => error,
    };
    let Ok(own) = mount_at(dir, "proc", "proc") else { return Err(failure) };
    let setting = Setting::change(Path::new(dir).join("sys").join(path), value)?;
    // The setting is dropped first.
    Ok(Done::holding((setting, own), "written through a procfs of its own"))
}

/// Nanoseconds the clock is set forward by, and back again: nobody can tell from
/// the time, but everybody who watches for the clock being set is told
/// (timerfd_create(2), TFD_TIMER_CANCEL_ON_SET).
const STEP_NS: libc::c_long = 1;

/// The clock, set forward; set back when dropped.
struct Forward;

impl Drop for Forward {
    fn drop(&mut self) {
        // A second back and all but the step forward: nanoseconds are not negative.
        // It could be set a moment ago, and a nanosecond is not worth a word.
        let _ = shift_clock(-1, 1_000_000_000 - STEP_NS);
    }
}

/// Sets the clock.
pub fn set_clock(_: &Words<'_>) -> io::Result<Done> {
    shift_clock(0, STEP_NS)?;
    Ok(Done::holding(Forward, format!("set, by {STEP_NS} ns")))
}

fn shift_clock(seconds: libc::time_t, nanoseconds: libc::c_long) -> io::Result<()> {
    // SAFETY: all zero is a valid `timex`.
    let mut change: libc::timex = unsafe { std::mem::zeroed() };
    change.modes = libc::ADJ_SETOFFSET | libc::ADJ_NANO;
    change.time = libc::timeval { tv_sec: seconds, tv_usec: nanoseconds };
    // SAFETY: `change` is valid and stays ours.
    check(unsafe { libc::clock_adjtime(libc::CLOCK_REALTIME, &raw mut change) }).map(drop)
}

/// Offers the kernel a module that is none. Whether the caller may load modules
/// is asked before the module is looked at (kernel/module/main.c): `EPERM` is the
/// wall, `ENOEXEC` is the kernel at work on the file.
pub fn load_module(_: &Words<'_>) -> io::Result<Done> {
    let image = *b"no module";
    let parameters = c"";
    // SAFETY: the image is as long as said, the parameters are terminated.
    let loaded = unsafe {
        libc::syscall(libc::SYS_init_module, image.as_ptr(), image.len(), parameters.as_ptr())
    };
    match check(loaded) {
        Err(error) if error.raw_os_error() != Some(libc::ENOEXEC) => Err(error),
        _ => Ok(Done::saying("the kernel looked at the module")),
    }
}

/// Opens a socket that sees every frame, or else one that makes its own packets.
pub fn raw_socket(_: &Words<'_>) -> io::Result<Done> {
    let every_frame = libc::c_int::from(0x0003_u16.to_be()); // ETH_P_ALL (linux/if_ether.h)
    let frames = raw(libc::AF_PACKET, every_frame);
    let (socket, says) = match frames {
        Ok(socket) => (socket, "a socket that sees every frame"),
        Err(_) => (raw(libc::AF_INET, libc::IPPROTO_ICMP)?, "a socket for packets of its own"),
    };
    Ok(Done::holding(socket, says))
}

fn raw(family: libc::c_int, protocol: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let socket = check(unsafe { libc::socket(family, libc::SOCK_RAW, protocol) })?;
    // SAFETY: a new descriptor nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}
