//! A container around the host's own `/usr`: a real shell and real tools
//! without an image to download.

#![allow(dead_code, reason = "each test program uses a part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use bulkhead_container::{ContainerRuntime, seccomp};
use bulkhead_runtime::{
    Bundle, Create, Error, Exit, Rootfs, Runtime, Sandbox, SandboxId, Stdio,
};
use oci_spec::runtime::{
    LinuxBuilder, LinuxCapabilitiesBuilder, LinuxNamespaceBuilder, LinuxNamespaceType,
    LinuxResources, Mount, MountBuilder, ProcessBuilder, RootBuilder, Spec, SpecBuilder,
    UserBuilder, get_default_maskedpaths, get_default_mounts, get_default_readonly_paths,
};
use tempfile::TempDir;

/// A runtime with a state directory of its own, and a root filesystem.
pub struct Host {
    state: TempDir,
    layer: TempDir,
    pub runtime: ContainerRuntime,
}

impl Host {
    pub fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        let layer = tempfile::tempdir().unwrap();
        for link in ["bin", "sbin", "lib", "lib64"] {
            symlink(format!("usr/{link}"), layer.path().join(link)).unwrap();
        }
        for dir in ["usr", "tmp", "etc"] {
            fs::create_dir(layer.path().join(dir)).unwrap();
        }
        fs::write(layer.path().join("etc/marker"), "from the layer\n").unwrap();
        // As an image has it: others may pass.
        fs::set_permissions(layer.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let runtime = ContainerRuntime::new(state.path().join("run"));
        Self { state, layer, runtime }
    }

    pub fn layer(&self) -> &Path {
        self.layer.path()
    }

    pub fn state(&self) -> PathBuf {
        self.state.path().join("run")
    }

    /// The bundle for a shell script.
    pub fn script(&self, script: &str) -> Bundle {
        self.bundle(&["/bin/sh", "-c", script])
    }

    pub fn bundle(&self, args: &[&str]) -> Bundle {
        let rootfs = Rootfs::Layers(vec![self.layer.path().to_owned()]);
        Bundle { spec: spec(args), rootfs }
    }

    pub fn create(&self, bundle: &Bundle, stdio: Stdio) -> Result<Box<dyn Sandbox>, Error> {
        self.create_as(&SandboxId::random().unwrap(), bundle, stdio)
    }

    pub fn create_as(
        &self,
        id: &SandboxId,
        bundle: &Bundle,
        stdio: Stdio,
    ) -> Result<Box<dyn Sandbox>, Error> {
        self.runtime.create(Create::attached(id, bundle, stdio))
    }

    /// Runs a bundle to its end.
    pub fn run(&self, bundle: &Bundle) -> Result<Ran, Error> {
        let (output, stdio) = capture();
        let mut sandbox = self.create(bundle, stdio)?;
        sandbox.start(None)?;
        let text = read(output);
        let exit = sandbox.wait(None)?.unwrap();
        sandbox.delete()?;
        Ok(Ran { text, exit })
    }

    /// What a script prints; it must succeed.
    pub fn says(&self, script: &str) -> String {
        let ran = self.run(&self.script(script)).unwrap();
        assert_eq!(ran.exit.code(), 0, "{script}: {}", ran.text);
        ran.text
    }
}

pub struct Ran {
    pub text: String,
    pub exit: Exit,
}

/// Streams whose output and diagnostics arrive at the returned end.
pub fn capture() -> (OwnedFd, Stdio) {
    let (read, write) = std::io::pipe().unwrap();
    (read.into(), Stdio::output_to(write.into()).unwrap())
}

pub fn read(from: OwnedFd) -> String {
    let mut bytes = Vec::new();
    File::from(from).read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Docker's defaults, with the host's `/usr` bound in.
pub fn spec(args: &[&str]) -> Spec {
    let capabilities = seccomp::default_capabilities();
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(capabilities.clone())
        .effective(capabilities.clone())
        .permitted(capabilities)
        .inheritable(std::collections::HashSet::new())
        .ambient(std::collections::HashSet::new())
        .build()
        .unwrap();
    let process = ProcessBuilder::default()
        .args(args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
        .env(vec!["PATH=/usr/bin:/usr/sbin".to_owned(), "GREETING=hello".to_owned()])
        .cwd("/")
        .user(UserBuilder::default().uid(0_u32).gid(0_u32).build().unwrap())
        .capabilities(capabilities)
        .no_new_privileges(true)
        .build()
        .unwrap();
    let kinds = [
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Network,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Cgroup,
    ];
    let namespaces =
        kinds.map(|kind| LinuxNamespaceBuilder::default().typ(kind).build().unwrap());
    let linux = LinuxBuilder::default()
        .namespaces(namespaces.to_vec())
        .resources(LinuxResources::default())
        .masked_paths(get_default_maskedpaths())
        .readonly_paths(get_default_readonly_paths())
        .seccomp(seccomp::default_profile())
        .build()
        .unwrap();
    let mut mounts = get_default_mounts();
    mounts.retain(|mount| mount.typ().as_deref() != Some("cgroup"));
    mounts.push(bind("/usr", "/usr", &["rbind", "ro"]));
    SpecBuilder::default()
        .root(RootBuilder::default().path("rootfs").readonly(false).build().unwrap())
        .hostname("inside")
        .process(process)
        .mounts(mounts)
        .linux(linux)
        .build()
        .unwrap()
}

pub fn bind(source: &str, destination: &str, options: &[&str]) -> Mount {
    MountBuilder::default()
        .typ("bind")
        .source(source)
        .destination(destination)
        .options(options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>())
        .build()
        .unwrap()
}
