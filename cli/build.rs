//! Builds the two programs that run inside a sandbox with a cargo of their own:
//! another profile, static whatever `RUSTFLAGS` says, in a target directory of
//! their own (so that the two cargos never wait for each other's lock).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fmt, fs, io};

#[path = "src/payload/elf.rs"]
mod elf;

/// At a fixed address, because position independence costs relocations and page
/// faults at every start; for any x86-64, because the image may be carried to
/// another machine.
const RUSTFLAGS: [&str; 3] =
    ["-Ctarget-feature=+crt-static", "-Crelocation-model=static", "-Ctarget-cpu=x86-64"];

/// Profile in the workspace's `Cargo.toml`.
const PROFILE: &str = "payload";

/// A program of the payload.
struct Program {
    package: &'static str,
    bin: &'static str,
    /// The feature without which cargo leaves the program out.
    feature: &'static str,
    /// Its package's directory in the workspace.
    source: &'static str,
    /// The variable that tells `src/payload.rs` where it is.
    variable: &'static str,
}

const PROGRAMS: [Program; 2] = [
    Program {
        package: "bulkhead-guest",
        bin: "bulkhead-init",
        feature: "init",
        source: "guest",
        variable: "BULKHEAD_INIT",
    },
    Program {
        package: "bulkhead-probe",
        bin: "probe",
        feature: "probe",
        source: "bench/probe",
        variable: "BULKHEAD_PROBE",
    },
];

enum Error {
    NoVariable(&'static str),
    Target(String),
    Cargo(io::Error),
    Failed,
    Unreadable(PathBuf, io::Error),
    NotStatic(PathBuf, elf::NotStatic),
}

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo::error={error}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), Error> {
    let workspace = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("..");
    let target = variable("TARGET")?.to_string_lossy().into_owned();
    if !(target.starts_with("x86_64-") && target.contains("-linux-")) {
        return Err(Error::Target(target));
    }
    watch(&workspace);
    order_text()?;
    let target_dir = PathBuf::from(variable("OUT_DIR")?).join("payload");
    let status = cargo(&workspace, &target, &target_dir)?.status().map_err(Error::Cargo)?;
    if !status.success() {
        return Err(Error::Failed);
    }
    for program in &PROGRAMS {
        let path = target_dir.join(&target).join(PROFILE).join(program.bin);
        let file = fs::read(&path).map_err(|error| Error::Unreadable(path.clone(), error))?;
        elf::check_static(&file).map_err(|why| Error::NotStatic(path.clone(), why))?;
        println!("cargo::rustc-env={}={}", program.variable, path.display());
    }
    Ok(())
}

fn watch(workspace: &Path) {
    let sources = PROGRAMS.iter().map(|program| program.source);
    for path in ["Cargo.toml", "Cargo.lock"].into_iter().chain(sources) {
        println!("cargo::rerun-if-changed={}", workspace.join(path).display());
    }
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/payload/elf.rs");
}

/// Has the linker put side by side what `bulkhead run` calls: written, and
/// explained, by `examples/text-order.rs`. A linker that knows none of the names
/// in it, because another compiler chose them, leaves everything where it is.
fn order_text() -> Result<(), Error> {
    let script = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("text-order.ld");
    println!("cargo::rerun-if-changed={}", script.display());
    if variable("PROFILE")? == "release" {
        println!("cargo::rustc-link-arg-bin=bulkhead=-Wl,-T,{}", script.display());
    }
    Ok(())
}

/// The nested cargo.
fn cargo(workspace: &Path, target: &str, target_dir: &Path) -> Result<Command, Error> {
    let mut command = Command::new(variable("CARGO")?);
    command
        .args(["build", "--locked", "--profile", PROFILE, "--target", target])
        .arg("--manifest-path")
        .arg(workspace.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target_dir)
        // Wins over RUSTFLAGS and every configuration file.
        .env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS.join("\u{1f}"))
        .env("CARGO_BUILD_BUILD_DIR", target_dir)
        // Under `cargo clippy` and the like these would be in the way.
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER");
    for Program { package, bin, feature, .. } in &PROGRAMS {
        command.args(["--package", package, "--bin", bin, "--features"]);
        command.arg(format!("{package}/{feature}"));
    }
    Ok(command)
}

/// A variable that cargo sets for build scripts.
fn variable(name: &'static str) -> Result<OsString, Error> {
    env::var_os(name).ok_or(Error::NoVariable(name))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVariable(name) => write!(f, "cargo has not set {name}"),
            Self::Target(target) => {
                write!(f, "bulkhead runs on x86_64 Linux only, not on {target}")
            }
            Self::Cargo(error) => write!(f, "cannot run cargo for the guest programs: {error}"),
            Self::Failed => write!(f, "the guest programs do not build; see above"),
            Self::Unreadable(path, error) => {
                write!(f, "cannot read {}: {error}", path.display())
            }
            Self::NotStatic(path, why) => {
                write!(f, "{} is not a static program: {why:?}", path.display())
            }
        }
    }
}
