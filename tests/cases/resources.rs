//! Limits beyond memory, processors and processes, and changing them.

use crate::images::BUSYBOX;
use crate::lab::{Footprint, Lab, Wall};
use crate::running::Running;

pub fn limits_of_the_process_are_seen_inside(lab: &Lab, wall: Wall) {
    let script = "ulimit -n; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj;
        df -k /dev/shm | tail -1 | awk '{print $2}'";
    let options = ["--ulimit", "nofile=100:200", "--ulimit", "core=0", "--shm-size", "3m"];
    let more = ["--oom-score-adj", "321", BUSYBOX, "sh", "-c", script];
    let seen = lab.run(wall, &[&options[..], &more].concat()).expect_code(0).text();
    assert_eq!(seen, "100\n200\n0\n321\n3072\n");
}

pub fn processors_are_chosen_and_changed(lab: &Lab, wall: Wall) {
    let before = Footprint::now(lab);
    let options = ["--cpuset-cpus", "0", BUSYBOX];
    let running = Running::start(lab, wall, "confined", &options, "echo up; cat");
    let allowed = || -> Vec<String> {
        let json = lab.verb(&["stats", "confined", "--format", "json"]).expect_code(0).text();
        assert!(json.contains("confined"), "{json}");
        let record = std::fs::read_to_string(lab.root.join("confined/state.json")).expect("it");
        let record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
        let pid = record["pid"].as_i64().expect("a process");
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("its threads");
        let mut lists: Vec<String> = tasks
            .map(|task| {
                let path = task.expect("a thread").path().join("status");
                let status = std::fs::read_to_string(path).expect("its status");
                let line = status.lines().find_map(|it| it.strip_prefix("Cpus_allowed_list:"));
                line.expect("a list").trim().to_owned()
            })
            .collect();
        lists.dedup();
        lists
    };
    assert_eq!(allowed(), ["0"]);
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").expect("sysfs");
    let all = online.trim();
    assert_eq!(
        lab.verb(&["update", "--cpuset-cpus", all, "confined"]).expect_code(0).text(),
        "confined\n"
    );
    assert_eq!(allowed(), [all]);
    running.end();
    Footprint::settles_to(lab, &before);
}

pub fn limits_change_while_it_runs(lab: &Lab, wall: Wall) {
    let before = Footprint::now(lab);
    let running =
        Running::start(lab, wall, "changing", &["-m", "64m", BUSYBOX], "echo up; cat");
    let update = |options: &[&str]| lab.verb(&[&["update"], options, &["changing"]].concat());
    let limit = || {
        let json = lab.verb(&["stats", "changing", "--format", "json"]).expect_code(0).text();
        let rows: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        rows[0]["memory_limit_bytes"].as_u64()
    };
    assert_eq!(limit(), Some(64 << 20));
    // Up and down, past what memory and swap together were limited to.
    for mebibytes in [128_u64, 32, 64] {
        update(&["-m", &format!("{mebibytes}m")]).expect_code(0);
        assert_eq!(limit(), Some(mebibytes << 20));
    }
    update(&["--cpus", "0.5", "--cpu-shares", "512", "--pids-limit", "3"]).expect_code(0);
    let forked =
        lab.verb(&["exec", "changing", "sh", "-c", "(sleep 1 & sleep 1 & sleep 1 & wait)"]);
    assert_ne!(forked.code, Some(0), "{}", forked.text());
    running.end();
    update(&["--cpus", "1"]).expect_error(1, "no sandbox called changing");
    Footprint::settles_to(lab, &before);
}

pub fn what_a_machine_has_not_is_refused(lab: &Lab, wall: Wall) {
    let before = Footprint::now(lab);
    for (option, value, what) in [
        ("--memory-reservation", "16m", "a reservation of memory"),
        ("--cpu-shares", "512", "a share of processor time"),
        ("--blkio-weight", "100", "limits of the host's disks"),
    ] {
        let refused = lab.run(wall, &[option, value, BUSYBOX, "true"]);
        refused.expect_error(125, "a microVM cannot have").expect_error(125, what);
    }
    let swap = ["--memory", "64m", "--memory-swap", "128m", BUSYBOX, "true"];
    lab.run(wall, &swap).expect_error(125, "a microVM cannot have swap");
    Footprint::settles_to(lab, &before);
}
