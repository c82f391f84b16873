//! Debian packages a verb needs: found, named, and installed when allowed.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::failure::Failure;

/// Why packages could not be provided.
#[derive(Debug, thiserror::Error)]
pub enum PackagesError {
    /// Packages are missing and may not be installed here.
    #[error("missing Debian packages: {}", .0.join(" "))]
    Missing(Vec<String>),
    /// A package tool could not be started.
    #[error("cannot run {program}")]
    Spawn {
        /// `apt-get` or `dpkg-query`.
        program: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The installation failed.
    #[error("`{command}` failed: {status}")]
    Install {
        /// The command line.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
}

/// Makes sure that `packages` are installed: installs the missing ones as root
/// on Debian, saying which; otherwise fails with the exact command to run.
pub fn ensure(packages: &[&str], no_install: bool) -> Result<(), Failure> {
    let missing = missing(packages)?;
    if missing.is_empty() {
        return Ok(());
    }
    let install = format!("apt-get install -y --no-install-recommends {}", missing.join(" "));
    let apt = Path::new("/usr/bin/apt-get").exists();
    if no_install || !apt || !nix::unistd::geteuid().is_root() {
        let hint = if apt {
            format!("run `sudo {install}`")
        } else {
            "install the equivalents of these Debian packages".to_owned()
        };
        return Err(Failure::new(PackagesError::Missing(missing)).hint(hint));
    }
    eprintln!("Installing Debian packages: {}", missing.join(" "));
    if run("apt-get", &install).is_err() {
        // The lists may be absent or older than the archive.
        run("apt-get", "apt-get update")?;
        run("apt-get", &install)?;
    }
    Ok(())
}

/// Those of `packages` that dpkg does not have installed. Where there is no
/// dpkg, none is known to be missing, and the programs themselves will tell.
pub fn missing(packages: &[&str]) -> Result<Vec<String>, PackagesError> {
    let query = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${db:Status-Status}\n"])
        .args(packages)
        .stderr(Stdio::null())
        .output();
    let output = match query {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => {
            other
                .map_err(|source| PackagesError::Spawn { program: "dpkg-query", source })?
                .stdout
        }
    };
    let text = String::from_utf8_lossy(&output);
    let installed = |name: &str| text.lines().any(|line| line == format!("{name} installed"));
    let missing = packages.iter().filter(|name| !installed(name));
    Ok(missing.map(|&name| name.to_owned()).collect())
}

/// Runs a command line without shell syntax, its output on standard error, so
/// that data on standard output stays clean.
fn run(program: &'static str, command: &str) -> Result<(), PackagesError> {
    let mut words = command.split(' ');
    words.next();
    let status = Command::new(program)
        .args(words)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(io::stderr())
        .status()
        .map_err(|source| PackagesError::Spawn { program, source })?;
    if status.success() {
        Ok(())
    } else {
        Err(PackagesError::Install { command: command.to_owned(), status })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_does_not_exist_is_missing() {
        if Path::new("/usr/bin/dpkg-query").exists() {
            let found = missing(&["dpkg", "no-such-package-as-this"]).unwrap();
            assert_eq!(found, ["no-such-package-as-this"]);
        }
    }
}
