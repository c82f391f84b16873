//! MicroVMs that go on from where another one was saved.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bulkhead_kernels::KvmFlavour;
use bulkhead_microvm::snapshot::Manifest;

use crate::images::BUSYBOX;
use crate::lab::{Footprint, Lab, Wall, entries, wait_until};

/// Another size than the default, so that no other test's run fits a template that is
/// made here.
const MEMORY: &str = "72m";

/// What says how a clone differs from the others, a line each: its boot, its random
/// numbers, where a fresh program's stack is, its name.
pub const WHO_AM_I: &str = "cat /proc/sys/kernel/random/boot_id; \
     head -c 16 /dev/urandom | sha256sum; grep stack /proc/self/maps; hostname";

fn run(lab: &Lab, options: &[&str], command: &[&str]) -> crate::lab::Finished {
    let arguments = [options, &[BUSYBOX], command].concat();
    lab.run(Wall::MicroVm, &arguments)
}

/// Removes what a test that failed has left.
fn forget(lab: &Lab, snapshot: &str) {
    drop(lab.verb(&["snapshot", "rm", snapshot]));
}

/// The named clocks of a run.
fn clocks(lab: &Lab, options: &[&str]) -> serde_json::Value {
    let path = lab.root.with_file_name("clocks.json");
    let text = path.to_string_lossy().into_owned();
    let options = [options, &["--memory", MEMORY, "--timeline", &text]].concat();
    run(lab, &options, &["true"]).expect_code(0);
    let clocks = fs::read(&path).expect("written");
    fs::remove_file(&path).expect("ours");
    serde_json::from_slice(&clocks).expect("JSON")
}

pub fn clones_of_a_template_are_machines_of_their_own(lab: &Lab, _wall: Wall) {
    let before = Footprint::now(lab);
    let built = lab.verb(&["template", "build", "--memory", MEMORY, BUSYBOX]);
    let template = PathBuf::from(built.expect_code(0).text().trim());
    let listed = lab.verb(&["template", "ls"]);
    assert!(listed.expect_code(0).text().contains(BUSYBOX));

    let warm = clocks(lab, &[]);
    assert!(warm["state_restored"].is_u64() && warm["kernel_done"].is_null(), "{warm}");
    let cold = clocks(lab, &["--cold"]);
    assert!(cold["kernel_done"].is_u64() && cold["state_restored"].is_null(), "{cold}");

    for round in 0..5 {
        let input = format!("input {round}\n");
        let command = format!("cat; echo error >&2; exit {round}");
        let arguments = ["--memory", MEMORY, BUSYBOX, "sh", "-c", &command];
        let finished = lab.run_with_input(Wall::MicroVm, &arguments, input.as_bytes());
        finished.expect_code(round);
        assert_eq!((finished.text(), finished.stderr.as_str()), (input, "error\n"));
    }

    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let finished = run(lab, &["--memory", MEMORY], &["sh", "-c", WHO_AM_I]);
        let text = finished.expect_code(0).text();
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 4, "{text}");
        for line in lines {
            assert!(seen.insert(line), "two clones have something in common:\n{text}");
        }
    }

    let finished = run(lab, &["--memory", MEMORY], &["sh", "-c", "touch now; stat -c %Y now"]);
    let inside: u64 = finished.expect_code(0).text().trim().parse().expect("seconds");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    assert!(now.abs_diff(inside) < 30, "{inside} inside, {now} outside");

    let name = template.file_name().expect("a name").to_str().expect("digits");
    lab.verb(&["template", "rm", name]).expect_code(0);
    assert!(!template.exists());
    Footprint::settles_to(lab, &before);
}

pub fn unusable_snapshots_are_refused_with_the_reason(lab: &Lab, _wall: Wall) {
    let before = Footprint::now(lab);
    forget(lab, "kept");
    let create = ["snapshot", "create", "kept", "--memory", MEMORY, BUSYBOX];
    let dir = PathBuf::from(lab.verb(&create).expect_code(0).text().trim());
    lab.verb(&create).expect_error(1, "exists already");
    lab.verb(&["snapshot", "inspect", "kept"]).expect_code(0);

    let from = ["--from-snapshot", "kept"];
    let fits = [&from[..], &["--memory", MEMORY]].concat();
    run(lab, &fits, &["true"]).expect_code(0);
    run(lab, &from, &["true"]).expect_error(125, "72 MiB of memory");
    run(lab, &["--from-snapshot", "none"], &["true"]).expect_error(125, "no snapshot");
    let elsewhere = [&fits[..], &["--kernel", "/proc/version"]].concat();
    run(lab, &elsewhere, &["true"]).expect_error(125, "guest kernel");

    let (state, memory) = (dir.join("state"), dir.join("memory"));
    takes_no_more_than_was_touched(lab, &memory);
    let whole = fs::read(&state).expect("ours");
    let refused = |change: &dyn Fn(&mut Vec<u8>), reason: &str| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        fs::write(&state, bytes).expect("ours");
        run(lab, &fits, &["true"]).expect_error(125, reason);
    };
    refused(&|bytes| bytes[100] ^= 1, "checksum");
    refused(&|bytes| bytes.truncate(bytes.len() / 2), "cut off");
    refused(&|bytes| bytes[8] = 0, "format 0");
    refused(&|bytes| bytes.clear(), "not a snapshot");
    let changed = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = Manifest::decode(&whole).expect("whole");
        change(&mut manifest);
        manifest.encode().expect("as before")
    };
    let elsewhere = changed(&|manifest| manifest.fingerprint.flavour = another_kvm());
    refused(&|bytes| bytes.clone_from(&elsewhere), "was made under");
    let other_processor = changed(&|manifest| manifest.machine[FIRST_EAX] ^= 1);
    refused(&|bytes| bytes.clone_from(&other_processor), "CPUID leaf 0x0 differs");
    fs::write(&state, &whole).expect("ours");
    run(lab, &fits, &["true"]).expect_code(0);
    let away = memory.with_extension("away");
    fs::rename(&memory, &away).expect("ours");
    run(lab, &fits, &["true"])
        .expect_error(125, "kept/memory")
        .expect_error(125, "No such file");
    fs::rename(&away, &memory).expect("ours");
    run(lab, &fits, &["true"]).expect_code(0);
    flip_a_byte(&memory);
    run(lab, &fits, &["true"]).expect_error(125, "damaged");
    lab.verb(&["snapshot", "inspect", "kept"]).expect_error(1, "damaged");

    lab.verb(&["snapshot", "rm", "kept"]).expect_code(0);
    lab.verb(&["snapshot", "rm", "kept"]).expect_error(1, "no snapshot");
    Footprint::settles_to(lab, &before);
}

/// Where the saved state of a machine has a byte of what its processor answers to the
/// first leaf of CPUID: behind the number of answers, the length of the first (a
/// `struct kvm_cpuid_entry2`), and its leaf, index and flags of 32 bits each.
const FIRST_EAX: usize = 1 + 1 + 3 * 4;

/// One that this host does not have.
fn another_kvm() -> KvmFlavour {
    match KvmFlavour::detect() {
        KvmFlavour::Intel => KvmFlavour::Amd,
        _ => KvmFlavour::Intel,
    }
}

pub fn a_workload_goes_on_where_it_was_saved(lab: &Lab, _wall: Wall) {
    let before = Footprint::now(lab);
    forget(lab, "counted");
    let script = "n=0; while [ $n -lt 400 ]; do n=$((n+1)); echo $n; sleep 1; done";
    let options = ["--memory", MEMORY, "--name", "counting", BUSYBOX, "sh", "-c", script];
    let mut original = Counting::begin(lab, &options);
    assert_eq!((original.next(), original.next()), (1, 2));
    lab.verb(&["snapshot", "take", "counted", "counting"]).expect_code(0);
    // It goes on; what it counts from here on it had not counted when it was saved, or
    // only just.
    let last = original.next();
    original.end(lab);

    let options = ["--memory", MEMORY, "--from-snapshot", "counted", BUSYBOX];
    let more = [&options[..], &["true"]].concat();
    lab.run(Wall::MicroVm, &more).expect_error(125, "it takes no other");
    for _ in 0..2 {
        let mut clone = Counting::begin(lab, &options);
        let first = clone.next();
        assert!((3..=last + 1).contains(&first), "{first}, and {last} before");
        assert_eq!(clone.next(), first + 1);
        clone.end(lab);
    }
    lab.verb(&["snapshot", "rm", "counted"]).expect_code(0);
    Footprint::settles_to(lab, &before);
}

/// A workload that counts.
struct Counting {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Counting {
    fn begin(lab: &Lab, options: &[&str]) -> Self {
        let mut command = lab.run_command(Wall::MicroVm, options);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("bulkhead starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, lines }
    }

    fn next(&mut self) -> u32 {
        self.lines.next().expect("it counts").expect("text").parse().expect("a number")
    }

    fn end(mut self, lab: &Lab) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("our own child");
        lab.verb(&["gc"]).expect_code(0);
    }
}

pub fn a_machine_whose_memory_is_cut_off_ends_with_the_reason(lab: &Lab, _wall: Wall) {
    let before = Footprint::now(lab);
    forget(lab, "short");
    let create = ["snapshot", "create", "short", "--memory", MEMORY, BUSYBOX];
    let dir = PathBuf::from(lab.verb(&create).expect_code(0).text().trim());
    let options = ["--memory", MEMORY, "--from-snapshot", "short", BUSYBOX];
    let mut command = lab.run_command(Wall::MicroVm, &options);
    let mut child = command
        .args(["sh", "-c", "echo up; read line; exec find /"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("bulkhead starts");
    let mut output = child.stdout.take().expect("piped");
    output.read_exact(&mut [0; 3]).expect("it says that it is up");
    fs::File::options()
        .write(true)
        .open(dir.join("memory"))
        .expect("ours")
        .set_len(0)
        .expect("ours");
    // It may have ended already.
    drop(child.stdin.take().expect("piped").write_all(b"go on\n"));
    let status = wait_until(&mut child, Duration::from_secs(60));
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    assert_eq!(status.code(), Some(125), "{said}");
    assert!(said.contains("memory is gone"), "{said}");
    lab.verb(&["snapshot", "rm", "short"]).expect_code(0);
    Footprint::settles_to(lab, &before);
}

pub fn a_snapshot_goes_elsewhere_and_comes_back(lab: &Lab, _wall: Wall) {
    let before = Footprint::now(lab);
    forget(lab, "kept");
    forget(lab, "back");
    let place = lab.root.with_file_name("exported");
    drop(fs::remove_dir_all(&place));
    fs::create_dir(&place).expect("ours");
    let at = |name: &str| place.join(name).to_string_lossy().into_owned();
    let (dir, tar) = (at("layout"), at("layout.tar"));
    let create = ["snapshot", "create", "kept", "--memory", MEMORY, BUSYBOX];
    lab.verb(&create).expect_code(0);
    for path in [&dir, &tar] {
        lab.verb(&["snapshot", "export", "kept", path]).expect_code(0);
        lab.verb(&["snapshot", "export", "kept", path]).expect_error(1, "exists");
    }
    lab.verb(&["snapshot", "import", &dir]).expect_error(1, "exists already");
    lab.verb(&["snapshot", "rm", "kept"]).expect_code(0);
    let runs = |name: &str| {
        let options = ["--from-snapshot", name, "--memory", MEMORY];
        let finished = run(lab, &options, &["echo", "here"]);
        assert_eq!(finished.expect_code(0).text(), "here\n");
    };
    lab.verb(&["snapshot", "import", &tar]).expect_code(0);
    runs("kept");
    lab.verb(&["snapshot", "import", &dir, "back"]).expect_code(0);
    runs("back");
    lab.verb(&["snapshot", "rm", "kept", "back"]).expect_code(0);

    // Damaged, cut off, something else.
    let blobs = entries(&Path::new(&dir).join("blobs/sha256"));
    let size = |path: &PathBuf| fs::metadata(path).expect("ours").len();
    let memory = blobs.iter().max_by_key(|path| size(path)).expect("a layer");
    flip_a_byte(memory);
    lab.verb(&["snapshot", "import", &dir]).expect_error(1, "has the digest");
    let short = fs::File::options().write(true).open(&tar).expect("ours");
    short.set_len(size(&PathBuf::from(&tar)) / 2).expect("ours");
    lab.verb(&["snapshot", "import", &tar]).expect_error(1, "not a proper archive");
    let index = Path::new(&dir).join("index.json");
    fs::write(&index, r#"{"schemaVersion":2,"manifests":[]}"#).expect("ours");
    lab.verb(&["snapshot", "import", &dir]).expect_error(1, "0 images");
    lab.verb(&["snapshot", "import", &at("none")]).expect_error(1, "none");

    fs::remove_dir_all(&place).expect("ours");
    Footprint::settles_to(lab, &before);
}

pub fn a_machine_keeps_the_memory_of_a_snapshot_that_is_removed(lab: &Lab, _wall: Wall) {
    let before = Footprint::now(lab);
    forget(lab, "removed");
    lab.verb(&["snapshot", "create", "removed", "--memory", MEMORY, BUSYBOX]).expect_code(0);
    let options = ["--memory", MEMORY, "--from-snapshot", "removed", BUSYBOX];
    let mut command = lab.run_command(Wall::MicroVm, &options);
    let mut child = command
        .args(["sh", "-c", "echo up; read line; find /bin | wc -l; exit 9"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("bulkhead starts");
    let mut output = child.stdout.take().expect("piped");
    output.read_exact(&mut [0; 3]).expect("it says that it is up");
    lab.verb(&["snapshot", "rm", "removed"]).expect_code(0);
    child.stdin.take().expect("piped").write_all(b"go on\n").expect("it listens");
    assert_eq!(wait_until(&mut child, Duration::from_secs(60)).code(), Some(9));
    let mut said = String::new();
    output.read_to_string(&mut said).expect("text");
    assert!(said.trim().parse::<u32>().is_ok_and(|files| files > 10), "{said}");
    Footprint::settles_to(lab, &before);
}

/// On the disk, but for a mebibyte: what the guest has not touched is a hole.
fn takes_no_more_than_was_touched(lab: &Lab, memory: &Path) {
    use std::os::unix::fs::MetadataExt;
    const PAGE: u64 = 4096;
    const BLOCK: u64 = 512;
    let inspected = lab.verb(&["snapshot", "inspect", "kept"]);
    let inspected: serde_json::Value =
        serde_json::from_str(&inspected.expect_code(0).text()).expect("JSON");
    let pages = inspected["memory_pages"].as_u64().expect("a number");
    let file = fs::metadata(memory).expect("ours");
    assert_eq!(file.len(), 72 << 20, "as much as MEMORY says");
    let used = file.blocks() * BLOCK;
    assert!(used <= pages * PAGE + (1 << 20), "{used} bytes of disk for {pages} pages");
    assert!(pages * PAGE < file.len() / 2, "{pages} pages of a guest that does nothing");
}

/// In the middle of a file.
fn flip_a_byte(path: &Path) {
    use std::os::unix::fs::FileExt;
    let file = fs::File::options().read(true).write(true).open(path).expect("ours");
    let middle = file.metadata().expect("ours").len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).expect("inside");
    file.write_all_at(&[byte[0] ^ 1], middle).expect("ours");
}
