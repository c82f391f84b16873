//! Running the programs of a build.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use nix::sys::prctl;
use nix::sys::signal::Signal;

use super::BuildError;

/// How many lines of a failed program's output are shown.
const LAST_LINES: usize = 15;

/// `make` in `tree`, telling of each file and nothing else.
pub fn make(tree: &Path) -> Command {
    let mut make = Command::new("make");
    make.current_dir(tree)
        .args(["ARCH=x86_64", "LOCALVERSION="])
        // The same inputs give the same kernel, whoever builds it and when.
        .env("KBUILD_BUILD_USER", "bulkhead")
        .env("KBUILD_BUILD_HOST", "bulkhead")
        .env("KBUILD_BUILD_TIMESTAMP", "1970-01-01")
        .env("LC_ALL", "C")
        // Flags of an outer make are not for this one.
        .env_remove("MAKEFLAGS")
        .env_remove("MFLAGS");
    make
}

/// First line of the compiler's version.
pub fn compiler() -> Result<String, BuildError> {
    let mut first = String::new();
    let mut gcc = Command::new("gcc");
    gcc.arg("--version");
    run(gcc, None, |line| {
        if first.is_empty() {
            line.clone_into(&mut first);
        }
    })?;
    Ok(first)
}

/// Runs a program to its end, feeding it `input` and handing each line of its
/// output, both streams, to `each_line`.
pub fn run(
    mut command: Command,
    input: Option<&[u8]>,
    mut each_line: impl FnMut(&str),
) -> Result<(), BuildError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let shown = shown(&command);
    let talk = |source| BuildError::Spawn { program: program.clone(), source };
    let (reader, writer) = io::pipe().map_err(talk)?;
    command
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(writer.try_clone().map_err(talk)?)
        .stderr(writer);
    die_with_us(&mut command);
    let mut child = command.spawn().map_err(|source| missing_or(source, &program))?;
    // The command holds the pipe's other end; the output must be able to end.
    drop(command);
    let stdin = child.stdin.take();
    let mut last = VecDeque::with_capacity(LAST_LINES);
    thread::scope(|scope| -> io::Result<()> {
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            // A program that ends early says why by itself.
            scope.spawn(move || stdin.write_all(input));
        }
        for line in BufReader::new(reader).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            each_line(&line);
            if last.len() == LAST_LINES {
                last.pop_front();
            }
            last.push_back(line);
        }
        Ok(())
    })
    .map_err(talk)?;
    let status = child.wait().map_err(talk)?;
    if status.success() {
        return Ok(());
    }
    let last_lines = Vec::from(last).join("\n");
    Err(BuildError::Failed { command: shown, status, last_lines })
}

/// Lets a program end when the builder is killed: an orphaned `make` would go on
/// in a tree that the next builder removes under it.
pub fn die_with_us(command: &mut Command) {
    // SAFETY: between fork and exec nothing but one system call is made.
    unsafe {
        command.pre_exec(|| Ok(prctl::set_pdeathsig(Signal::SIGTERM)?));
    }
}

/// A spawn error, with the package to install when the program is not there.
pub fn missing_or(source: io::Error, program: &str) -> BuildError {
    let package = match program {
        "bc" => "bc",
        "gcc" => "gcc",
        "make" => "make",
        "patch" => "patch",
        "strip" => "binutils",
        "tar" => "tar",
        "dpkg-query" => "dpkg",
        _ => return BuildError::Spawn { program: program.to_owned(), source },
    };
    if source.kind() == io::ErrorKind::NotFound {
        BuildError::NoTool { program: program.to_owned(), package }
    } else {
        BuildError::Spawn { program: program.to_owned(), source }
    }
}

fn shown(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut sh = Command::new("sh");
        sh.arg("-c").arg(script);
        sh
    }

    #[test]
    fn lines_of_both_streams_arrive_and_input_is_fed() {
        let mut lines = Vec::new();
        let input = vec![b'x'; 1 << 20];
        run(shell("echo out; echo err >&2; wc -c"), Some(&input), |line| {
            lines.push(line.to_owned());
        })
        .unwrap();
        assert_eq!(lines, ["out", "err", "1048576"]);
    }

    #[test]
    fn a_failure_shows_the_end_of_the_output() {
        let failed = run(shell("seq 100; exit 3"), None, |_| {}).unwrap_err();
        let BuildError::Failed { status, last_lines, .. } = failed else { panic!("{failed}") };
        assert_eq!(status.code(), Some(3));
        assert!(last_lines.starts_with("86\n") && last_lines.ends_with("100"), "{last_lines}");
    }

    #[test]
    fn a_missing_program_names_its_package() {
        let error = missing_or(io::ErrorKind::NotFound.into(), "patch");
        assert!(error.to_string().contains("apt-get install patch"), "{error}");
    }
}
