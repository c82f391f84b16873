//! What the agent builds around a workload, built for real in namespaces of a
//! thread: the machine's root is an overlay over the build host's, everything
//! else is as in the machine. Needs root; ignored elsewhere.

#![expect(clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::ptr;
use std::thread;
use std::time::Duration;

use bulkhead_guest::agent::serve_stream;
use bulkhead_guest::protocol::{
    CStrings, Capabilities, CardStep, Decoder, Device, Failure, FromGuest, Hello, Kind, Mount,
    Network, Output, PlacedFile, Process, Rlimit, Sandbox, Start, Step, put,
};
use bulkhead_guest::timer::PowerOff;
use libtest_mimic::{Arguments, Trial};

/// `CAP_CHOWN`, `CAP_KILL` and `CAP_SETUID` (linux/capability.h).
const SOME_CAPABILITIES: u64 = 1 << 0 | 1 << 5 | 1 << 7;

fn main() -> ExitCode {
    // SAFETY: cannot fail.
    let is_root = unsafe { libc::geteuid() } == 0;
    let tests: [(&str, fn()); 7] = [
        ("filesystems_and_devices_are_there", filesystems_and_devices_are_there),
        ("the_root_can_be_read_only", the_root_can_be_read_only),
        ("a_process_is_who_it_should_be", a_process_is_who_it_should_be),
        ("a_process_is_first_in_its_namespace", a_process_is_first_in_its_namespace),
        ("what_cannot_be_mounted_is_named", what_cannot_be_mounted_is_named),
        ("files_are_placed", files_are_placed),
        ("a_network_card_is_set_up", a_network_card_is_set_up),
    ];
    let trials = tests.into_iter().map(|(name, body)| {
        let trial = Trial::test(name, move || {
            body();
            Ok(())
        });
        if is_root { trial } else { trial.with_ignored_flag(true).with_kind("needs root") }
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

fn filesystems_and_devices_are_there() {
    let script = "hostname; stat -c '%F %a %t:%T' /dev/null; readlink /dev/fd; \
                  grep ' /proc ' /proc/mounts; grep ' /dev/shm ' /proc/mounts; \
                  echo x > /dev/null; touch /file-of-the-test; ls /file-of-the-test";
    let output = run(process(&["sh", "-c", script]), sandbox()).expect("starts");
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[..3], ["walled", "character special file 666 1:3", "/proc/self/fd"]);
    assert!(lines[3].starts_with("proc /proc proc rw,nosuid,nodev,noexec"), "{}", lines[3]);
    assert!(lines[4].contains("tmpfs rw,nosuid"), "{}", lines[4]);
    assert_eq!(lines[5], "/file-of-the-test");
    assert!(!std::path::Path::new("/file-of-the-test").exists());
}

fn the_root_can_be_read_only() {
    let script = "touch /x 2>/dev/null || echo refused; pwd; touch /dev/shm/x && echo kept";
    let cwd = c"/made/by/the/agent".into();
    let sandbox = Sandbox { read_only_root: true, ..sandbox() };
    let output = run(Process { cwd, ..process(&["sh", "-c", script]) }, sandbox);
    assert_eq!(output.as_deref(), Ok("refused\n/made/by/the/agent\nkept\n"));
}

fn a_process_is_who_it_should_be() {
    let script = "id -u; id -g; id -G; umask; ulimit -n; stat -Lc %u /proc/self/fd/1; \
                  echo again > /dev/stdout; grep -E '^(CapBnd|CapEff|NoNew)' /proc/self/status";
    let process = Process {
        uid: 1234,
        gid: 2345,
        groups: vec![7, 8],
        umask: 0o077,
        rlimits: vec![Rlimit { resource: libc::RLIMIT_NOFILE, soft: 50, hard: 60 }],
        no_new_privileges: true,
        ..process(&["sh", "-c", script])
    };
    let output = run(process, sandbox()).expect("starts");
    assert_eq!(
        output,
        "1234\n2345\n2345 7 8\n0077\n50\n1234\nagain\n\
         CapEff:\t0000000000000000\nCapBnd:\t00000000000000a1\nNoNewPrivs:\t1\n"
    );
    let script = "grep -E '^(CapPrm|CapEff|CapBnd)' /proc/self/status";
    let output = run(self::process(&["sh", "-c", script]), sandbox()).expect("starts");
    assert_eq!(output.matches("00000000000000a1").count(), 3, "{output}");
}

fn a_process_is_first_in_its_namespace() {
    let count = "ls -d /proc/[0-9]* | wc -l";
    let script = format!("echo $$; {count}");
    let output = run(process(&["sh", "-c", &script]), sandbox()).expect("starts");
    let mut lines = output.lines();
    assert_eq!(lines.next(), Some("1"));
    // The shell and what counts.
    let seen: u32 = lines.next().and_then(|count| count.parse().ok()).expect("a number");
    assert!(seen <= 3, "{seen} processes");
    let below_init = Sandbox { init: true, ..sandbox() };
    let output = run(process(&["sh", "-c", "echo $$ $PPID"]), below_init);
    assert_eq!(output.as_deref(), Ok("2 1\n"));
}

fn what_cannot_be_mounted_is_named() {
    let unknown = Mount {
        fstype: c"nosuchfs".into(),
        source: c"none".into(),
        target: c"/mnt".into(),
        ..Mount::default()
    };
    let with = |mount: Mount| Sandbox { mounts: vec![mount], ..Sandbox::default() };
    let refused = Failure::Setup { step: Step::Mount(0), errno: libc::ENODEV };
    assert_eq!(run(process(&["true"]), with(unknown.clone())), Err(refused));
    let optional = Mount { optional: true, ..unknown };
    assert_eq!(run(process(&["true"]), with(optional)), Ok(String::new()));
}

fn files_are_placed() {
    let file = |path: &CStr, content: &str| PlacedFile {
        path: path.into(),
        content: content.as_bytes().to_vec(),
    };
    let files = vec![
        file(c"/etc/hostname", "first\n"),
        // Nothing of the image's is written to: what is there is replaced.
        file(c"/etc/hostname", "second\n"),
        file(c"/deep/down/there", ""),
        file(c"/dev/fd", "no link any more\n"),
        file(c"/long", &"x".repeat(100_000)),
    ];
    let script = "cat /etc/hostname /dev/fd; stat -c '%F %a %u:%g' /dev/fd /deep/down/there; \
                  wc -c < /long; touch /x 2>/dev/null || echo read-only";
    let sandbox = Sandbox { files, read_only_root: true, ..sandbox() };
    let output = run(process(&["sh", "-c", script]), sandbox);
    let expected = "second\nno link any more\nregular file 644 0:0\n\
                    regular empty file 644 0:0\n100000\nread-only\n";
    assert_eq!(output.as_deref(), Ok(expected));

    let files = vec![file(c"/fine", ""), file(c"/etc", "a directory")];
    let sandbox = Sandbox { files, ..self::sandbox() };
    let refused = Failure::Setup { step: Step::File(1), errno: libc::EISDIR };
    assert_eq!(run(process(&["true"]), sandbox), Err(refused));
}

fn a_network_card_is_set_up() {
    let network = Network {
        name: c"net1".into(),
        mac: [2, 1, 2, 3, 4, 5],
        address: [10, 9, 8, 7],
        prefix_length: 20,
        gateway: Some([10, 9, 0, 1]),
        mtu: 1400,
    };
    let script = "ip -o link show net1; ip -4 -o addr show net1; ip route";
    let output = run_on(process(&["sh", "-c", script]), sandbox(), Some(network.clone()));
    let output = output.expect("starts");
    for part in [
        "02:01:02:03:04:05",
        "mtu 1400",
        ",UP",
        "10.9.8.7/20 brd 10.9.15.255",
        "default via 10.9.0.1 dev net1",
        "10.9.0.0/20 dev net1",
    ] {
        assert!(output.contains(part), "{part} is missing in {output}");
    }

    let far = Network { gateway: Some([192, 168, 0, 1]), ..network };
    let refused =
        Failure::Setup { step: Step::Card(CardStep::Route), errno: libc::ENETUNREACH };
    assert_eq!(run_on(process(&["true"]), sandbox(), Some(far)), Err(refused));
}

fn process(args: &[&str]) -> Process {
    Process {
        args: CStrings::from_texts(args).expect("no NUL"),
        env: CStrings::from_texts(["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]).expect("no NUL"),
        cwd: c"/".into(),
        umask: 0o022,
        capabilities: Capabilities {
            bounding: SOME_CAPABILITIES,
            effective: SOME_CAPABILITIES,
            permitted: SOME_CAPABILITIES,
            ..Capabilities::default()
        },
        ..Process::default()
    }
}

fn sandbox() -> Sandbox {
    let mount = |fstype: &CStr, target: &CStr, flags, data: &CStr| Mount {
        fstype: fstype.into(),
        source: fstype.into(),
        target: target.into(),
        flags,
        data: data.into(),
        optional: false,
        is_file: false,
    };
    let strict = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    let null = Device {
        path: c"/dev/null".into(),
        mode: libc::S_IFCHR | 0o666,
        major: 1,
        minor: 3,
        uid: 0,
        gid: 0,
    };
    let links = ["/proc/self/fd", "/dev/fd", "/proc/self/fd/1", "/dev/stdout"];
    Sandbox {
        hostname: Some(c"walled".into()),
        mounts: vec![
            mount(c"proc", c"/proc", strict, c""),
            mount(c"tmpfs", c"/dev", libc::MS_NOSUID, c"mode=755"),
            mount(c"tmpfs", c"/dev/shm", strict, c"mode=1777"),
        ],
        devices: vec![null],
        symlinks: CStrings::from_texts(links).expect("no NUL"),
        ..Sandbox::default()
    }
}

/// Runs `process` in `sandbox` on a machine made of namespaces: its output, both
/// streams together.
fn run(process: Process, sandbox: Sandbox) -> Result<String, Failure> {
    run_on(process, sandbox, None)
}

/// As [`run`], on a machine with a network card when there is a network.
fn run_on(
    process: Process,
    sandbox: Sandbox,
    network: Option<Network>,
) -> Result<String, Failure> {
    let (mut host, guest) = UnixStream::pair().expect("a socket pair");
    guest.set_nonblocking(true).expect("a flag");
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().as_os_str().as_bytes().to_vec();
    let with_card = network.is_some();
    let machine = thread::spawn(move || {
        let _card = with_card.then(|| card().expect("a tap device"));
        enter_machine(&path).expect("namespaces");
        // SAFETY: the descriptor has just been given up by its owner.
        unsafe { serve_stream(guest.into_raw_fd()) }
    });
    let mut out = Vec::new();
    Hello::OURS.put(&mut out);
    let start = Start { process, sandbox: Some(sandbox), fresh: None, network };
    put(&mut out, Kind::Start, &start).expect("fits");
    host.write_all(&out).expect("written");
    let outcome = listen(&mut host);
    drop(host);
    assert_eq!(machine.join().expect("no panic"), PowerOff::Done);
    // The mounts went with the thread's namespace.
    assert_eq!(scratch.path().read_dir().expect("a directory").count(), 0);
    outcome
}

fn listen(host: &mut UnixStream) -> Result<String, Failure> {
    host.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    let mut decoder = Decoder::default();
    let mut output = Vec::new();
    let mut buffer = vec![0; 4096];
    loop {
        let count = host.read(&mut buffer).expect("an answer");
        assert!(count > 0, "the agent closed the connection");
        let mut bytes = &buffer[..count];
        while let Some(frame) = decoder.next(&mut bytes).expect("frames") {
            match FromGuest::parse(frame).expect("a message") {
                FromGuest::Failed(failure) => return Err(failure),
                FromGuest::Output(Output::Stdout | Output::Stderr, bytes) => {
                    output.extend_from_slice(bytes);
                }
                FromGuest::Exited(_) => return Ok(String::from_utf8(output).expect("text")),
                _ => {}
            }
        }
    }
}

/// Moves this thread to a network namespace of its own, with a card in it that is there
/// as long as the descriptor.
fn card() -> io::Result<File> {
    // SAFETY: no memory is passed.
    done(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
    let tun = File::options().read(true).write(true).open("/dev/net/tun")?;
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: 0x1002 }, // IFF_TAP, IFF_NO_PI
    };
    for (to, from) in request.ifr_name.iter_mut().zip(b"eth0") {
        *to = from.cast_signed();
    }
    // SAFETY: the request is a valid ifreq, as this ioctl wants.
    done(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    Ok(tun)
}

/// Puts this thread where the agent is once the machine has booted: a root of
/// its own with a writable layer, and a pid namespace for its children.
fn enter_machine(scratch: &[u8]) -> io::Result<()> {
    let path = |name: &str| CString::new([scratch, name.as_bytes()].concat());
    let (base, upper, work, root) =
        (path("")?, path("/upper")?, path("/work")?, path("/root")?);
    let options =
        [b"lowerdir=/,upperdir=", upper.as_bytes(), b",workdir=", work.as_bytes()].concat();
    let options = CString::new(options)?;
    let namespaces =
        libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;
    let dot = c".".as_ptr();
    // SAFETY: all pointers are C strings that live through the calls.
    unsafe {
        done(libc::unshare(namespaces))?;
        // This thread's own by now.
        libc::umask(0);
        mount(c"none", c"/", c"", libc::MS_REC | libc::MS_PRIVATE, c"")?;
        mount(c"tmpfs", &base, c"tmpfs", 0, c"mode=755")?;
        for dir in [&upper, &work, &root] {
            done(libc::mkdir(dir.as_ptr(), 0o755))?;
        }
        mount(c"overlay", &root, c"overlay", 0, &options)?;
        done(libc::chdir(root.as_ptr()))?;
        done(i32::from(libc::syscall(libc::SYS_pivot_root, dot, dot) != 0))?;
        done(libc::umount2(dot, libc::MNT_DETACH))?;
        done(libc::chdir(c"/".as_ptr()))
    }
}

fn mount(
    source: &CStr,
    target: &CStr,
    fstype: &CStr,
    flags: u64,
    data: &CStr,
) -> io::Result<()> {
    let data = if data.is_empty() { ptr::null() } else { data.as_ptr() };
    // SAFETY: all pointers are C strings that live through the call.
    let result = unsafe {
        libc::mount(source.as_ptr(), target.as_ptr(), fstype.as_ptr(), flags, data.cast())
    };
    done(result)
}

fn done(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
