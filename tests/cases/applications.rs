//! MicroVMs that go on with an application that was ready when they were saved.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::images::BUSYBOX;
use crate::lab::{Finished, Footprint, Lab, Wall, entries, wait_until};

/// As no other test's, so that no other test's run fits a template that is made here.
const MEMORY: &str = "76m";

const ENTERED: &str = "application-clone";

/// Says that it is ready; then, for each line, that line, its host's name and a random
/// number. Its output since it was ready tells a clone from a machine that has booted.
const SERVER: &str = "trap 'echo stopped; exit 9' TERM; echo ready; \
     while read line; do echo \"$line\"; hostname; head -c 16 /dev/urandom | sha256sum; done; \
     echo ended >&2; exit 7";

/// Builds a template, `options` beginning with how it is ready; removes it when dropped.
struct Template<'a> {
    lab: &'a Lab,
    name: String,
    said: String,
}

impl<'a> Template<'a> {
    fn build(lab: &'a Lab, options: &[&str], command: &[&str]) -> Self {
        let built = build(lab, options, command);
        let path = built.expect_code(0).text();
        let name = path.trim().rsplit('/').next().expect("a path").to_owned();
        Self { lab, name, said: built.stderr }
    }
}

impl Drop for Template<'_> {
    fn drop(&mut self) {
        drop(self.lab.verb(&["template", "rm", &self.name]));
    }
}

fn build(lab: &Lab, options: &[&str], command: &[&str]) -> Finished {
    let begin = ["template", "build", "--memory", MEMORY];
    lab.verb(&[&begin[..], options, &[BUSYBOX], command].concat())
}

fn run(lab: &Lab, options: &[&str], command: &[&str], input: &str) -> Finished {
    let arguments = [&["--memory", MEMORY], options, &[BUSYBOX], command].concat();
    lab.run_with_input(Wall::MicroVm, &arguments, input.as_bytes())
}

pub fn an_application_goes_on_in_runs_like_its_own(lab: &Lab, _wall: Wall) {
    lab.forget_templates();
    let before = Footprint::now(lab);
    let command = ["sh", "-c", SERVER];
    let template = Template::build(lab, &["--ready", "first-output"], &command);
    assert!(template.said.contains("ready"), "{}", template.said);
    let listed = lab.verb(&["template", "ls"]).expect_code(0).text();
    assert!(listed.contains("first output") && listed.contains("sh -c trap"), "{listed}");

    let mut seen = BTreeSet::new();
    for input in ["one", "two"] {
        let finished = run(lab, &[], &command, &format!("{input}\n"));
        let text = finished.expect_code(7).text();
        assert_eq!(finished.stderr, "ended\n");
        assert!(text.starts_with(input), "it did not go on where it was ready: {text}");
        for line in text.lines() {
            assert!(seen.insert(line.to_owned()), "two clones have {line} in common");
        }
    }
    assert_eq!(seen.len(), 6, "{seen:?}");
    a_signal_reaches_it(lab, &command);

    // What was fixed when it started is not the same: these boot.
    let other = run(lab, &["--env", "A=1"], &command, "");
    assert_eq!(other.expect_code(7).text(), "ready\n");
    let clocks = lab.root.with_file_name("application-clocks.json");
    let path = clocks.to_string_lossy().into_owned();
    run(lab, &["--timeline", &path], &["true"], "").expect_code(0);
    let named: serde_json::Value =
        serde_json::from_slice(&fs::read(&clocks).expect("written")).expect("JSON");
    assert!(named["kernel_done"].is_u64() && named["state_restored"].is_null(), "{named}");
    fs::remove_file(clocks).expect("ours");

    drop(template);
    assert!(entries(&lab.store.join("templates")).is_empty());
    Footprint::settles_to(lab, &before);
}

/// And further commands run in it, before that.
fn a_signal_reaches_it(lab: &Lab, command: &[&str]) {
    let arguments = [&["--memory", MEMORY, "--name", ENTERED, BUSYBOX], command].concat();
    let mut run = lab.run_command(Wall::MicroVm, &arguments);
    let mut child =
        run.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("bulkhead starts");
    let mut input = child.stdin.take().expect("piped");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    input.write_all(b"three\n").expect("it reads");
    assert_eq!(next(), "three");
    // Until it waits again.
    next();
    next();
    let inside = lab.verb(&["exec", ENTERED, "sh", "-c", "hostname; cat /proc/1/comm"]);
    assert_eq!(inside.expect_code(0).text(), format!("{ENTERED}\nsh\n"));
    kill(Pid::from_raw(i32::try_from(child.id()).expect("a pid")), Signal::SIGTERM)
        .expect("our own child");
    assert_eq!(next(), "stopped");
    assert_eq!(wait_until(&mut child, Duration::from_secs(60)).code(), Some(9));
}

pub fn arguments_and_environment_are_handed_over(lab: &Lab, _wall: Wall) {
    let before = Footprint::now(lab);
    let script = "read -r told < $BULKHEAD_HANDOVER; printf '%s\\n' \"$told\"; cat; \
         cat $BULKHEAD_HANDOVER";
    let command = ["sh", "-c", script, "app"];
    let options = ["--user", "user", "--read-only"];
    let ready = [&["--ready", "hand-over"], &options[..]].concat();
    let template = Template::build(lab, &ready, &command);
    for greeting in ["hello", "goodbye"] {
        let longer = [&command[..], &[greeting, "\"and more\""]].concat();
        let variable = format!("GREETING={greeting}");
        let told = [&options[..], &["--env", &variable, "--hostname", greeting]].concat();
        let finished = run(lab, &told, &longer, "input\n");
        let text = finished.expect_code(0).text();
        let [first, input, again] = text.lines().collect::<Vec<_>>()[..] else {
            panic!("{text}");
        };
        let told: serde_json::Value = serde_json::from_str(first).expect("JSON");
        assert_eq!(told["args"], serde_json::json!(longer), "{told}");
        assert_eq!(told["env"]["GREETING"], greeting, "{told}");
        assert_eq!(told["env"]["HOME"], "/home/user", "{told}");
        assert_eq!(told["hostname"], greeting, "{told}");
        assert_eq!((input, again), ("input", first));
    }
    drop(template);
    Footprint::settles_to(lab, &before);
}

pub fn a_port_or_a_command_says_that_an_application_is_ready(lab: &Lab, _wall: Wall) {
    let before = Footprint::now(lab);
    // It is asked once whether it accepts; then it goes on.
    let listens = "sleep 1; nc -l -p 8080 < /dev/null > /dev/null; cat";
    let touches = "sleep 1; touch /tmp/up; cat";
    for (ready, script) in
        [(["--ready-port", "8080"], listens), (["--ready-cmd", "test -e /tmp/up"], touches)]
    {
        let command = ["sh", "-c", script];
        let template = Template::build(lab, &ready, &command);
        for input in ["one\n", "two\n"] {
            let finished = run(lab, &[], &command, input);
            assert_eq!(finished.expect_code(0).text(), input, "{ready:?}");
        }
        drop(template);
    }
    Footprint::settles_to(lab, &before);
}

pub fn an_application_that_does_not_get_ready_is_not_kept(lab: &Lab, _wall: Wall) {
    lab.forget_templates();
    let before = Footprint::now(lab);
    let first_output = ["--ready", "first-output"];
    let ended = build(lab, &first_output, &["sh", "-c", "echo no >&2; exit 3"]);
    ended.expect_error(125, "ended with exit code 3 before it was ready");
    let soon = ["--ready-port", "8080", "--ready-within", "2s"];
    build(lab, &soon, &["sleep", "1000"]).expect_error(125, "not ready within 2s");
    build(lab, &first_output, &["no-such-command"]).expect_error(127, "no-such-command");
    build(lab, &[], &["true"]).expect_code(2);
    assert!(entries(&lab.store.join("templates")).is_empty());
    Footprint::settles_to(lab, &before);
}
