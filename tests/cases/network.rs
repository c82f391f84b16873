//! Networks, on a host of the tests' own: a network namespace with a wire to another one
//! that is the outside.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::images::BUSYBOX;
use crate::lab::{Finished, Footprint, Lab, Wall, entries, finish, wait_until};

const HOST: &str = "198.51.100.1";
const OUTSIDE: &str = "198.51.100.2";

/// How long something may take that is about to happen. A microVM boots meanwhile.
const SOON: Duration = Duration::from_secs(90);

/// How long nothing must happen.
const NEVER: Duration = Duration::from_millis(700);

/// A host and what is outside of it.
struct Scene<'a> {
    lab: &'a Lab,
    host: File,
    outside: File,
    before: Footprint,
}

/// A sandbox that runs until it is dropped.
struct Running {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // All scripts end with their input.
        drop(self.child.stdin.take());
        wait_until(&mut self.child, SOON);
    }
}

impl Running {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it says something");
        line.trim().to_owned()
    }

    fn say(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("piped");
        writeln!(stdin, "{line}").expect("it listens");
    }
}

/// Runs `action` in the network namespace `namespace`.
fn inside<T: Send>(namespace: BorrowedFd<'_>, action: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let there = scope.spawn(|| {
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("root may");
            action()
        });
        there.join().expect("it does not panic")
    })
}

fn new_namespace() -> File {
    thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("root may");
        File::open("/proc/thread-self/ns/net").expect("procfs")
    })
    .join()
    .expect("it does not panic")
}

fn enter(command: &mut Command, namespace: &File) {
    let fd = namespace.as_raw_fd();
    let enter = move || {
        // SAFETY: the descriptor is open until the command has run.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        setns(fd, CloneFlags::CLONE_NEWNET).map_err(Into::into)
    };
    // SAFETY: one system call.
    unsafe { command.pre_exec(enter) };
}

fn ip(namespace: &File, arguments: &str) {
    let mut command = Command::new("ip");
    command.args(arguments.split(' '));
    enter(&mut command, namespace);
    let output = command.output().expect("iproute2 is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {said}");
}

impl<'a> Scene<'a> {
    fn new(lab: &'a Lab) -> Self {
        let before = Footprint::now(lab);
        let (host, outside) = (new_namespace(), new_namespace());
        let there = format!("/proc/{}/fd/{}", std::process::id(), outside.as_raw_fd());
        ip(&host, "link set lo up");
        ip(&outside, "link set lo up");
        ip(&host, &format!("link add up0 type veth peer name out0 netns {there}"));
        ip(&host, &format!("addr add {HOST}/24 dev up0"));
        ip(&host, "link set up0 up");
        ip(&outside, &format!("addr add {OUTSIDE}/24 dev out0"));
        ip(&outside, "link set out0 up");
        ip(&host, &format!("route add default via {OUTSIDE}"));
        // One that knows the way to our sandboxes, if the host lets it pass.
        ip(&outside, &format!("route add 10.64.0.0/10 via {HOST}"));
        Self { lab, host, outside, before }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.lab.command(arguments);
        enter(&mut command, &self.host);
        command
    }

    fn verb(&self, arguments: &[&str]) -> Finished {
        finish(self.command(arguments), b"")
    }

    fn run_command(&self, wall: Wall, arguments: &[&str]) -> Command {
        self.command(&[&["run", "--isolation", wall.name()], arguments].concat())
    }

    fn run(&self, wall: Wall, options: &[&str], script: &str) -> Finished {
        let arguments = [options, &[BUSYBOX, "sh", "-c", script]].concat();
        finish(self.run_command(wall, &arguments), b"")
    }

    /// A sandbox that has said its first line.
    fn start(&self, wall: Wall, options: &[&str], script: &str) -> Running {
        let script = format!("echo ready; {script}");
        let arguments = [options, &[BUSYBOX, "sh", "-c", &script]].concat();
        let mut command = self.run_command(wall, &arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bulkhead starts");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut running = Running { child, output };
        assert_eq!(running.line(), "ready");
        running
    }

    /// What is said by whoever is at `address`, seen from `from`.
    fn heard(&self, from: &File, address: &str) -> Option<String> {
        heard_for(from, address, NEVER)
    }

    fn interfaces(&self) -> BTreeSet<String> {
        let listed =
            inside(self.host.as_fd(), || fs::read_to_string("/proc/thread-self/net/dev"));
        let listed = listed.expect("procfs");
        let names = listed.lines().skip(2).filter_map(|line| line.split(':').next());
        names.map(|name| name.trim().to_owned()).collect()
    }

    fn nft(&self) -> String {
        let mut command = Command::new("nft");
        command.args(["list", "ruleset"]);
        enter(&mut command, &self.host);
        String::from_utf8(command.output().expect("nftables").stdout).expect("text")
    }

    fn forwards(&self) -> String {
        let path = "/proc/sys/net/ipv4/conf/up0/forwarding";
        let text = inside(self.host.as_fd(), || fs::read_to_string(path));
        text.expect("a setting").trim().to_owned()
    }

    /// Nothing of any network is left.
    fn is_clean(&self) {
        let started = Instant::now();
        // The record of a network goes last.
        let is_up = || self.lab.root.join(".network").exists();
        while is_up() && started.elapsed() < Duration::from_secs(10) {
            thread::sleep(Duration::from_millis(20));
        }
        let expected: BTreeSet<_> = ["lo", "up0"].map(str::to_owned).into();
        assert_eq!(self.interfaces(), expected);
        assert_eq!(self.nft(), "");
        assert_eq!(self.forwards(), "0", "the host passes nothing on any more");
        assert!(!is_up(), "something is still known of a network");
    }

    fn ends(self) {
        self.is_clean();
        let Self { lab, host, outside, before } = self;
        drop((host, outside));
        Footprint::settles_to(lab, &before);
    }
}

/// Tries for a while to hear something.
fn heard_for(from: &File, address: &str, patience: Duration) -> Option<String> {
    let address: SocketAddr = address.parse().expect("an address");
    let started = Instant::now();
    inside(from.as_fd(), || {
        loop {
            if let Some(said) = hear(address) {
                return Some(said);
            }
            if started.elapsed() > patience {
                return None;
            }
            thread::sleep(Duration::from_millis(20));
        }
    })
}

fn hear(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, NEVER).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut said = String::new();
    stream.read_to_string(&mut said).ok()?;
    (!said.is_empty()).then(|| said.trim().to_owned())
}

/// A shell command that says `what` to whoever comes to `port`, in the background.
fn says(what: &str, port: u16) -> String {
    format!("(while true; do echo {what} | nc -l -p {port}; done) & ")
}

/// Hears what [`says`] says at `name`, which may be between two who listen. A slow guest's
/// `nc` says nothing to whoever has nothing to say, so the input is kept open.
fn heard_at(name: &str) -> String {
    format!(
        "for i in 1 2 3 4 5 6 7 8; do
             said=$(sleep 2 | nc -w 9 {name} 80) && test \"$said\" && break
             sleep 1
         done; echo $said"
    )
}

/// Says `what` to whoever comes, and tells who that was.
fn speaker(at: &File, address: &str, what: &'static str) -> thread::JoinHandle<SocketAddr> {
    let listener = inside(at.as_fd(), || TcpListener::bind(address)).expect("a free port");
    thread::spawn(move || {
        let (mut stream, from) = listener.accept().expect("somebody comes");
        let _ = stream.write_all(what.as_bytes());
        from
    })
}

pub fn only_what_is_published_is_reached(lab: &Lab, wall: Wall) {
    let scene = Scene::new(lab);
    let script = format!("{}{}read end", says("web", 80), says("secret", 81));
    let options =
        ["--name", "web", "-p", "8080:80", "-p", "127.0.0.1:8081:80", "-p", "5300:5300/udp"];
    let running = scene.start(wall, &options, &script);
    let said = |from: &File, address: &str| heard_for(from, address, SOON);
    let (host, outside) = (&scene.host, &scene.outside);
    assert_eq!(said(outside, &format!("{HOST}:8080")).as_deref(), Some("web"));
    assert_eq!(said(host, "127.0.0.1:8080").as_deref(), Some("web"));
    assert_eq!(said(host, &format!("{HOST}:8080")).as_deref(), Some("web"));
    assert_eq!(said(host, "127.0.0.1:8081").as_deref(), Some("web"));
    let address = address_of(&scene, "web");
    // The host itself may; nobody else.
    assert_eq!(said(host, &format!("{address}:81")).as_deref(), Some("secret"));
    for closed in [
        format!("{HOST}:8081"),
        format!("{HOST}:80"),
        format!("{HOST}:81"),
        format!("{address}:80"),
        format!("{address}:81"),
    ] {
        assert_eq!(scene.heard(outside, &closed), None, "{closed} is reached from outside");
    }
    let ports = scene.verb(&["port", "web"]).expect_code(0).text();
    let expected =
        "80/tcp -> 0.0.0.0:8080\n80/tcp -> 127.0.0.1:8081\n5300/udp -> 0.0.0.0:5300\n";
    assert_eq!(ports, expected);
    assert_eq!(scene.verb(&["port", "web", "5300/udp"]).text(), "0.0.0.0:5300\n");
    scene.verb(&["port", "web", "81"]).expect_error(1, "not published");
    // Whoever has a port is named.
    let taken = scene.run(Wall::Container, &["-p", "8080:80"], "true");
    taken.expect_error(125, "taken by sandbox web");
    let program =
        inside(host.as_fd(), || UdpSocket::bind("0.0.0.0:7777")).expect("a free port");
    let taken = scene.run(Wall::Container, &["-p", "7777:80/udp"], "true");
    taken.expect_error(125, &format!("process {}", std::process::id()));
    drop((program, running));
    scene.ends();
}

fn address_of(scene: &Scene<'_>, id: &str) -> Ipv4Addr {
    let network = scene.verb(&["network", "inspect", "bridge"]);
    let network: serde_json::Value = serde_json::from_slice(&network.stdout).expect("JSON");
    let members = network[0]["sandboxes"].as_array().expect("a list");
    let member = members.iter().find(|member| member["id"] == id).expect("it is there");
    member["address"].as_str().and_then(|text| text.parse().ok()).expect("an address")
}

pub fn the_way_out_is_open_and_the_host_is_not(lab: &Lab, wall: Wall) {
    let scene = Scene::new(lab);
    let outside = speaker(&scene.outside, &format!("{OUTSIDE}:7000"), "outside");
    let service = speaker(&scene.host, "0.0.0.0:7001", "the host");
    let script = format!(
        "gateway=$(ip route | awk '/default/ {{ print $3 }}'); echo $gateway
         nc -w 5 {OUTSIDE} 7000 < /dev/null; echo
         for at in $gateway {HOST} 127.0.0.1; do nc -w 1 $at 7001 < /dev/null && echo reached; done
         ping -c 1 -W 2 $gateway > /dev/null && echo gateway
         cat /etc/hostname; grep -c inside /etc/hosts; exit 0"
    );
    let options = ["--network", "bridge", "--hostname", "inside", "--read-only"];
    let run = scene.run(wall, &options, &script);
    let text = run.expect_code(0).text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[1..], ["outside", "gateway", "inside", "1"], "{text}\n{}", run.stderr);
    let from = outside.join().expect("it heard");
    assert_eq!(from.ip().to_string(), HOST, "the host's address is what others see");
    assert!(!service.is_finished(), "somebody came to the host's service");
    assert_eq!(heard_for(&scene.host, "127.0.0.1:7001", NEVER).as_deref(), Some("the host"));
    service.join().expect("that was us");
    scene.ends();
}

pub fn sandboxes_find_each_other_by_name(lab: &Lab, wall: Wall) {
    let scene = Scene::new(lab);
    scene.verb(&["network", "create", "apart"]).expect_code(0);
    let script = format!("{}read end", says("alpha-here", 80));
    let options = ["--network", "bridge", "--name", "alpha", "--network-alias", "db"];
    let alpha = scene.start(wall, &options, &script);
    let address = address_of(&scene, "alpha");
    let ask = |network: &str, what: &str| {
        let script = format!("nc -w 5 {what} 80 < /dev/null; exit 0");
        scene.run(Wall::Container, &["--network", network], &script).expect_code(0).text()
    };
    for name in ["alpha", "db", "ALPHA"] {
        let heard = scene.run(Wall::Container, &["--network", "bridge"], &heard_at(name));
        assert_eq!(heard.expect_code(0).text().trim(), "alpha-here", "{name}");
    }
    assert_eq!(ask("apart", "alpha"), "", "names are their network's");
    assert_eq!(ask("apart", &address.to_string()), "", "another bridge's neighbour");
    let own = scene.run(wall, &["--network", "bridge"], &heard_at("alpha"));
    assert_eq!(own.expect_code(0).text().trim(), "alpha-here", "from behind this wall");
    // What is published is, whoever asks.
    drop(alpha);
    scene.verb(&["network", "rm", "apart"]).expect_code(0);
    scene.ends();
}

pub fn nobody_speaks_with_the_address_of_another(lab: &Lab, wall: Wall) {
    let scene = Scene::new(lab);
    let script = format!("{}read end", says("web", 80));
    let web = scene.start(wall, &["--network", "bridge", "--name", "web"], &script);
    let address = address_of(&scene, "web");
    let script = format!(
        "nc -w 5 web 80 < /dev/null
         gateway=$(ip route | awk '/default/ {{ print $3 }}')
         other=$(echo {address} | sed 's/[0-9]*$/77/')
         ip addr add $other/16 dev eth0
         ping -c 1 -W 1 -I $other $gateway > /dev/null && echo spoofed
         ping -c 1 -W 1 -I $other {address} > /dev/null && echo spoofed
         ip addr del $other/16 dev eth0
         ip link set eth0 down; ip link set eth0 address 02:00:00:00:00:99; ip link set eth0 up
         ping -c 1 -W 1 {address} > /dev/null && echo spoofed
         exit 0"
    );
    let run = scene.run(wall, &["--network", "bridge", "--cap-add", "NET_ADMIN"], &script);
    assert_eq!(run.expect_code(0).text().trim(), "web", "{}", run.stderr);
    drop(web);
    scene.ends();
}

pub fn other_names_are_asked_elsewhere(lab: &Lab, wall: Wall) {
    let scene = Scene::new(lab);
    let resolver = inside(scene.outside.as_fd(), || UdpSocket::bind(format!("{OUTSIDE}:53")));
    let resolver = resolver.expect("a free port");
    resolver.set_read_timeout(Some(SOON)).expect("a socket");
    let answers = thread::spawn(move || {
        let mut question = [0; 512];
        // One for each type of address.
        for _ in 0..2 {
            let (length, from) = resolver.recv_from(&mut question).expect("a question");
            // The name ends with an empty label; type and class follow.
            let end =
                12 + question[12..length].iter().position(|byte| *byte == 0).expect("a name");
            let mut reply = question[..end + 5].to_vec();
            reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
            if question[end + 2] == 1 {
                // A pointer to the name, type A, class IN, a time to live, an address.
                reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 203, 0, 113, 9]);
            } else {
                reply[7] = 0;
            }
            resolver.send_to(&reply, from).expect("the way back");
        }
    });
    let options = ["--network", "bridge", "--dns", OUTSIDE, "--add-host", "extra:192.0.2.9"];
    let run = scene.run(wall, &options, "nslookup some.example; grep extra /etc/hosts");
    let text = run.expect_code(0).text();
    assert!(text.contains("203.0.113.9") && text.contains("192.0.2.9\textra"), "{text}");
    answers.join().expect("both were asked");
    scene.ends();
}

pub fn many_at_once_get_addresses_of_their_own(lab: &Lab, wall: Wall) {
    let scene = Scene::new(lab);
    let count = if wall == Wall::Container { 20 } else { 2 };
    let script = "ip -o -4 addr show dev eth0 | awk '{ print $4 }'; sleep 1";
    let runs: Vec<Child> = (0..count)
        .map(|_| {
            let arguments = ["--network", "bridge", BUSYBOX, "sh", "-c", script];
            let mut command = scene.run_command(wall, &arguments);
            command.stdout(Stdio::piped()).spawn().expect("bulkhead starts")
        })
        .collect();
    let mut seen = BTreeSet::new();
    for run in runs {
        let output = run.wait_with_output().expect("our own child");
        assert!(output.status.success());
        let address = String::from_utf8(output.stdout).expect("text").trim().to_owned();
        assert!(
            address.ends_with("/16") && seen.insert(address.clone()),
            "{address}: {seen:?}"
        );
    }
    scene.ends();
}

pub fn killed_networks_are_collected(lab: &Lab, wall: Wall) {
    let scene = Scene::new(lab);
    let rounds = if wall == Wall::Container { 30 } else { 6 };
    for round in 0..rounds {
        let arguments = ["--network", "bridge", "-p", "8080:80", BUSYBOX, "sleep", "1000"];
        let mut command = scene.run_command(wall, &arguments);
        let mut child = command.stdout(Stdio::null()).spawn().expect("bulkhead starts");
        thread::sleep(Duration::from_millis(round * 7));
        child.kill().expect("it runs");
        child.wait().expect("our own child");
        if round % 2 == 0 {
            // Also whoever would have noticed.
            kill_holders(&scene);
        }
    }
    scene.verb(&["gc"]).expect_code(0);
    scene.ends();
}

/// Kills the processes that hold networks of this laboratory; how many there were.
fn kill_holders(scene: &Scene<'_>) -> usize {
    let root = scene.lab.root.to_str().expect("utf-8");
    let mut killed = 0;
    for process in entries(Path::new("/proc")) {
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        let pid = process.file_name().and_then(|name| name.to_str()?.parse().ok());
        if let (true, Some(pid)) = (line.contains("network-holder") && line.contains(root), pid)
        {
            killed += usize::from(kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok());
        }
    }
    killed
}

pub fn a_killed_run_is_taken_off_its_network(lab: &Lab, wall: Wall) {
    let scene = Scene::new(lab);
    let arguments = ["-p", "8080:80"];
    let mut running = scene.start(wall, &arguments, "read end");
    running.child.kill().expect("it runs");
    running.child.wait().expect("our own child");
    // Nobody asked for it: whoever holds the network sees it.
    scene.is_clean();
    drop(running);
    scene.verb(&["gc"]).expect_code(0);
    scene.ends();
}

pub fn whoever_answers_for_names_is_replaced(lab: &Lab, wall: Wall) {
    let scene = Scene::new(lab);
    let script =
        "while read line; do nslookup -type=a web > /dev/null && echo found || echo lost; done";
    let options = ["--network", "bridge", "--name", "web"];
    let mut running = scene.start(wall, &options, script);
    running.say("ask");
    assert_eq!(running.line(), "found");
    assert_eq!(kill_holders(&scene), 1);
    let started = Instant::now();
    loop {
        running.say("ask");
        if running.line() == "found" {
            break;
        }
        assert!(started.elapsed() < SOON, "nobody answers for names any more");
    }
    // Whoever started it may not have ended yet.
    assert!(kill_holders(&scene) >= 1, "there is one again");
    drop(running);
    scene.ends();
}

pub fn the_hosts_network_is_for_containers(lab: &Lab, wall: Wall) {
    let scene = Scene::new(lab);
    let run = scene.run(wall, &["--network", "host"], "ip -o addr show dev up0; exit 0");
    if wall == Wall::MicroVm {
        run.expect_error(125, "is not supported by the microvm runtime");
    } else {
        assert!(run.expect_code(0).text().contains(HOST), "{}", run.text());
        scene
            .run(wall, &["--network", "host", "-p", "80"], "true")
            .expect_error(125, "--network");
    }
    scene.ends();
}

pub fn nothing_is_there_unless_asked_for(lab: &Lab, wall: Wall) {
    let scene = Scene::new(lab);
    let script = "cut -d: -f1 /proc/net/dev | tail -n +3; ls /etc/resolv.conf; exit 0";
    let run = scene.run(wall, &[], script);
    assert_eq!(run.expect_code(0).text().trim(), "lo", "{}", run.stderr);
    scene.run(wall, &["--ip", "10.88.0.9"], "true").expect_error(125, "--network bridge");
    scene.run(wall, &["--network", "nowhere"], "true").expect_error(125, "no network called");
    scene.ends();
}

pub fn networks_come_and_go(lab: &Lab, wall: Wall) {
    let scene = Scene::new(lab);
    let create = |arguments: &[&str]| scene.verb(&[&["network", "create"], arguments].concat());
    create(&["net1", "--subnet", "10.99.7.0/24"]).expect_code(0);
    create(&["net1"]).expect_error(1, "exists already");
    create(&["net2", "--subnet", "10.99.0.0/16"]).expect_error(1, "overlaps with network net1");
    create(&["net2", "--subnet", "198.51.100.0/24"])
        .expect_error(1, "no network for sandboxes");
    ip(&scene.host, "addr add 10.98.0.1/24 dev up0");
    create(&["net2", "--subnet", "10.98.0.0/16"]).expect_error(1, "the host's route");
    create(&["none"]).expect_error(1, "not a network name");
    let options = ["--network", "net1", "--name", "web", "--ip", "10.99.7.9", "--mac-address"];
    let options = [&options[..], &["02:00:00:00:07:09"]].concat();
    let script = "ip -o addr show dev eth0; ip link show dev eth0; read end";
    let mut web = scene.start(wall, &options, script);
    assert!(web.line().contains("10.99.7.9/24"));
    web.line();
    assert!(web.line().contains("02:00:00:00:07:09"));
    scene.verb(&["network", "rm", "net1"]).expect_error(1, "in use by web");
    let taken = scene.run(Wall::Container, &["--network", "net1", "--ip", "10.99.7.9"], "true");
    taken.expect_error(125, "is the address of web");
    let outside =
        scene.run(Wall::Container, &["--network", "net1", "--ip", "10.99.8.9"], "true");
    outside.expect_error(125, "not an address for a member");
    let listed = scene.verb(&["network", "ls", "--format", "json"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    assert_eq!(listed[0]["name"], "net1");
    assert_eq!(listed[0]["sandboxes"][0]["address"], "10.99.7.9");
    drop(web);
    scene.verb(&["network", "rm", "net1"]).expect_code(0);
    scene.verb(&["network", "rm", "net1"]).expect_error(1, "no network called");
    scene.ends();
}

pub fn prepared_sandboxes_get_a_network_too(lab: &Lab, wall: Wall) {
    let scene = Scene::new(lab);
    let made = scene.verb(&["pool", "fill", "--isolation", wall.name(), BUSYBOX]);
    let made = made.expect_code(0).text();
    let script = "hostname; ip -o -4 addr show dev eth0 | grep -c 10.; cat /etc/hostname";
    let run = scene.run(wall, &["--network", "bridge"], script);
    assert_eq!(run.expect_code(0).text(), format!("{made}1\n{made}"));
    scene.ends();
}
