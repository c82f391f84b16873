//! The root filesystem and the mount namespace a peer works in.
//!
//! A peer's `create` runs in a mount namespace made for it, in which the harness
//! has laid the same layers as our own container has: overlayfs over them, with
//! a tmpfs as its writable layer. The container's namespace is a copy of it; both
//! take the mounts with them when they end, however they end.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bulkhead_runtime::Instant;

use super::error::PeerError;
use crate::host;

/// Longest option string of `mount(2)`: a page with its terminator
/// (mount(2), "data").
const MAX_OPTIONS: usize = 4095;

/// Characters that mean something in overlayfs options.
const SPECIAL: [char; 4] = [',', ':', '\\', '"'];

/// Where the empty version 2 hierarchy of a hybrid host is mounted
/// (systemd's choice, followed by everybody).
const UNIFIED: &CStr = c"/sys/fs/cgroup/unified";

/// A mount namespace that all calls of a peer start from: the host's mounts,
/// which it follows, without the version 2 hierarchy of a hybrid host.
///
/// crun refuses hybrid hosts, so nobody is shown that this is one.
#[derive(Debug, Clone)]
pub struct Base {
    namespace: Arc<OwnedFd>,
    /// Whether a hierarchy is hidden.
    pub hides_unified: bool,
}

impl Base {
    /// Makes the namespace.
    pub fn prepare() -> Result<Self, PeerError> {
        let hides_unified = host::is_hybrid();
        // A namespace belongs to a thread; this one ends before anything is measured.
        let namespace = std::thread::spawn(move || enter_new(hides_unified))
            .join()
            .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
            .map_err(PeerError::io("make a mount namespace below", Path::new("/")))?;
        Ok(Self { namespace: Arc::new(namespace), hides_unified })
    }
}

/// Gives the calling thread a mount namespace of its own.
fn enter_new(hide_unified: bool) -> io::Result<OwnedFd> {
    // SAFETY: plain flags and constant strings; changes this thread's namespace only.
    unsafe {
        check(libc::unshare(libc::CLONE_NEWNS))?;
        let flags = libc::MS_REC | libc::MS_SLAVE;
        check(libc::mount(c"none".as_ptr(), c"/".as_ptr(), ptr::null(), flags, ptr::null()))?;
        if hide_unified {
            check(libc::umount2(UNIFIED.as_ptr(), libc::MNT_DETACH))?;
        }
    }
    Ok(File::open("/proc/thread-self/ns/mnt")?.into())
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What a child mounts for itself before it becomes the peer.
#[derive(Debug)]
pub struct Mounts {
    base: Base,
    overlay: Option<Overlay>,
}

/// An overlay of an image's layers, mounted over a directory of the sandbox.
#[derive(Debug)]
struct Overlay {
    target: CString,
    upper: CString,
    work: CString,
    options: CString,
}

impl Mounts {
    /// Only the namespace.
    pub fn none(base: &Base) -> Self {
        Self { base: base.clone(), overlay: None }
    }

    /// An overlay of `layers`, topmost first, over the directory `target`.
    pub fn overlay(base: &Base, layers: &[PathBuf], target: &Path) -> Result<Self, PeerError> {
        for layer in layers {
            fs::metadata(layer).map_err(PeerError::io("find the layer", layer))?;
        }
        let names: Option<Vec<&str>> = layers
            .iter()
            .map(|layer| layer.to_str().filter(|path| !path.contains(SPECIAL)))
            .collect();
        let lower = names.ok_or(PeerError::Layers)?.join(":");
        let path = target.to_str().filter(|path| !path.contains(SPECIAL));
        let base_dir = path.ok_or(PeerError::Layers)?;
        let options =
            format!("lowerdir={lower},upperdir={base_dir}/upper,workdir={base_dir}/work");
        if layers.is_empty() || options.len() > MAX_OPTIONS {
            return Err(PeerError::Layers);
        }
        let c_string = |text: &[u8]| CString::new(text).map_err(|_| PeerError::Layers);
        let overlay = Overlay {
            target: c_string(target.as_os_str().as_bytes())?,
            upper: c_string(target.join("upper").as_os_str().as_bytes())?,
            work: c_string(target.join("work").as_os_str().as_bytes())?,
            options: c_string(options.as_bytes())?,
        };
        Ok(Self { base: base.clone(), overlay: Some(overlay) })
    }

    /// Makes the mounts in a namespace of the caller's own and notes in `done` when.
    /// `None` when something failed, which errno tells.
    ///
    /// # Safety
    ///
    /// Makes raw system calls only, so that a child that shares its parent's memory
    /// may call it, and no one else: it takes the caller to another namespace.
    pub unsafe fn make(&self, done: &AtomicU64) -> Option<()> {
        let ok = |result: libc::c_int| (result == 0).then_some(());
        // SAFETY: every pointer is to a string of `self`, terminated by a zero.
        unsafe {
            ok(libc::setns(self.base.namespace.as_raw_fd(), libc::CLONE_NEWNS))?;
            let Some(overlay) = &self.overlay else { return Some(()) };
            ok(libc::unshare(libc::CLONE_NEWNS))?;
            let target = overlay.target.as_ptr();
            let mount = |kind: &CStr, options: &CStr| {
                let data = options.as_ptr().cast();
                ok(libc::mount(kind.as_ptr(), target, kind.as_ptr(), 0, data))
            };
            // The tmpfs stays below the overlay, out of sight.
            mount(c"tmpfs", c"mode=0755")?;
            ok(libc::mkdir(overlay.upper.as_ptr(), 0o755))?;
            ok(libc::mkdir(overlay.work.as_ptr(), 0o755))?;
            mount(c"overlay", &overlay.options)?;
        }
        done.store(Instant::now().as_nanos(), Ordering::Relaxed);
        Some(())
    }
}
