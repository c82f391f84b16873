//! Images to and from a real registry, and what other tools make of what is written.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::images::BUSYBOX;
use crate::lab::{Finished, Lab, Wall, finish};

/// How long a registry takes to listen.
const LISTENS_WITHIN: Duration = Duration::from_secs(30);

/// The user `ali`, whose password is [`PASSWORD`], as bcrypt has it.
const USERS: &str = "ali:$2b$04$GzEJdKG9Z.3WsB5RIfX46.m31JKZmzGxh9IqGkhOy3tANoC99Cm3.\n";
const PASSWORD: &[u8] = b"open sesame\n";

/// Debian's docker-registry on loopback, with its files in `dir`.
struct Registry {
    program: Child,
    address: String,
}

impl Registry {
    fn start(dir: &Path, users: Option<&str>) -> Self {
        let port = {
            let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
            free.local_addr().expect("bound").port()
        };
        let address = format!("127.0.0.1:{port}");
        let mut config = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage:\n  filesystem: {{ rootdirectory: {} }}\n\
             http: {{ addr: '{address}' }}\n",
            dir.join("registry").display()
        );
        if let Some(users) = users {
            let file = dir.join("users");
            fs::write(&file, users).expect("written");
            config +=
                &format!("auth:\n  htpasswd: {{ realm: test, path: {} }}\n", file.display());
        }
        let file = dir.join("registry.yml");
        fs::write(&file, config).expect("written");
        let program = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed");
        let started = Instant::now();
        while std::net::TcpStream::connect(&address).is_err() {
            assert!(started.elapsed() < LISTENS_WITHIN, "the registry does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        Self { program, address }
    }

    fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// A directory of this test's own, empty.
fn place(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("a writable target directory");
    dir
}

/// A laboratory with a store in which there is nothing yet.
fn elsewhere(lab: &Lab, dir: &Path) -> Lab {
    Lab { store: dir.join("store"), root: lab.root.clone() }
}

/// Digest of the manifest, configuration and layers of an image.
fn digests(lab: &Lab, image: &str) -> serde_json::Value {
    let shown = lab.verb(&["image", "inspect", image]);
    let mut shown: serde_json::Value =
        serde_json::from_slice(&shown.expect_code(0).stdout).expect("JSON");
    shown.as_object_mut().expect("an object").remove("config");
    shown
}

/// Runs another program to its end, which must be a good one.
#[track_caller]
fn done(program: &str, arguments: &[&str]) -> Finished {
    let mut command = Command::new(program);
    command.args(arguments);
    let finished = finish(command, b"");
    finished.expect_code(0);
    finished
}

pub fn what_is_pushed_and_pulled_runs_and_is_the_same(lab: &Lab, wall: Wall) {
    let dir = place("pushed");
    let registry = Registry::start(&dir, None);
    let name = registry.name("test/busybox:1");
    lab.verb(&["push", BUSYBOX, &name]).expect_code(0);
    let there = elsewhere(lab, &dir);
    there.verb(&["pull", &name]).expect_code(0);
    assert_eq!(digests(&there, &name), digests(lab, BUSYBOX));
    let ran = there.run(wall, &[&name, "cat", "/etc/group"]);
    assert!(ran.expect_code(0).text().contains("extra:x:2000:user"));

    // Nothing has to be sent or fetched twice.
    lab.verb(&["push", BUSYBOX, &name]).expect_code(0);
    assert!(there.verb(&["pull", &name]).expect_code(0).text().contains("already here"));
    there.verb(&["pull", &registry.name("test/none:1")]).expect_error(1, "no such image");
}

pub fn what_is_not_here_is_pulled(lab: &Lab, wall: Wall) {
    let dir = place("missing");
    let registry = Registry::start(&dir, None);
    let name = registry.name("test/busybox:1");
    lab.verb(&["push", BUSYBOX, &name]).expect_code(0);
    let there = elsewhere(lab, &dir);
    there.run(wall, &["--pull", "never", &name, "true"]).expect_error(125, "no image called");
    let ran = there.run(wall, &[&name, "echo", "here"]);
    assert_eq!(ran.expect_code(0).text(), "here\n");
    // It is here now, also without the registry.
    let address = registry.address.clone();
    drop(registry);
    there.run(wall, &[&name, "true"]).expect_code(0);
    there.run(wall, &["--pull", "always", &name, "true"]).expect_error(125, "because");
    let missing = format!("{address}/test/none:1");
    let failed = there.run(wall, &[&missing, "true"]);
    failed.expect_error(125, "is not here, and it cannot be pulled");
    failed.expect_error(125, "Connection refused");
    there
        .run(wall, &["Not_A_Name!", "true"])
        .expect_error(125, "no name that a registry could know");
}

pub fn others_read_what_we_write(lab: &Lab, _: Wall) {
    let dir = place("written");
    let path = |name: &str| dir.join(name).display().to_string();
    let registry = Registry::start(&dir, None);
    let name = registry.name("test/busybox:1");
    lab.verb(&["push", BUSYBOX, &name]).expect_code(0);
    let from = format!("docker://{name}");
    let layout = format!("oci:{}:latest", path("layout"));
    done("skopeo", &["copy", "--src-tls-verify=false", &from, &layout]);
    let image = format!("{}:latest", path("layout"));
    done("umoci", &["unpack", "--image", &image, &path("bundle")]);
    let group = fs::read_to_string(dir.join("bundle/rootfs/etc/group")).expect("unpacked");
    assert!(group.contains("extra:x:2000:user"));

    let archive = path("saved.tar");
    lab.verb(&["image", "save", "-o", &archive, BUSYBOX]).expect_code(0);
    let digest = digests(lab, BUSYBOX)["digest"].as_str().expect("text").to_owned();
    let inspected = done("skopeo", &["inspect", &format!("oci-archive:{archive}")]);
    assert!(inspected.text().contains(&digest), "{}", inspected.text());
    let copy = format!("dir:{}", path("copy"));
    done("skopeo", &["copy", &format!("docker-archive:{archive}"), &copy]);
}

pub fn we_read_what_others_write(lab: &Lab, _: Wall) {
    let dir = place("others");
    let path = |name: &str| dir.join(name).display().to_string();
    let layout = path("layout");
    let image = format!("{layout}:made");
    let content = path("content");
    fs::write(&content, "umoci was here\n").expect("written");
    done("umoci", &["init", "--layout", &layout]);
    done("umoci", &["new", "--image", &image]);
    done("umoci", &["insert", "--image", &image, &content, "/etc/made-by"]);
    done("umoci", &["config", "--image", &image, "--config.cmd", "/etc/made-by"]);

    let registry = Registry::start(&dir, None);
    let name = registry.name("made:1");
    let to = format!("docker://{name}");
    let from = format!("oci:{image}");
    done("skopeo", &["copy", "--dest-tls-verify=false", &from, &to]);
    let there = elsewhere(lab, &dir);
    there.verb(&["pull", &name]).expect_code(0);
    there.verb(&["image", "import", &layout]).expect_code(0);
    let pulled = digests(&there, &name);
    assert_eq!(pulled, digests(&there, "layout:made"));
    let history = there.verb(&["image", "history", &name, "--format", "json"]);
    let history: serde_json::Value =
        serde_json::from_slice(&history.expect_code(0).stdout).expect("JSON");
    let steps = history.as_array().expect("a list");
    assert!(steps.iter().any(|step| step["layer"] == pulled["layers"][0]), "{steps:?}");
}

pub fn a_login_is_checked_kept_and_forgotten(lab: &Lab, _: Wall) {
    let dir = place("login");
    let registry = Registry::start(&dir, Some(USERS));
    let name = registry.name("test/busybox:1");
    let verb = |arguments: &[&str], input: &[u8]| {
        let mut command = lab.command(arguments);
        command.env("DOCKER_CONFIG", dir.join("docker"));
        finish(command, input)
    };
    let login = ["login", &registry.address, "-u", "ali", "--password-stdin"];
    verb(&["push", BUSYBOX, &name], b"").expect_error(1, "login");
    verb(&login, b"open barley\n").expect_error(1, "login");
    assert!(!dir.join("docker/config.json").exists(), "a wrong password was kept");
    verb(&login, PASSWORD).expect_code(0);
    verb(&["push", BUSYBOX, &name], b"").expect_code(0);
    // The file is docker's: others read it too.
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["inspect", "--tls-verify=false", &format!("docker://{name}")]);
    skopeo.args(["--authfile".as_ref(), dir.join("docker/config.json").as_os_str()]);
    finish(skopeo, b"").expect_code(0);
    verb(&["logout", &registry.address], b"").expect_code(0);
    verb(&["pull", &name], b"").expect_error(1, "login");
}

pub fn archives_go_from_store_to_store(lab: &Lab, _: Wall) {
    let dir = place("archives");
    let archive = dir.join("saved.tar").display().to_string();
    lab.verb(&["image", "tag", BUSYBOX, "example.org/busy:2"]).expect_code(0);
    let names = [BUSYBOX, "example.org/busy:2"];
    lab.verb(&["image", "save", "-o", &archive, names[0], names[1]]).expect_code(0);
    lab.verb(&["image", "rm", names[1]]).expect_code(0);
    let there = elsewhere(lab, &dir);
    there.verb(&["image", "import", &archive]).expect_code(0);
    for name in names {
        assert_eq!(digests(&there, name), digests(lab, BUSYBOX));
    }
    there.verb(&["image", "rm", names[0], names[1]]).expect_code(0);
    assert!(there.verb(&["image", "prune"]).expect_code(0).text().starts_with("removed 0"));
}
