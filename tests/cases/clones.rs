//! Many machines from one snapshot: one after the other, and all at once.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::images::BUSYBOX;
use crate::lab::{Footprint, Lab, Wall, entries, monitors_below};

/// Another size than that of any other test, so that no template of theirs fits.
const MEMORY: &str = "68m";

/// Runs in a row, where nobody asks for more.
const IN_A_ROW: u32 = 60;
/// How many somebody asks for.
const IN_A_ROW_VARIABLE: &str = "BULKHEAD_TEST_RESTORES";

/// Machines that run at once.
const AT_ONCE: usize = 32;

/// What must be another in each machine: its boot, a random number of its kernel, and
/// where the stack of its program begins (field 28 of proc_pid_stat(5)). The shell does
/// it without starting a process, which would take longer than all the rest.
const IDENTITY: &str = "read boot </proc/sys/kernel/random/boot_id; \
     read number </proc/sys/kernel/random/uuid; read stat </proc/self/stat; \
     set -- $stat; echo $boot $number ${28}";

/// What machines have said of themselves.
#[derive(Default)]
struct Identities(BTreeSet<String>);

impl Identities {
    /// Fails the test when another machine has said any of it.
    #[track_caller]
    fn add(&mut self, line: &str) {
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(words.len(), 3, "{line}");
        for word in words {
            assert!(self.0.insert(word.to_owned()), "two clones have {word} in common");
        }
    }
}

/// A template of this module's size.
struct Template(PathBuf);

impl Template {
    fn build(lab: &Lab) -> Self {
        let built = lab.verb(&["template", "build", "--memory", MEMORY, BUSYBOX]);
        Self(built.expect_code(0).text().trim().into())
    }

    fn remove(self, lab: &Lab) {
        let name = self.0.file_name().and_then(|name| name.to_str()).expect("digits");
        lab.verb(&["template", "rm", name]).expect_code(0);
    }

    #[track_caller]
    fn has_no_more_than_its_files(&self) {
        let files = ["memory", "state", "working-set"].map(|name| self.0.join(name));
        assert_eq!(entries(&self.0), files);
    }
}

pub fn runs_in_a_row_are_right_and_leave_nothing(lab: &Lab, wall: Wall) {
    let count = std::env::var(IN_A_ROW_VARIABLE)
        .map_or(IN_A_ROW, |count| count.parse().expect("a number of runs"));
    let before = Footprint::now(lab);
    let template = Template::build(lab);
    let clocks = lab.root.with_file_name("row.json");
    let timeline = clocks.to_str().expect("utf-8");
    let mut seen = Identities::default();
    for round in 0..count {
        let restore = ["lazy", "eager", "working-set"][round as usize % 3];
        let code = i32::try_from(round % 7).expect("small");
        let script = format!("{IDENTITY}; echo run {round}; exit {code}");
        let options = ["--memory", MEMORY, "--restore", restore, "--timeline", timeline];
        let finished = lab.run(wall, &[&options[..], &[BUSYBOX, "sh", "-c", &script]].concat());
        let text = finished.expect_code(code).text();
        let lines: Vec<_> = text.lines().collect();
        let [identity, last] = lines[..] else { panic!("{text}") };
        seen.add(identity);
        assert_eq!((last, finished.stderr.as_str()), (&*format!("run {round}"), ""));
        assert!(was_restored(&clocks), "run {round} booted");
    }
    fs::remove_file(&clocks).expect("ours");
    template.has_no_more_than_its_files();
    template.remove(lab);
    Footprint::settles_to(lab, &before);
}

fn was_restored(clocks: &Path) -> bool {
    let clocks = fs::read(clocks).expect("written");
    let clocks: serde_json::Value = serde_json::from_slice(&clocks).expect("JSON");
    clocks["agent_ready"].is_u64() && clocks["kernel_done"].is_null()
}

pub fn clones_at_once_are_right_and_leave_nothing(lab: &Lab, wall: Wall) {
    let before = Footprint::now(lab);
    let template = Template::build(lab);
    let script = format!("{IDENTITY}; read word; echo $word");
    let arguments = ["--memory", MEMORY, BUSYBOX, "sh", "-c", &script];
    let mut clones: Vec<_> =
        (0..AT_ONCE).map(|_| Talking::begin(lab, wall, &arguments)).collect();
    let mut seen = Identities::default();
    for clone in &mut clones {
        seen.add(&clone.hear());
    }
    // All of them run: each waits for its word.
    assert_eq!(monitors_below(&lab.root).len(), AT_ONCE);
    for (index, clone) in clones.iter_mut().enumerate() {
        clone.say(&format!("word-{index}"));
    }
    for (index, mut clone) in clones.into_iter().enumerate() {
        assert_eq!(clone.hear(), format!("word-{index}"));
        assert!(clone.child.wait().expect("our own child").success());
    }
    template.has_no_more_than_its_files();
    template.remove(lab);
    Footprint::settles_to(lab, &before);
}

/// A workload that answers.
struct Talking {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Talking {
    fn begin(lab: &Lab, wall: Wall, arguments: &[&str]) -> Self {
        let mut command = lab.run_command(wall, arguments);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("bulkhead starts");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, output }
    }

    /// Its next line; empty when there is none.
    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("text");
        line.trim_end().to_owned()
    }

    fn say(&mut self, word: &str) {
        let stdin = self.child.stdin.as_mut().expect("piped");
        writeln!(stdin, "{word}").expect("it listens");
    }
}

/// Copies a file of the image piece by piece, and says after each what the clocks show;
/// in the end the sums of the file and of the copy.
const COPY: &str = "i=0; while [ $i -lt 8 ]; do \
     dd if=/bin/busybox of=/copy bs=256k skip=$i seek=$i count=1 conv=notrunc 2>/dev/null; \
     i=$((i+1)); read up rest </proc/uptime; echo $i $up $(busybox date +%s); sleep 1; done; \
     sha256sum </copy; sha256sum </bin/busybox";
const PIECES: usize = 8;

/// How late a line may come, where each process takes a while.
const CLOCK_MAY_BE_OFF: Duration = Duration::from_secs(5);

pub fn files_and_clocks_are_right_where_a_copy_goes_on(lab: &Lab, wall: Wall) {
    let before = Footprint::now(lab);
    // Of a test that failed.
    drop(lab.verb(&["snapshot", "rm", "copying"]));
    let arguments = ["--memory", MEMORY, "--name", "copying", BUSYBOX, "sh", "-c", COPY];
    let mut original = Talking::begin(lab, wall, &arguments);
    let said: Vec<_> = (0..3).map(|_| Said::parse(&original.hear())).collect();
    lab.verb(&["snapshot", "take", "copying", "copying"]).expect_code(0);
    let taken = Instant::now();
    copy_to_the_end(original, said.clone());
    // So late that a clock which stood still meanwhile would be seen.
    thread::sleep((4 * CLOCK_MAY_BE_OFF).saturating_sub(taken.elapsed()));
    let arguments = ["--memory", MEMORY, "--from-snapshot", "copying", BUSYBOX];
    copy_to_the_end(Talking::begin(lab, wall, &arguments), said);
    lab.verb(&["snapshot", "rm", "copying"]).expect_code(0);
    Footprint::settles_to(lab, &before);
}

/// Follows [`COPY`], which has said this much before.
fn copy_to_the_end(mut machine: Talking, mut said: Vec<Said>) {
    let mut off = Duration::MAX;
    loop {
        let line = machine.hear();
        if line.ends_with('-') {
            assert_eq!(machine.hear(), line, "the copy is not what was copied");
            break;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let piece = Said::parse(&line);
        off = Duration::from_secs(now.as_secs().abs_diff(piece.time));
        said.push(piece);
    }
    assert!(machine.child.wait().expect("our own child").success());
    assert_eq!(said.last().map(|said| said.piece), Some(PIECES));
    for pair in said.windows(2) {
        assert!(pair[0].uptime <= pair[1].uptime, "the clock went back: {pair:?}");
    }
    assert!(off < CLOCK_MAY_BE_OFF, "{off:?} off at the end: {said:?}");
}

/// A line of what [`COPY`] says.
#[derive(Debug, Clone)]
struct Said {
    piece: usize,
    /// Seconds since the guest's boot.
    uptime: f64,
    /// Seconds since 1970.
    time: u64,
}

impl Said {
    fn parse(line: &str) -> Self {
        let words: Vec<_> = line.split_whitespace().collect();
        let [piece, uptime, time] = words[..] else { panic!("`{line}`") };
        Self {
            piece: piece.parse().expect("a number"),
            uptime: uptime.parse().expect("seconds"),
            time: time.parse().expect("seconds"),
        }
    }
}
