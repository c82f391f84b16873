//! Both halves of the protocol against each other: the guest's agent serves real
//! processes on the host, without a machine.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::thread::{self, JoinHandle};

use bulkhead_guest::agent::serve_stream;
use bulkhead_guest::protocol::{
    CStrings, Capabilities, Credit, Exited, OUTPUT_WINDOW, Process, Sandbox,
};
use bulkhead_guest::timer::PowerOff;
use bulkhead_runtime::ExitStatus;

use super::*;

/// Long enough for anything that will happen at all.
const PATIENCE: Duration = Duration::from_secs(60);

/// Closed on exec, so that no process of another test holds it open.
fn pipe() -> (File, File) {
    let (read, write) = std::io::pipe().unwrap();
    (OwnedFd::from(read).into(), OwnedFd::from(write).into())
}

fn null() -> OwnedFd {
    File::options().read(true).write(true).open("/dev/null").unwrap().into()
}

/// A connected agent.
fn agent() -> (UnixStream, JoinHandle<PowerOff>) {
    let (host, guest) = UnixStream::pair().unwrap();
    guest.set_nonblocking(true).unwrap();
    let guest = guest.into_raw_fd();
    // SAFETY: the descriptor has just been given up by its owner.
    (host, thread::spawn(move || unsafe { serve_stream(guest) }))
}

fn start(args: &[&str], stdin: bool) -> Start {
    let bounding = fs::read_to_string("/proc/thread-self/status").unwrap();
    let bounding = bounding.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap();
    let process = Process {
        args: CStrings::from_texts(args).unwrap(),
        env: CStrings::from_texts(["PATH=/usr/bin:/bin"]).unwrap(),
        cwd: c"/".into(),
        uid: nix::unistd::geteuid().as_raw(),
        gid: nix::unistd::getegid().as_raw(),
        umask: 0o022,
        capabilities: Capabilities {
            bounding: u64::from_str_radix(bounding.trim(), 16).unwrap(),
            ..Capabilities::default()
        },
        stdin,
        ..Process::default()
    };
    Start { process, sandbox: Some(Sandbox::default()), fresh: None, network: None }
}

fn run(session: &mut Session) -> Result<Exit, SessionError> {
    let deadline = Some(Instant::now() + PATIENCE);
    let wake = session.run_until(deadline, &[], |session| session.exit().is_some())?;
    assert_eq!(wake, Wake::Done, "{:?}", session.state());
    Ok(session.exit().unwrap())
}

/// Runs `args` with `stdin`: exit, stdout, stderr.
fn run_to_end(args: &[&str], stdin: OwnedFd) -> (Exit, Vec<u8>, Vec<u8>) {
    let (mut out, stdout) = pipe();
    let (mut err, stderr) = pipe();
    let stdio = Stdio { stdin, stdout: stdout.into(), stderr: stderr.into() };
    let reader = |mut pipe: File| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).unwrap();
            bytes
        })
    };
    let readers = (reader(out.try_clone().unwrap()), reader(err.try_clone().unwrap()));
    let (socket, agent) = agent();
    let mut session = Session::new(socket, stdio).unwrap();
    let has_stdin = session.has_stdin();
    session.start(start(args, has_stdin)).unwrap();
    let exit = run(&mut session).unwrap();
    drop(session);
    assert_eq!(agent.join().unwrap(), PowerOff::Done);
    let outputs = (readers.0.join().unwrap(), readers.1.join().unwrap());
    // Nothing came behind what the readers saw as the end.
    assert_eq!(out.read(&mut [0]).unwrap() + err.read(&mut [0]).unwrap(), 0);
    (exit, outputs.0, outputs.1)
}

fn numbered(len: usize) -> Vec<u8> {
    (0_u8..251).cycle().take(len).collect()
}

#[test]
fn output_and_exit_code_arrive() {
    let (exit, stdout, stderr) =
        run_to_end(&["sh", "-c", "echo out; echo err >&2; exit 7"], null());
    assert_eq!(exit.status, ExitStatus::Exited(7));
    assert_eq!((stdout, stderr), (b"out\n".to_vec(), b"err\n".to_vec()));
}

#[test]
fn a_mebibyte_passes_through_from_a_pipe() {
    let sent = numbered(1024 * 1024);
    let (stdin, mut input) = pipe();
    let copy = sent.clone();
    let writer = thread::spawn(move || input.write_all(&copy).unwrap());
    let (exit, stdout, _) = run_to_end(&["cat"], stdin.into());
    writer.join().unwrap();
    assert_eq!(exit.code(), 0);
    assert!(stdout == sent);
}

#[test]
fn regular_files_serve_as_streams() {
    let mut file = tempfile::tempfile().unwrap();
    let sent = numbered(300_000);
    file.write_all(&sent).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut output = tempfile::tempfile().unwrap();
    let stdout = output.try_clone().unwrap().into();
    let (socket, agent) = agent();
    let stdio = Stdio { stdin: file.into(), stdout, stderr: null() };
    let mut session = Session::new(socket, stdio).unwrap();
    session.start(start(&["cat"], true)).unwrap();
    assert_eq!(run(&mut session).unwrap().code(), 0);
    assert_eq!(agent.join().unwrap(), PowerOff::Done);
    output.seek(SeekFrom::Start(0)).unwrap();
    let mut received = Vec::new();
    output.read_to_end(&mut received).unwrap();
    assert!(received == sent);
}

#[test]
fn what_cannot_run_is_told_apart() {
    let attempt = |command: &str| {
        let (socket, agent) = agent();
        let mut session = Session::new(socket, Stdio::null().unwrap()).unwrap();
        session.start(start(&[command], false)).unwrap();
        let error = run(&mut session).unwrap_err();
        assert_eq!(session.state(), State::Broken);
        drop(session);
        assert_eq!(agent.join().unwrap(), PowerOff::Done);
        error
    };
    assert!(matches!(attempt("no-such-command"), SessionError::NotFound));
    match attempt("/etc/passwd") {
        SessionError::NotExecutable(error) => {
            assert_eq!(error.raw_os_error(), Some(libc::EACCES));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_failing_step_is_named_with_its_subject() {
    let (socket, agent) = agent();
    let mut session = Session::new(socket, Stdio::null().unwrap()).unwrap();
    let mut start = start(&["true"], false);
    start.process.cwd = c"/etc/passwd/x".into();
    session.start(start).unwrap();
    let error = run(&mut session).unwrap_err();
    assert_eq!(error.to_string(), "in the guest: entering the working directory /etc/passwd/x");
    drop(session);
    agent.join().unwrap();
}

#[test]
fn a_signal_ends_the_process() {
    let (socket, agent) = agent();
    let mut session = Session::new(socket, Stdio::null().unwrap()).unwrap();
    session.start(start(&["sleep", "1000"], false)).unwrap();
    let deadline = Some(Instant::now() + PATIENCE);
    session.run_until(deadline, &[], |session| session.state() == State::Running).unwrap();
    session.signal(Signal::TERM).unwrap();
    assert_eq!(run(&mut session).unwrap().status, ExitStatus::Signaled(Signal::TERM));
    assert!(matches!(session.signal(Signal::TERM), Err(SessionError::NotRunning)));
    // The descriptor tells for ever that it is over.
    let mut fds = [PollFd::new(session.event_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, PollTimeout::ZERO), Ok(1));
    drop(session);
    agent.join().unwrap();
}

#[test]
fn a_closed_stdout_reaches_the_process() {
    let (out, stdout) = pipe();
    drop(out);
    let (socket, agent) = agent();
    let stdio = Stdio { stdin: null(), stdout: stdout.into(), stderr: null() };
    let mut session = Session::new(socket, stdio).unwrap();
    // The test harness ignores SIGPIPE, and its children inherit that.
    let args = ["env", "--default-signal=PIPE", "yes"];
    session.start(start(&args, false)).unwrap();
    let exit = run(&mut session).unwrap();
    assert_eq!(exit.code(), 128 + 13);
    drop(session);
    agent.join().unwrap();
}

#[test]
fn stderr_passes_a_stdout_that_nobody_reads() {
    let (mut out, stdout) = pipe();
    let (mut err, stderr) = pipe();
    let (socket, agent) = agent();
    let stdio = Stdio { stdin: null(), stdout: stdout.into(), stderr: stderr.into() };
    let mut session = Session::new(socket, stdio).unwrap();
    let flood = 2 * OUTPUT_WINDOW;
    let script = format!("head -c {flood} /dev/zero & sleep 0.1; echo passed >&2; wait");
    session.start(start(&["sh", "-c", &script], false)).unwrap();
    let deadline = Some(Instant::now() + PATIENCE);
    let woken = session.run_until(deadline, &[err.as_fd()], |_| false).unwrap();
    assert_eq!(woken, Wake::Other(0));
    let mut text = [0; 7];
    err.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"passed\n");
    assert_eq!(session.state(), State::Running);
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        out.read_to_end(&mut bytes).unwrap();
        bytes.len()
    });
    assert_eq!(run(&mut session).unwrap().code(), 0);
    drop(session);
    assert_eq!(reader.join().unwrap(), flood);
    agent.join().unwrap();
}

/// A session with a peer that is played by the test, started and running.
fn with_guest(frames: impl FnOnce(&mut Vec<u8>)) -> (Session, UnixStream) {
    let (host, mut guest) = UnixStream::pair().unwrap();
    let mut session = Session::new(host, Stdio::null().unwrap()).unwrap();
    session.start(start(&["true"], false)).unwrap();
    let mut out = Vec::new();
    Hello::OURS.put(&mut out);
    frames(&mut out);
    guest.write_all(&out).unwrap();
    (session, guest)
}

#[test]
fn a_guest_that_cheats_is_refused() {
    fn refused(frames: impl FnOnce(&mut Vec<u8>)) -> ProtocolError {
        let (mut session, _guest) = with_guest(frames);
        match run(&mut session) {
            Err(SessionError::Protocol(error)) => error,
            other => panic!("{other:?}"),
        }
    }
    let early = refused(|out| put_raw(out, Kind::Stdout, b"x"));
    assert_eq!(early, ProtocolError::Unexpected(Kind::Stdout));
    let twice = refused(|out| {
        put_empty(out, Kind::Started);
        put_empty(out, Kind::Started);
    });
    assert_eq!(twice, ProtocolError::Unexpected(Kind::Started));
    let for_an_output = refused(|out| {
        put_empty(out, Kind::Started);
        let credit = Credit { output: Some(Output::Stdout), bytes: 1 };
        put(out, Kind::Credit, &credit).unwrap();
    });
    assert_eq!(for_an_output, ProtocolError::Unexpected(Kind::Credit));
    let no_end = refused(|out| {
        put_empty(out, Kind::Started);
        // The status of a stopped process.
        put(out, Kind::Exited, &Exited { wait_status: 0x137f, oom_killed: false }).unwrap();
    });
    assert_eq!(no_end, ProtocolError::Unexpected(Kind::Exited));
}

#[test]
fn a_guest_cannot_make_the_host_buffer_without_end() {
    let (host, mut guest) = UnixStream::pair().unwrap();
    let (_unread, stdout) = pipe();
    let stdio = Stdio { stdin: null(), stdout: stdout.into(), stderr: null() };
    let mut session = Session::new(host, stdio).unwrap();
    session.start(start(&["true"], false)).unwrap();
    let flood = thread::spawn(move || {
        let mut out = Vec::new();
        Hello::OURS.put(&mut out);
        put_empty(&mut out, Kind::Started);
        for _ in 0..=(2 * OUTPUT_WINDOW / MAX_DATA) {
            put_raw(&mut out, Kind::Stdout, &[0; MAX_DATA]);
        }
        let _ = guest.write_all(&out);
        guest
    });
    let error = run(&mut session).unwrap_err();
    let exceeded = ProtocolError::WindowExceeded(Kind::Stdout);
    assert!(matches!(error, SessionError::Protocol(refused) if refused == exceeded));
    drop(session);
    flood.join().unwrap();
}

#[test]
fn a_guest_that_goes_away_is_noticed() {
    let (mut session, guest) = with_guest(|out| put_empty(out, Kind::Started));
    drop(guest);
    assert!(matches!(run(&mut session), Err(SessionError::Closed)));
}

#[test]
fn waiting_ends_in_time() {
    let (mut session, _guest) = with_guest(|_| {});
    let deadline = Some(Instant::now() + Duration::from_millis(5));
    assert_eq!(session.run_until(deadline, &[], |_| false).unwrap(), Wake::TimedOut);
    let (interrupt, mut wakes) = pipe();
    wakes.write_all(b"!").unwrap();
    let woken = session.run_until(None, &[interrupt.as_fd()], |_| false).unwrap();
    assert_eq!(woken, Wake::Other(0));
}

#[test]
fn a_process_too_long_for_a_message_is_refused() {
    let (socket, agent) = agent();
    let mut session = Session::new(socket, Stdio::null().unwrap()).unwrap();
    let long = "x".repeat(bulkhead_guest::protocol::MAX_START);
    let refused = session.start(start(&["echo", &long], false));
    assert!(matches!(refused, Err(SessionError::TooLong(_))));
    drop(session);
    agent.join().unwrap();
}

#[test]
fn the_guest_is_asked_until_it_listens() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vsock");
    let listener = UnixListener::bind(&path).unwrap();
    let monitor = thread::spawn(move || {
        // Refused once, as before the guest listens.
        drop(listener.accept().unwrap());
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 13];
        stream.read_exact(&mut request).unwrap();
        assert_eq!(&request, b"CONNECT 1025\n");
        stream.write_all(b"OK 1073741824\nhello").unwrap();
    });
    let mut stream = connect(&path, 1025, Instant::now() + PATIENCE).unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "hello");
    monitor.join().unwrap();
    let gone = connect(&dir.path().join("none"), 1, Instant::now());
    assert!(matches!(gone, Err(SessionError::Io { .. })));
}

#[test]
fn a_guest_that_never_listens_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vsock");
    let listener = UnixListener::bind(&path).unwrap();
    let monitor = thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let mut request = String::new();
            let _ = (&stream).take(4).read_to_string(&mut request);
            if request == "STOP" {
                break;
            }
        }
    });
    let deadline = Instant::now() + Duration::from_millis(30);
    assert!(matches!(connect(&path, 1025, deadline), Err(SessionError::Refused)));
    UnixStream::connect(&path).unwrap().write_all(b"STOP").unwrap();
    monitor.join().unwrap();
}
