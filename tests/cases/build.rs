//! Building: commands behind both walls, and what of it stays. Dockerfiles without
//! commands are in `image/tests/build.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::images::BUSYBOX;
use crate::lab::{Finished, Footprint, Lab, Wall, entries, finish, wait_until};

/// What nothing in an image is later than, where two are to be the same.
const EPOCH: &str = "1600000000";

/// An empty directory of this test's own, with a Dockerfile.
fn context(name: &str, dockerfile: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("build").join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("a writable target directory");
    let text = dockerfile.replace("BUSYBOX", BUSYBOX);
    fs::write(dir.join("Dockerfile"), text).expect("written");
    dir
}

fn build(lab: &Lab, wall: Wall, context: &Path, arguments: &[&str]) -> Finished {
    let mut command = lab.command(["build", "--isolation", wall.name()]);
    command.args(arguments).arg(context).env("SOURCE_DATE_EPOCH", EPOCH);
    finish(command, b"")
}

/// Everything a command can do to files, in one layer, so that a microVM boots once.
const EVERYTHING: &str = r#"FROM BUSYBOX
ARG WHO=nobody
ENV GREETING="hello $WHO"
WORKDIR /work
COPY <<END /work/old/file
old
END
RUN echo "$GREETING" > made && ln made linked && ln -s made soft && mknod pipe p && \
    mkdir -p deep/er && chmod 2750 deep && chown 1000:2000 made && touch "a b" deep-er deep/er/x && \
    rm -r /home/user && rm -r old && mkdir old && echo new > old/new && rm /bin/yes && \
    echo "$WHO" > /etc/hello && dd if=/dev/zero of=big bs=1000 count=300 2>/dev/null && \
    echo said && echo complained >&2 && id -u
CMD ["cat", "/work/linked"]
"#;

pub fn commands_change_the_image(lab: &Lab, wall: Wall) {
    let dir = context("everything", EVERYTHING);
    let name = format!("everything-{}", wall.name());
    let arguments = ["--no-cache", "-t", &name, "--build-arg", "WHO=you"];
    let built = build(lab, wall, &dir, &arguments);
    built.expect_code(0);
    for line in ["said", "complained"] {
        assert!(built.stderr.contains(line), "{}", built.stderr);
    }
    // One wall is enough to look at it: that both show the same is another test's.
    let script = "cat /work/linked /work/soft /etc/hello /work/old/*; ls /work/old /home; \
        stat -c '%a %u:%g %h' /work/made; stat -c '%a %u:%g' /work/deep; stat -c %s /work/big; \
        test -p /work/pipe && test -e '/work/a b' && test ! -e /bin/yes && echo all";
    let seen = lab.run(Wall::Container, &[&name, "sh", "-c", script]);
    assert_eq!(
        seen.expect_code(0).text(),
        "hello you\nhello you\nyou\nnew\n/home:\n\n/work/old:\nnew\n644 1000:2000 2\n\
         2750 0:0\n300000\nall\n"
    );
    let ran = lab.run(Wall::Container, &[&name]);
    assert_eq!(ran.expect_code(0).text(), "hello you\n");
    let again = build(lab, wall, &dir, &arguments[1..]);
    assert!(again.expect_code(0).stderr.contains("CACHED"), "{}", again.stderr);
    assert_eq!(again.text(), built.text());
}

pub fn both_walls_make_the_same_layers(lab: &Lab, _: Wall) {
    let dir = context("same", EVERYTHING);
    let [one, other] = [Wall::Container, Wall::MicroVm]
        .map(|wall| build(lab, wall, &dir, &["--no-cache", "-q"]).expect_code(0).text());
    assert_eq!(one, other, "the same steps, the same image, byte for byte");
}

pub fn two_builds_are_the_same(lab: &Lab, wall: Wall) {
    let dir = context("reproducible", EVERYTHING);
    let first = build(lab, wall, &dir, &["--no-cache", "-q"]).expect_code(0).text();
    thread::sleep(Duration::from_millis(1100));
    let second = build(lab, wall, &dir, &["--no-cache", "-q"]).expect_code(0).text();
    assert_eq!(first, second);
}

/// Here-documents in all their places, the forms of `RUN`, and a command that fails.
const SCRIPTS: &str = r#"FROM BUSYBOX
ARG A=arg
RUN <<END
set -e
echo $A > /script
cat <<IN >> /script
in
IN
END
RUN cat <<'ONE' > /quoted && cat <<TWO >> /quoted
$A
ONE
$A
TWO
RUN <<END
#!/bin/cat
as a file
END
RUN ["sh", "-c", "echo $0 > /exec"]
WORKDIR /home/user
USER user
RUN id -un > /tmp/who && pwd >> /tmp/who
USER root
SHELL ["/bin/sh", "-ec"]
RUN false; touch /not-reached
"#;

pub fn scripts_users_and_shells_are_as_asked(lab: &Lab, wall: Wall) {
    let dir = context("scripts", SCRIPTS);
    let built = build(lab, wall, &dir, &["-t", "scripts"]);
    built.expect_error(1, "Dockerfile:25:1: RUN false; touch");
    built.expect_error(1, "exit code 1");
    assert!(built.stderr.contains("as a file"), "{}", built.stderr);
    // All steps before the one that failed are there.
    let text = fs::read_to_string(dir.join("Dockerfile")).expect("ours");
    let text = text.replace("RUN false; touch /not-reached", "RUN true");
    fs::write(dir.join("Dockerfile"), text).expect("written");
    let built = build(lab, wall, &dir, &["-t", "scripts"]);
    assert!(built.expect_code(0).stderr.matches("CACHED").count() >= 5, "{}", built.stderr);
    let seen = lab.run(wall, &["scripts", "cat", "/script", "/quoted", "/exec", "/tmp/who"]);
    assert_eq!(seen.expect_code(0).text(), "arg\nin\n$A\narg\nsh\nuser\n/home/user\n");
}

/// Several steps, one of which takes a while.
const STEPS: &str = "FROM BUSYBOX\nRUN echo 1 > /one\nCOPY <<END /two\n2\nEND\n\
    RUN sleep 0.2; echo 3 > /three\n";

pub fn killed_builds_are_collected(lab: &Lab, wall: Wall) {
    let before = Footprint::now(lab);
    let dir = context("killed", STEPS);
    for round in 0..12_u32 {
        let mut child = begun(lab, wall, &dir, &["--no-cache"]);
        thread::sleep(Duration::from_millis(u64::from(round) * 35));
        child.kill().expect("our own child");
        child.wait().expect("our own child");
    }
    lab.verb(&["gc"]).expect_code(0);
    Footprint::settles_to(lab, &before);
    nothing_half_made(lab);
    build(lab, wall, &dir, &["-t", "survivor"]).expect_code(0);
    let seen = lab.run(wall, &["survivor", "cat", "/one", "/two", "/three"]);
    assert_eq!(seen.expect_code(0).text(), "1\n2\n3\n");
}

pub fn an_interrupted_build_leaves_nothing(lab: &Lab, wall: Wall) {
    let before = Footprint::now(lab);
    let dir = context("interrupted", "FROM BUSYBOX\nRUN echo begun; sleep 1000\n");
    let mut child = begun(lab, wall, &dir, &[]);
    thread::sleep(Duration::from_millis(700));
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    kill(pid, Signal::SIGINT).expect("it runs");
    let status = wait_until(&mut child, Duration::from_secs(60));
    assert_eq!(status.code(), Some(130));
    Footprint::settles_to(lab, &before);
    nothing_half_made(lab);
}

fn begun(lab: &Lab, wall: Wall, dir: &Path, arguments: &[&str]) -> Child {
    let mut command = lab.command(["build", "--isolation", wall.name()]);
    command.args(arguments).arg(dir).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("bulkhead starts")
}

/// Nothing of a build is left in the store but its cache.
fn nothing_half_made(lab: &Lab) {
    assert_eq!(entries(&lab.store.join("builds")), Vec::<PathBuf>::new());
}

pub fn a_rebuild_does_nothing_again(lab: &Lab, _: Wall) {
    let mut dockerfile = "FROM BUSYBOX\nRUN echo 1 > /one\n".to_owned();
    for number in 0..40 {
        dockerfile += &format!("ENV V{number}=1\nCOPY <<END /f{number}\n{number}\nEND\n");
    }
    let dir = context("many", &dockerfile);
    let first = build(lab, Wall::Container, &dir, &[]).expect_code(0).text();
    let again = build(lab, Wall::Container, &dir, &[]);
    assert_eq!(again.expect_code(0).text(), first);
    assert_eq!(again.stderr.matches("CACHED").count(), 41, "{}", again.stderr);
}
