//! Interactive terminals: a person's, on whose other side this test sits.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::termios::{Termios, tcgetattr};

use crate::images::BUSYBOX;
use crate::lab::{Footprint, Lab, Wall, wait_until};

/// How long an answer may take where a kernel is emulated and others build.
const PATIENCE: Duration = Duration::from_secs(180);

/// A command at a terminal of its own.
struct Person {
    keyboard: File,
    screen: OwnedFd,
    before: Termios,
    seen: String,
    child: Child,
}

fn winsize(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Person {
    fn at(mut command: Command) -> Self {
        let OpenptyResult { master, slave } =
            openpty(Some(&winsize(100, 30)), None).expect("a terminal");
        let before = tcgetattr(&slave).expect("its settings");
        let stream = || slave.try_clone().expect("a descriptor");
        command.stdin(stream()).stdout(stream()).stderr(stream());
        // SAFETY: both calls may be made between fork and exec.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                if libc::ioctl(0, libc::TIOCSCTTY, 0) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().expect("bulkhead starts");
        Self { keyboard: master.into(), screen: slave, before, seen: String::new(), child }
    }

    fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("typed");
    }

    /// Reads until `text` is seen, and forgets what came until then.
    fn sees(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            let mut fds = libc::pollfd {
                fd: self.keyboard.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one pollfd.
            let ready = unsafe { libc::poll(&raw mut fds, 1, 1000) };
            assert!(Instant::now() < deadline, "no `{text}` in: {}", self.seen);
            if ready > 0 {
                let mut bytes = [0; 4096];
                let count = self.keyboard.read(&mut bytes).expect("the terminal is there");
                self.seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        }
    }

    fn resizes(&self, columns: u16, rows: u16) {
        let size = winsize(columns, rows);
        // SAFETY: TIOCSWINSZ reads a winsize.
        let done = unsafe {
            libc::ioctl(self.keyboard.as_raw_fd(), libc::TIOCSWINSZ, &raw const size)
        };
        assert_eq!(done, 0);
    }

    /// Waits for the end; the terminal must be as it was before.
    fn ends_with(mut self, code: i32) {
        assert_eq!(wait_until(&mut self.child, PATIENCE).code(), Some(code), "{}", self.seen);
        let after = tcgetattr(&self.screen).expect("its settings");
        assert_eq!(after, self.before, "the terminal was not put back");
    }
}

pub fn a_shell_at_a_terminal_is_one(lab: &Lab, wall: Wall) {
    let before = Footprint::now(lab);
    let arguments = ["-it", "--name", "shell", BUSYBOX, "sh"];
    let mut person = Person::at(lab.run_command(wall, &arguments));
    person.sees("# ");
    person.types("echo $TERM $((6*7)); tty; test -c /dev/console && echo con''sole\n");
    person.sees("xterm 42");
    person.sees("/dev/pts/0");
    person.sees("console");
    person.types("stty size\n");
    person.sees("30 100");

    // The size goes with ours.
    person.resizes(120, 40);
    person.types("while ! stty size | grep '^40 120$'; do sleep 0.2; done\n");
    person.sees("\n40 120");

    // Ctrl-C is for what runs in the foreground inside.
    let waits = r#"sh -c 'trap "exit 0" INT; echo wai""ting; while true; do sleep 1; done'"#;
    person.types(&format!("{waits}\n"));
    person.sees("waiting");
    person.types("\x03");
    person.types("echo ba''ck\n");
    person.sees("back");

    // Somebody else comes in, at a terminal of the same sandbox.
    let script = "tty; stty size; read line; echo got $line; exit 5";
    let mut other = Person::at(lab.command(["exec", "-it", "shell", "sh", "-c", script]));
    other.sees("/dev/pts/1");
    other.sees("30 100");
    other.types("a line\n");
    other.sees("got a line");
    other.ends_with(5);

    person.types("exit 3\n");
    person.ends_with(3);
    Footprint::settles_to(lab, &before);
}

pub fn a_terminal_below_an_init_and_for_another_user(lab: &Lab, wall: Wall) {
    let script =
        "tty; echo $(id -u) >/dev/tty; echo to $(readlink /proc/self/fd/2); read x; exit 6";
    let arguments = ["-it", "--init", "-u", "7", BUSYBOX, "sh", "-c", script];
    let mut person = Person::at(lab.run_command(wall, &arguments));
    person.sees("/dev/pts/0");
    person.sees("7");
    person.sees("to /dev/pts/0");
    person.types("\n");
    person.ends_with(6);
}

pub fn what_is_typed_needs_a_terminal(lab: &Lab, wall: Wall) {
    let refused = lab.run(wall, &["-i", "-t", BUSYBOX, "true"]);
    refused.expect_error(125, "the input device is not a TTY");
}

pub fn what_is_shown_needs_none(lab: &Lab, wall: Wall) {
    // As docker: without --interactive nobody types, so there need not be a terminal.
    let script = "tty; stty size; yes | head -20000; echo end";
    let shown = lab.run(wall, &["-t", BUSYBOX, "sh", "-c", script]);
    let text = shown.expect_code(0).text();
    assert!(text.starts_with("/dev/pts/0\r\n24 80\r\ny\r\n"), "{}", &text[..40]);
    assert!(text.ends_with("\r\nend\r\n"));
    assert_eq!(text.matches("y\r\n").count(), 20_000);
}
