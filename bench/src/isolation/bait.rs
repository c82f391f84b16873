//! What the host sets out for attempts to reach, and watches.
//!
//! A neighbour process and files with a secret that no sandbox is told; places to
//! mount at; a setting that does no harm; a timer that is told when the clock is
//! set. All of it is put back when dropped, whatever the attempts did.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::observe;

/// In the command line of the neighbour; the secret follows it.
pub const MARK: &str = "bulkhead-canary";

/// The setting, under /proc/sys: seconds a process gets to give up a file lease
/// (proc_sys_fs(5)). A second more or less for a moment is noticed by nobody, and
/// unlike many settings it belongs to no namespace.
pub const SETTING: &str = "fs/lease-break-time";

/// What the file holds that attempts try to change.
const UNTOUCHED: &str = "untouched";

/// What attempts try to reach.
#[derive(Debug)]
pub struct Bait {
    /// Names what attempts make: mounts, keys.
    pub token: String,
    /// What only somebody who reached the host can know.
    pub secret: String,
    dir: PathBuf,
    canary: Child,
    clock: OwnedFd,
    setting: Option<String>,
}

impl Bait {
    /// Sets everything out.
    pub fn lay() -> io::Result<Self> {
        let (token, secret) = (random()?, random()?);
        let dir = std::env::temp_dir().join(format!("bulkhead-isolation-{token}"));
        DirBuilder::new().mode(0o700).create(&dir)?;
        let result = Self::fill(token, secret, &dir);
        if result.is_err() {
            // Only files: nothing can be mounted here yet.
            let _ = fs::remove_dir_all(&dir);
        }
        result
    }

    fn fill(token: String, secret: String, dir: &Path) -> io::Result<Self> {
        fs::write(dir.join("secret"), &secret)?;
        fs::write(dir.join("target"), UNTOUCHED)?;
        let clock = watch_clock()?;
        // Waits for input that never comes, and for its end, which comes when the
        // harness ends, however it does.
        let canary = Command::new("/bin/sh")
            .args(["-c", "read -r _", MARK, &secret])
            .stdin(Stdio::piped())
            .spawn()?;
        let setting = fs::read_to_string(setting_path()).ok();
        Ok(Self { token, secret, dir: dir.to_owned(), canary, clock, setting })
    }

    /// A path in the directory set out, as a text.
    pub fn path(&self, name: &str) -> String {
        self.dir.join(name).to_string_lossy().into_owned()
    }

    /// The neighbour's process id.
    pub fn canary(&self) -> i32 {
        i32::try_from(self.canary.id()).unwrap_or(0)
    }

    /// What the attempt on the setting should write.
    pub fn other_setting(&self) -> String {
        let seconds = self.setting.as_deref().and_then(|text| text.trim().parse::<u32>().ok());
        seconds.map_or(46, |seconds| seconds.saturating_add(1)).to_string()
    }

    /// Whether the file that attempts try to change is another one now.
    pub fn target_changed(&self) -> bool {
        fs::read_to_string(self.dir.join("target")).map_or(true, |text| text != UNTOUCHED)
    }

    /// The value of the setting, if it is another one now.
    pub fn changed_setting(&self) -> Option<String> {
        let now = fs::read_to_string(setting_path()).ok()?;
        (Some(&now) != self.setting.as_ref()).then(|| now.trim().to_owned())
    }

    /// Whether the clock was set since this was asked last.
    pub fn clock_was_set(&mut self) -> bool {
        let mut ticks = [0; 8];
        let answer = rustix::io::read(&self.clock, &mut ticks);
        if answer != Err(Errno::CANCELED) {
            return false;
        }
        // Told once; armed again for the next time.
        if let Ok(clock) = watch_clock() {
            self.clock = clock;
        }
        true
    }

    /// Puts back what attempts have changed.
    pub fn restore(&self) {
        // Where it cannot be written it was not changed either.
        if self.changed_setting().is_some()
            && let Some(before) = &self.setting
        {
            let _ = fs::write(setting_path(), before);
        }
        for place in ["mount", "proc"] {
            let place = self.dir.join(place);
            if is_mount_point(&place) {
                let _ = unmount(&place, UnmountFlags::DETACH);
            }
            // Never what is in it: that could be somebody else's filesystem.
            let _ = fs::remove_dir(&place);
        }
        if self.target_changed() {
            let _ = fs::write(self.dir.join("target"), UNTOUCHED);
        }
    }
}

impl Drop for Bait {
    fn drop(&mut self) {
        self.restore();
        // A traced or stopped process dies of it, too.
        let _ = self.canary.kill();
        let _ = self.canary.wait();
        for name in ["secret", "target"] {
            let _ = fs::remove_file(self.dir.join(name));
        }
        for name in ["disk", ""] {
            let _ = fs::remove_dir(self.dir.join(name));
        }
    }
}

fn setting_path() -> PathBuf {
    Path::new("/proc/sys").join(SETTING)
}

fn is_mount_point(path: &Path) -> bool {
    let path = path.to_string_lossy();
    observe::text("/proc/self/mountinfo")
        .lines()
        .any(|line| line.split(' ').nth(4).is_some_and(|point| *point == path))
}

/// A timer far off that is cancelled when the clock is set (timerfd_create(2)).
fn watch_clock() -> io::Result<OwnedFd> {
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let clock = timerfd_create(TimerfdClockId::Realtime, flags)?;
    let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
    let far = Timespec { tv_sec: i64::MAX / 4_000_000_000, tv_nsec: 0 };
    let when = Itimerspec { it_interval: zero, it_value: far };
    let watch = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
    timerfd_settime(&clock, watch, &when)?;
    Ok(clock)
}

/// 16 hexadecimal digits.
fn random() -> io::Result<String> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_is_seen_and_put_back() {
        let mut bait = Bait::lay().unwrap();
        assert!(!bait.target_changed() && !bait.clock_was_set());
        fs::write(bait.path("target"), "changed").unwrap();
        assert!(bait.target_changed());
        bait.restore();
        assert!(!bait.target_changed());
        let line = observe::text(format!("/proc/{}/cmdline", bait.canary()));
        assert!(line.contains(MARK) && line.contains(&bait.secret), "{line:?}");
        let dir = PathBuf::from(bait.path(""));
        drop(bait);
        assert!(!dir.exists());
    }

    #[test]
    fn the_timer_is_far_off() {
        let Timespec { tv_sec, .. } = Timespec { tv_sec: i64::MAX / 4_000_000_000, tv_nsec: 0 };
        // Some decades after 2026, and not so far that the kernel would wrap it.
        assert!(tv_sec > 2_000_000_000, "{tv_sec}");
    }
}
