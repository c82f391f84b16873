//! The agent against real processes on the build host, without a machine
//! around it.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::prelude::v1::*;
use std::thread::JoinHandle;
use std::time::Duration;
use std::vec;

use super::serve_stream;
use crate::protocol::{
    CStrings, Capabilities, Credit, Decoder, Exited, Failure, FromGuest, Hello, Hold, Kind,
    MAX_DATA, OUTPUT_WINDOW, Output, Process, STDIN_WINDOW, Sandbox, Start, put, put_empty,
    put_raw,
};
use crate::timer::{BootStep, PowerOff};

/// The host's side of a session.
struct Host {
    stream: UnixStream,
    agent: Option<JoinHandle<PowerOff>>,
    decoder: Decoder,
}

/// What a session came to.
#[derive(Debug, Default)]
struct Outcome {
    started: bool,
    held: bool,
    failure: Option<Failure>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    stdin_credit: usize,
    exited: Option<Exited>,
}

impl Host {
    fn new() -> Self {
        let (stream, agent) = UnixStream::pair().unwrap();
        agent.set_nonblocking(true).unwrap();
        let agent = agent.into_raw_fd();
        // SAFETY: the descriptor has just been given up by its owner.
        let agent = std::thread::spawn(move || unsafe { serve_stream(agent) });
        let mut host = Self { stream, agent: Some(agent), decoder: Decoder::default() };
        host.stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        host.send(|out| Hello::OURS.put(out));
        host
    }

    fn send(&mut self, frames: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        frames(&mut out);
        self.stream.write_all(&out).unwrap();
    }

    fn start(args: &[&str]) -> Self {
        Self::start_process(process(args), Sandbox::default())
    }

    fn start_process(process: Process, sandbox: Sandbox) -> Self {
        let mut host = Self::new();
        let start = Start { process, sandbox: Some(sandbox), fresh: None, network: None };
        host.send(|out| put(out, Kind::Start, &start).unwrap());
        host
    }

    fn stdin(&mut self, bytes: &[u8]) {
        self.send(|out| put_raw(out, Kind::Stdin, bytes));
    }

    fn signal(&mut self, signal: i32) {
        self.send(|out| put(out, Kind::Signal, &u8::try_from(signal).unwrap()).unwrap());
    }

    /// Reads until `done`, granting output as it comes.
    fn read_until(&mut self, outcome: &mut Outcome, done: impl Fn(&Outcome) -> bool) {
        let mut buffer = vec![0; 10_000];
        while !done(outcome) {
            let count = self.stream.read(&mut buffer).unwrap();
            assert!(count > 0, "the agent closed the connection: {outcome:?}");
            let mut bytes = &buffer[..count];
            let mut grants = Vec::new();
            while let Some(frame) = self.decoder.next(&mut bytes).unwrap() {
                match FromGuest::parse(frame).unwrap() {
                    FromGuest::Hello(_) => {}
                    FromGuest::Started => outcome.started = true,
                    FromGuest::Held => outcome.held = true,
                    FromGuest::Failed(failure) => outcome.failure = Some(failure),
                    FromGuest::Exited(exited) => outcome.exited = Some(exited),
                    FromGuest::Credit(credit) => {
                        outcome.stdin_credit += usize::try_from(credit.bytes).unwrap();
                    }
                    FromGuest::Output(output, data) => {
                        let bytes = u32::try_from(data.len()).unwrap();
                        grants.push(Credit { output: Some(output), bytes });
                        match output {
                            Output::Stdout => outcome.stdout.extend_from_slice(data),
                            Output::Stderr => outcome.stderr.extend_from_slice(data),
                        }
                    }
                }
            }
            for credit in grants {
                // The agent may be gone once it has reported the exit.
                let mut out = Vec::new();
                put(&mut out, Kind::Credit, &credit).unwrap();
                let _ = self.stream.write_all(&out);
            }
        }
    }

    fn outcome(mut self) -> Outcome {
        let mut outcome = Outcome::default();
        self.read_until(&mut outcome, |outcome| {
            outcome.exited.is_some() || outcome.failure.is_some()
        });
        assert_eq!(self.close(), PowerOff::Done);
        outcome
    }

    fn close(mut self) -> PowerOff {
        let _ = self.stream.shutdown(Shutdown::Both);
        self.agent.take().unwrap().join().unwrap()
    }
}

/// A process as the user who runs the tests.
fn process(args: &[&str]) -> Process {
    // SAFETY: neither call can fail.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    let all = if uid == 0 { current_capabilities() } else { Capabilities::default() };
    Process {
        args: CStrings::from_texts(args).unwrap(),
        env: CStrings::from_texts(["PATH=/usr/bin:/bin", "GREETING=hello"]).unwrap(),
        cwd: c"/".into(),
        uid,
        gid,
        umask: 0o022,
        capabilities: all,
        ..Process::default()
    }
}

/// The sets of this process, which may lack some even as root.
fn current_capabilities() -> Capabilities {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let set = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    };
    Capabilities {
        bounding: set("CapBnd:"),
        effective: set("CapEff:"),
        permitted: set("CapPrm:"),
        inheritable: 0,
        ambient: 0,
    }
}

fn exited(outcome: &Outcome) -> i32 {
    outcome.exited.unwrap().wait_status
}

#[test]
fn output_and_exit_code_come_in_order() {
    let host = Host::start(&["sh", "-c", "echo $GREETING; echo oops >&2; pwd; exit 7"]);
    let outcome = host.outcome();
    assert!(outcome.started);
    assert_eq!(outcome.stdout, b"hello\n/\n");
    assert_eq!(outcome.stderr, b"oops\n");
    assert_eq!(exited(&outcome), 7 << 8);
}

#[test]
fn a_command_that_cannot_run_is_told_apart() {
    for missing in ["no-such-command", "/no/such/command", "/etc/passwd/x"] {
        let outcome = Host::start(&[missing]).outcome();
        assert_eq!(outcome.failure, Some(Failure::NotFound), "{missing}");
        assert!(!outcome.started);
    }
    let outcome = Host::start(&["/etc/passwd"]).outcome();
    assert_eq!(outcome.failure, Some(Failure::NotExecutable { errno: libc::EACCES }));
    let outcome = Host::start(&["/"]).outcome();
    assert_eq!(outcome.failure, Some(Failure::NotExecutable { errno: libc::EACCES }));
}

#[test]
fn a_mebibyte_goes_both_ways_at_once() {
    let mut host =
        Host::start_process(Process { stdin: true, ..process(&["cat"]) }, Sandbox::default());
    let sent: Vec<u8> = (0..1024 * 1024_u32).map(|at| (at % 251) as u8).collect();
    let mut outcome = Outcome::default();
    let mut at = 0;
    while at < sent.len() {
        let window = STDIN_WINDOW + outcome.stdin_credit - at;
        let end = sent.len().min(at + window.min(MAX_DATA));
        if at < end {
            host.stdin(&sent[at..end]);
            at = end;
        } else {
            let before = outcome.stdin_credit;
            host.read_until(&mut outcome, |outcome| outcome.stdin_credit > before);
        }
    }
    host.send(|out| put_empty(out, Kind::StdinEof));
    host.read_until(&mut outcome, |outcome| outcome.exited.is_some());
    assert_eq!(outcome.stdout, sent);
    assert_eq!(exited(&outcome), 0);
    assert_eq!(host.close(), PowerOff::Done);
}

#[test]
fn output_beyond_the_window_waits_for_credit() {
    let length = 3 * OUTPUT_WINDOW;
    let outcome = Host::start(&["head", "-c", &length.to_string(), "/dev/zero"]).outcome();
    assert_eq!(outcome.stdout.len(), length);
    assert_eq!(exited(&outcome), 0);
}

#[test]
fn a_signal_passes_stdin_that_nobody_reads() {
    let waiting = Process { stdin: true, ..process(&["sleep", "1000"]) };
    let mut host = Host::start_process(waiting, Sandbox::default());
    host.stdin(&[0; MAX_DATA]);
    host.signal(libc::SIGTERM);
    assert_eq!(exited(&host.outcome()), libc::SIGTERM);
}

#[test]
fn more_stdin_than_the_window_is_refused() {
    let waiting = Process { stdin: true, ..process(&["sleep", "1000"]) };
    let mut host = Host::start_process(waiting, Sandbox::default());
    host.stdin(&[0; MAX_DATA]);
    let mut outcome = Outcome::default();
    host.read_until(&mut outcome, |outcome| outcome.started);
    // The first window fills the pipe and may be granted again; three more
    // cannot be.
    let mut rest = Vec::new();
    for _ in 0..3 {
        put_raw(&mut rest, Kind::Stdin, &[0; MAX_DATA]);
    }
    let _ = host.stream.write_all(&rest);
    let refused = PowerOff::Failed { step: BootStep::Protocol, errno: 0 };
    assert_eq!(host.agent.take().unwrap().join().unwrap(), refused);
}

#[test]
fn without_stdin_there_is_an_empty_one() {
    let outcome = Host::start(&["sh", "-c", "cat; readlink /proc/self/fd/0"]).outcome();
    assert_eq!(outcome.stdout, b"/dev/null\n");
}

#[test]
fn a_closed_output_breaks_the_pipe() {
    // The test harness ignores SIGPIPE, and its children inherit that.
    let mut host = Host::start(&["env", "--default-signal=PIPE", "yes"]);
    let mut outcome = Outcome::default();
    host.read_until(&mut outcome, |outcome| !outcome.stdout.is_empty());
    host.send(|out| put(out, Kind::CloseOutput, &Output::Stdout).unwrap());
    host.read_until(&mut outcome, |outcome| outcome.exited.is_some());
    assert_eq!(exited(&outcome), libc::SIGPIPE);
}

#[test]
fn what_a_background_process_holds_open_does_not_delay_the_exit() {
    let outcome = Host::start(&["sh", "-c", "sleep 3 & echo done"]).outcome();
    assert_eq!(outcome.stdout, b"done\n");
    assert_eq!(exited(&outcome), 0);
}

#[test]
fn the_minimal_init_reports_and_forwards() {
    let init = || Sandbox { init: true, ..Sandbox::default() };
    let orphans = "for i in 1 2 3; do (true &) ; done; exit 9";
    let outcome = Host::start_process(process(&["sh", "-c", orphans]), init()).outcome();
    assert_eq!(exited(&outcome), 9 << 8);

    let outcome = Host::start_process(process(&["no-such-command"]), init()).outcome();
    assert_eq!(outcome.failure, Some(Failure::NotFound));

    let script = "trap 'echo caught; exit 3' USR1; echo ready; while :; do sleep 0.02; done";
    let mut host = Host::start_process(process(&["sh", "-c", script]), init());
    let mut outcome = Outcome::default();
    host.read_until(&mut outcome, |outcome| outcome.stdout == b"ready\n");
    host.signal(libc::SIGUSR1);
    host.read_until(&mut outcome, |outcome| outcome.exited.is_some());
    assert_eq!(outcome.stdout, b"ready\ncaught\n");
    assert_eq!(exited(&outcome), 3 << 8);

    let outcome =
        Host::start_process(process(&["sh", "-c", "kill -KILL $$"]), init()).outcome();
    assert_eq!(exited(&outcome), 137 << 8);
}

#[test]
fn the_working_directory_is_made() {
    let root = tempfile::tempdir().unwrap();
    let cwd = root.path().join("a/b");
    let text = std::format!("{}", cwd.display());
    let cwd = std::ffi::CString::new(text.as_str()).unwrap();
    let outcome =
        Host::start_process(Process { cwd, ..process(&["pwd"]) }, Sandbox::default()).outcome();
    assert_eq!(String::from_utf8(outcome.stdout).unwrap().trim(), text);
}

#[test]
fn nonsense_ends_the_machine() {
    let mut host = Host::new();
    host.stream.write_all(&[0xff; 64]).unwrap();
    let refused = PowerOff::Failed { step: BootStep::Protocol, errno: 0 };
    assert_eq!(host.agent.take().unwrap().join().unwrap(), refused);
    let mut host = Host::new();
    host.send(|out| Hello { version: 99 }.put(out));
    let refused = PowerOff::Failed { step: BootStep::Version, errno: 0 };
    assert_eq!(host.agent.take().unwrap().join().unwrap(), refused);
}

#[test]
fn a_second_start_is_refused() {
    let mut host = Host::start(&["sleep", "1000"]);
    let start =
        Start { process: process(&["true"]), sandbox: None, fresh: None, network: None };
    host.send(|out| put(out, Kind::Start, &start).unwrap());
    let refused = PowerOff::Failed { step: BootStep::Protocol, errno: 0 };
    assert_eq!(host.agent.take().unwrap().join().unwrap(), refused);
}

/// The state of a process, `T` while it is stopped (proc(5)).
fn state_of(pid: &str) -> String {
    let stat = std::fs::read_to_string(std::format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1[..1].to_owned()
}

#[test]
fn a_process_is_held_at_once_or_when_its_port_accepts() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for until in [Hold::Now, Hold::Port(port)] {
        let mut host = Host::start(&["sh", "-c", "echo $$; while :; do :; done"]);
        let mut outcome = Outcome::default();
        host.read_until(&mut outcome, |outcome| outcome.stdout.ends_with(b"\n"));
        host.send(|out| put(out, Kind::Hold, &until).unwrap());
        host.read_until(&mut outcome, |outcome| outcome.held);
        let pid = String::from_utf8(outcome.stdout).unwrap();
        // On another processor it stops a moment after it was told.
        let told = std::time::Instant::now();
        while state_of(pid.trim()) != "T" {
            assert!(told.elapsed() < Duration::from_secs(60), "it was not stopped");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(host.close(), PowerOff::Done);
    }
}

#[test]
fn a_process_is_not_held_while_nobody_accepts_and_its_end_is_told() {
    // Nobody listens there any more.
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = reserved.local_addr().unwrap().port();
    drop(reserved);
    let mut host = Host::start(&["sh", "-c", "sleep 0.3; exit 4"]);
    host.send(|out| put(out, Kind::Hold, &Hold::Port(port)).unwrap());
    let outcome = host.outcome();
    assert!(!outcome.held);
    assert_eq!(exited(&outcome), 4 << 8);
}
