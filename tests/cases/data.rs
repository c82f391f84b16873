//! Volumes and files of the host, behind both walls.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::images::BUSYBOX;
use crate::lab::{Finished, Footprint, Lab, Wall, wait_until};

/// An empty directory of the host, beside which there is a secret.
struct Place(PathBuf);

impl Place {
    fn new(lab: &Lab, name: &str) -> Self {
        let place = lab.root.with_file_name(format!("data-{name}"));
        let _ = fs::remove_dir_all(&place);
        fs::create_dir_all(place.join("shared")).expect("a directory");
        fs::create_dir(place.join("outside")).expect("a directory");
        fs::write(place.join("outside/file"), "SECRET").expect("a file");
        Self(place)
    }

    fn shared(&self) -> PathBuf {
        self.0.join("shared")
    }

    /// `-v` for it.
    fn on(&self, target: &str) -> String {
        format!("{}:{target}", self.shared().display())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn sh(lab: &Lab, wall: Wall, options: &[&str], script: &str) -> Finished {
    lab.run(wall, &[options, &[BUSYBOX, "sh", "-c", script]].concat())
}

fn data_of(lab: &Lab, volume: &str) -> PathBuf {
    lab.store.join("volumes").join(volume).join("_data")
}

fn remove(lab: &Lab, volume: &str) {
    lab.verb(&["volume", "rm", "-f", volume]).expect_code(0);
}

/// What leaves its mark on everything a file has.
const WRITES: &str = "set -e; cd /d
echo one > a; ln a hard; mkdir -m 2750 dir; mv hard dir/moved; echo two >> a
ln -s a soft; ln -s ../../../etc/passwd up; mkfifo fifo
dd if=/dev/zero of=sparse bs=1 count=1 seek=1048575 2>/dev/null
echo gone > gone; exec 3<gone; rm gone; cat <&3
chown 1000:1001 a; chmod 640 a; touch -d '2001-02-03 04:05:06' a
cat soft; mkdir empty; rmdir empty; sync";

fn check_writes(data: &Path) {
    let read = fs::read_to_string(data.join("a")).expect("written");
    assert_eq!(read, "one\ntwo\n");
    let a = data.join("a").metadata().expect("there");
    assert_eq!((a.uid(), a.gid(), a.mode() & 0o7777, a.nlink()), (1000, 1001, 0o640, 2));
    assert_eq!(a.mtime(), 981_173_106);
    assert_eq!(data.join("dir/moved").metadata().expect("there").ino(), a.ino());
    assert_eq!(data.join("dir").metadata().expect("there").mode() & 0o7777, 0o2750);
    let target = fs::read_link(data.join("up")).expect("a link");
    assert_eq!(target, Path::new("../../../etc/passwd"));
    let sparse = data.join("sparse").metadata().expect("there");
    assert!(sparse.len() == 1 << 20 && sparse.blocks() < 64, "{} blocks", sparse.blocks());
    let names = fs::read_dir(data).expect("readable").count();
    assert_eq!(names, 6, "a, dir, soft, up, fifo, sparse");
}

pub fn what_is_written_to_a_volume_is_the_hosts(lab: &Lab, wall: Wall) {
    remove(lab, "written");
    let before = Footprint::now(lab);
    let run = sh(lab, wall, &["-v", "written:/d"], WRITES);
    assert_eq!(run.expect_code(0).text(), "gone\none\ntwo\n");
    check_writes(&data_of(lab, "written"));
    Footprint::settles_to(lab, &before);
    remove(lab, "written");
}

pub fn a_volume_is_the_same_on_either_wall(lab: &Lab, wall: Wall) {
    remove(lab, "both");
    // Each line of a long listing, and each byte.
    let show = "cd /d; ls -lnR --full-time | grep -v ^total; cat a; sha256sum big";
    let make = format!("{WRITES}; dd if=/dev/urandom of=big bs=64k count=50 2>/dev/null");
    sh(lab, Wall::Container, &["-v", "both:/d"], &make).expect_code(0);
    let there = sh(lab, Wall::Container, &["-v", "both:/d"], show).expect_code(0).text();
    // It reads what the other has written, and changes it.
    let change = format!("{show}; echo three >> a; chown 7:8 big; mv a b; ln -s b a");
    let here = sh(lab, wall, &["-v", "both:/d"], &change).expect_code(0).text();
    assert_eq!(here, there);
    let show = "cd /d; cat a; stat -c '%u %g %a' big; ls";
    let back = sh(lab, Wall::Container, &["-v", "both:/d"], show).expect_code(0).text();
    let expected = "one\ntwo\nthree\n7 8 644\na\nb\nbig\ndir\nfifo\nsoft\nsparse\nup\n";
    assert_eq!(back, expected);
    remove(lab, "both");
}

pub fn what_is_read_only_is_not_written(lab: &Lab, wall: Wall) {
    let place = Place::new(lab, "ro");
    fs::write(place.shared().join("file"), "content\n").expect("written");
    let file = place.0.join("outside/file");
    let single = format!("type=bind,source={},target=/etc/single", file.display());
    let options = ["-v", &place.on("/d:ro"), "--mount", &single, "--tmpfs", "/d2/t:size=64k"];
    let script = "cat /d/file /etc/single; echo changed > /etc/single; touch /d2/t/x
        echo x > /d/file || echo refused; rm /d/file || echo refused; touch /d/new || echo refused
        chmod 777 /d/file || echo refused; mount -o remount,rw /d || echo refused
        dd if=/dev/zero of=/d2/t/full bs=1k count=100 2>&1 | grep -c 'No space'";
    let run = sh(lab, wall, &options, script);
    let said = "content\nSECRETrefused\nrefused\nrefused\nrefused\nrefused\n1\n";
    assert_eq!(run.expect_code(0).text(), said, "{}", run.stderr);
    assert_eq!(fs::read_to_string(file).expect("there"), "changed\n");
    let left: Vec<_> = fs::read_dir(place.shared()).expect("readable").collect();
    assert_eq!(left.len(), 1);
    let file = place.shared().join("file");
    assert_eq!(fs::read_to_string(&file).expect("there"), "content\n");
    assert_eq!(file.metadata().expect("there").permissions().mode() & 0o777, 0o644);
}

pub fn a_share_has_no_way_out(lab: &Lab, wall: Wall) {
    let place = Place::new(lab, "escape");
    let (shared, outside) = (place.shared(), place.0.join("outside"));
    symlink(&outside, shared.join("absolute")).expect("a link");
    symlink("../outside", shared.join("relative")).expect("a link");
    fs::create_dir(shared.join("real")).expect("a directory");
    fs::write(shared.join("real/file"), "harmless\n").expect("a file");
    // While the guest walks, what is a directory now is a link out in a moment.
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let names = ["swap", "there", "link"].map(|name| shared.join(name));
            let [swap, there, link] = &names;
            symlink(&outside, link).expect("a link");
            fs::rename(shared.join("real"), there).expect("renamed");
            while !done.load(Ordering::Acquire) {
                fs::rename(there, swap).expect("renamed");
                fs::rename(swap, there).expect("renamed");
                fs::rename(link, swap).expect("renamed");
                fs::rename(swap, link).expect("renamed");
            }
        });
        let script = "ls /d/..; cat /d/absolute/file /d/relative/file /d/../outside/file
            i=0; while [ $i -lt 60 ]; do i=$((i+1)); read x < /d/swap/file && echo $x
            read x < /d/there/../swap/file && echo $x; read x < /d/swap/../../outside/file && echo $x
            echo new > /d/swap/made; done; true";
        let run = sh(lab, wall, &["-v", &place.on("/d")], script);
        done.store(true, Ordering::Release);
        let text = run.expect_code(0).text();
        assert!(text.contains("etc\n"), "above a share is the image: {text}");
        assert!(!text.contains("SECRET"), "{text}");
    });
    let outside: Vec<_> = fs::read_dir(outside).expect("readable").collect();
    assert_eq!(outside.len(), 1, "something was made outside");
}

/// Whatever happens, what a program was told is on the disk is in the volume.
pub fn what_was_synced_survives_a_kill(lab: &Lab, wall: Wall) {
    let before = Footprint::now(lab);
    remove(lab, "journal");
    let script = "i=0; while :; do i=$((i+1))
        echo record $i end | dd of=/d/log conv=notrunc,fsync oflag=append 2>/dev/null && echo $i; done";
    let rounds: &[u64] = if wall == Wall::MicroVm { &[900] } else { &[20, 90, 250, 400] };
    let mut told = 0;
    for wait_ms in rounds {
        let mut command =
            lab.run_command(wall, &["-v", "journal:/d", BUSYBOX, "sh", "-c", script]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("bulkhead starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        // It has begun; from here on, any moment is as good as another.
        let first = lines.next().expect("a line").expect("text");
        thread::sleep(Duration::from_millis(*wait_ms));
        child.kill().expect("it runs");
        wait_until(&mut child, Duration::from_secs(10));
        let last = lines.map_while(Result::ok).last().unwrap_or(first);
        told += last.parse::<usize>().expect("a number");
        let log = fs::read_to_string(data_of(lab, "journal").join("log")).expect("there");
        let whole = |line: &str| line.starts_with("record ") && line.ends_with(" end");
        let records = log.lines().filter(|line| whole(line)).count();
        assert!(records >= told, "{records} records of {told} that were on the disk");
        // What was being written when it happened is at the end, if anywhere.
        assert!(log.lines().all(whole), "{log}");
        told = records;
    }
    lab.verb(&["gc"]).expect_code(0);
    Footprint::settles_to(lab, &before);
    remove(lab, "journal");
}

pub fn both_walls_append_at_once(lab: &Lab, wall: Wall) {
    remove(lab, "shared");
    lab.verb(&["volume", "create", "shared"]).expect_code(0);
    let script = |who: &str, count: u32| {
        format!("i=0; while [ $i -lt {count} ]; do i=$((i+1)); echo {who} $i >> /d/log; done")
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            sh(lab, wall, &["-v", "shared:/d"], &script("m", 40)).expect_code(0);
        });
        let log = data_of(lab, "shared").join("log");
        let started = Instant::now();
        while !log.exists() && started.elapsed() < Duration::from_secs(120) {
            thread::sleep(Duration::from_millis(5));
        }
        let run = sh(lab, Wall::Container, &["-v", "shared:/d"], &script("c", 2000));
        run.expect_code(0);
        lab.verb(&["volume", "rm", "shared"]).expect_error(1, "in use");
    });
    let log = fs::read_to_string(data_of(lab, "shared").join("log")).expect("written");
    for (who, count) in [("m", 40), ("c", 2000)] {
        let lines = log.lines().filter_map(|line| line.strip_prefix(who)?.trim().parse().ok());
        assert_eq!(lines.collect::<Vec<u32>>(), (1..=count).collect::<Vec<_>>(), "{who}");
    }
    remove(lab, "shared");
}

pub fn volumes_come_and_go(lab: &Lab, wall: Wall) {
    remove(lab, "named");
    let made = lab.verb(&["volume", "create", "--label", "of=test", "named"]);
    assert_eq!(made.expect_code(0).text(), "named\n");
    let random = lab.verb(&["volume", "create"]).expect_code(0).text();
    let list = |filter: &str| {
        let found = lab.verb(&["volume", "ls", "-q", "--filter", filter]);
        found.expect_code(0).text()
    };
    assert_eq!(list("label=of=test"), "named\n");
    assert_eq!(list("label=of=other"), "");
    let shown = lab.verb(&["volume", "inspect", "named"]).expect_code(0).text();
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown[0]["labels"]["of"], "test");
    assert_eq!(shown[0]["mountpoint"], data_of(lab, "named").to_str().expect("text"));
    // What nobody named and a run brought is gone with it.
    let before = list("dangling=true");
    sh(lab, wall, &["-v", "/anonymous", "-v", "named:/d"], "touch /anonymous/x /d/x")
        .expect_code(0);
    assert_eq!(list("dangling=true"), before);
    assert_eq!(lab.verb(&["volume", "prune"]).expect_code(0).text(), random);
    assert_eq!(list("label=of=test"), "named\n");
    // As long as somebody uses it, it stays.
    let arguments = ["-v", "named:/d", BUSYBOX, "sh", "-c", "echo up; sleep 600"];
    let mut user = lab.run_command(wall, &arguments);
    let mut user = user.stdout(Stdio::piped()).spawn().expect("bulkhead starts");
    let mut line = String::new();
    BufReader::new(user.stdout.take().expect("piped")).read_line(&mut line).expect("up");
    lab.verb(&["volume", "rm", "named"]).expect_error(1, "in use");
    assert_eq!(lab.verb(&["volume", "prune", "-a"]).expect_code(0).text(), "");
    user.kill().expect("it runs");
    wait_until(&mut user, Duration::from_secs(10));
    lab.verb(&["gc"]).expect_code(0);
    lab.verb(&["volume", "rm", "named"]).expect_code(0);
    lab.verb(&["volume", "rm", "named"]).expect_error(1, "no volume");
}

pub fn a_new_volume_begins_with_the_images_files(lab: &Lab, wall: Wall) {
    remove(lab, "copied");
    let listing = "ls -ln /etc | tail -n +2";
    let image = sh(lab, wall, &[], listing).expect_code(0).text();
    assert_eq!(sh(lab, wall, &["-v", "copied:/etc"], listing).expect_code(0).text(), image);
    // One that has something keeps it.
    let kept = sh(lab, wall, &["-v", "copied:/bin2"], "ls /bin2 | wc -l").expect_code(0).text();
    assert_eq!(kept.trim(), image.lines().count().to_string());
    remove(lab, "copied");
    let empty = "type=volume,source=copied,target=/etc,volume-nocopy";
    assert_eq!(sh(lab, wall, &["--mount", empty], "ls /etc").expect_code(0).text(), "");
    remove(lab, "copied");
}

pub fn odd_mounts_are_refused(lab: &Lab, _wall: Wall) {
    for (option, said) in [
        ("a/b:/d", "no name for a volume"),
        ("a b:/d", "no name for a volume"),
        ("x:d", "not an absolute path"),
        ("x:/", "nothing can be mounted"),
        ("x:/proc/sys", "nothing can be mounted"),
        ("x:/d:rx", "unknown option"),
        ("/not/there:/d", "cannot mount"),
    ] {
        for wall in [Wall::Container, Wall::MicroVm] {
            lab.run(wall, &["-v", option, BUSYBOX, "true"]).expect_error(125, said);
        }
    }
    lab.run(Wall::Container, &["-v", "x:/d", "--tmpfs", "/d", BUSYBOX, "true"])
        .expect_error(125, "two mounts");
    for name in ["../x", "a/b", ".hidden", "-x", "a b", ""] {
        lab.verb(&["volume", "create", "--", name]).expect_error(2, "no name");
    }
}
