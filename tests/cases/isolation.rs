//! What a workload can see and touch by default.

use std::fs;
use std::path::Path;

use crate::images::BUSYBOX;
use crate::lab::{Lab, Wall};

pub fn nothing_of_the_host_is_visible(lab: &Lab, wall: Wall) {
    let secret = lab.store.join("secret-of-the-host");
    fs::write(&secret, "secret").expect("a file on the host");
    let script = format!(
        "ls -d /proc/[0-9]* | wc -l; test -e {} && echo seen; ls /sys/class/net; \
         cat /proc/net/route | wc -l; ls /root | wc -l; ls /dev | tr '\\n' ' '",
        secret.display()
    );
    let run = lab.run(wall, &[BUSYBOX, "sh", "-c", &script]);
    run.expect_code(0);
    let said = run.text();
    let lines: Vec<&str> = said.lines().collect();
    let processes: usize = lines[0].parse().expect("a count");
    assert!(processes <= 4, "{processes} processes are visible");
    assert_eq!(lines[1..4], ["lo", "1", "0"], "network interfaces, routes, files of root");
    let devices = "console core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero";
    for device in lines[4].split_whitespace() {
        assert!(devices.split(' ').any(|known| known == device), "/dev/{device} is visible");
    }
    fs::remove_file(secret).expect("removed");
}

pub fn writes_are_gone_after_exit(lab: &Lab, wall: Wall) {
    let script =
        "echo changed > /etc/passwd && rm /bin/not-executable && echo new > /new && cat /new";
    let run = lab.run(wall, &[BUSYBOX, "sh", "-c", script]);
    run.expect_code(0);
    assert_eq!(run.text(), "new\n");
    let look = "test ! -e /new && test -e /bin/not-executable && head -n 1 /etc/passwd";
    let run = lab.run(wall, &[BUSYBOX, "sh", "-c", look]);
    run.expect_code(0);
    assert!(run.text().starts_with("root:"), "{}", run.text());
}

pub fn a_read_only_root_refuses_writes(lab: &Lab, wall: Wall) {
    let script = "touch /new 2>/dev/null && echo written; touch /dev/shm/ok && echo shm";
    let run = lab.run(wall, &["--read-only", BUSYBOX, "sh", "-c", script]);
    assert_eq!(run.text(), "shm\n", "{}", run.stderr);
}

pub fn privileges_are_dropped(lab: &Lab, wall: Wall) {
    let run = lab.run(wall, &[BUSYBOX, "cat", "/proc/self/status"]);
    run.expect_code(0);
    let said = run.text();
    let field = |name: &str| {
        let line = said.lines().find(|line| line.starts_with(&format!("{name}:")));
        line.and_then(|line| line.split('\t').nth(1)).expect("a field of status").to_owned()
    };
    // docker's default set: chown dac_override fowner fsetid kill setgid setuid setpcap
    // net_bind_service net_raw sys_chroot mknod audit_write setfcap.
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(field(set), "00000000a80425fb", "{set}");
    }
    assert_eq!((field("NoNewPrivs").as_str(), field("Seccomp").as_str()), ("1", "2"));
    let run = lab.run(wall, &["-u", "1000", BUSYBOX, "grep", "CapEff", "/proc/self/status"]);
    assert_eq!(run.text(), "CapEff:\t0000000000000000\n");
}

pub fn system_calls_are_filtered(lab: &Lab, wall: Wall) {
    let script = "mount -t tmpfs none /tmp 2>&1; hostname other 2>&1; mknod /tmp/disk b 8 0 && cat /tmp/disk 2>&1; \
                  echo 1 > /proc/sys/vm/drop_caches; dmesg 2>&1 | head -n 1; ls /proc/acpi /sys/firmware | wc -l";
    let run = lab.run(wall, &[BUSYBOX, "sh", "-c", script]);
    let said = format!("{}{}", run.text(), run.stderr);
    assert!(
        said.matches("not permitted").count() + said.matches("denied").count() >= 3,
        "{said}"
    );
    assert!(said.contains("Read-only file system"), "{said}");
    let caches = Path::new("/proc/sys/vm/drop_caches");
    assert!(caches.exists(), "the attempt was on a file that exists");
}
