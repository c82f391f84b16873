//! The step `RUN`: a command in a sandbox, and what it leaves.

use std::collections::BTreeSet;
use std::path::PathBuf;

use oci_spec::image::ImageConfiguration;

use super::changes::{self, Changes};
use super::error::StepError;
use super::execute::{Executor, in_image};
use super::parse::{Command, Flag};
use super::source::Heredoc;
use super::stage::Stage;
use crate::accounts::Accounts;
use crate::file::make_dir;

/// A command to run.
#[derive(Debug)]
pub struct Run<'a> {
    /// The number of its step, to tell of it.
    pub number: usize,
    /// What to run.
    pub args: Vec<String>,
    /// Variables beside those of the configuration, as `NAME=value`.
    pub env: Vec<String>,
    /// The configuration so far: variables, user, working directory.
    pub config: ImageConfiguration,
    /// Users and groups.
    pub accounts: Accounts,
    /// The unpacked layers, topmost first.
    pub layers: &'a [PathBuf],
    /// An empty directory of its own, on the filesystem of the store.
    pub scratch: PathBuf,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code.
    pub code: u8,
    /// What it has changed.
    pub changes: Changes,
}

/// What a sandbox makes to mount on where an image has it not.
const STUBS: [&str; 16] = [
    "/proc",
    "/sys",
    "/sys/fs",
    "/sys/fs/cgroup",
    "/dev",
    "/dev/pts",
    "/dev/shm",
    "/dev/mqueue",
    "/etc",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/run",
    "/tmp",
    "/dev/console",
    "/dev/ptmx",
];

impl Executor<'_> {
    pub(super) fn command(
        &mut self,
        stage: &mut Stage,
        flags: &[Flag],
        command: &Command,
        heredocs: &[Heredoc],
    ) -> Result<(), StepError> {
        for flag in flags {
            match (flag.name.as_str(), flag.value.as_deref()) {
                ("network", Some("none" | "default")) | ("security", Some("sandbox")) => {}
                ("mount", _) => return Err(StepError::Unsupported("RUN --mount")),
                _ => return Err(StepError::Flag(flag.name.clone())),
            }
        }
        let args = arguments(stage, command, heredocs);
        let declared: Vec<_> = stage
            .args
            .iter()
            .filter(|(name, _)| stage.document.var(name).is_none())
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let told = match declared.len() {
            0 => format!("RUN {}", args.join(" ")),
            count => format!("RUN |{count} {} {}", declared.join(" "), args.join(" ")),
        };
        let mut key = self.key(stage, "run");
        for arg in &args {
            key.add(arg);
        }
        key.add("").add(declared.join("\n")).add(stage.document.list("Env").join("\n"));
        key.add(stage.document.text("User").unwrap_or_default()).add(stage.working_dir());
        self.layer(stage, &[key.finish()], &told, |executor, stage| {
            executor.ran(stage, args, declared)
        })
    }

    /// Runs a command and reads what it has changed.
    fn ran(
        &mut self,
        stage: &Stage,
        args: Vec<String>,
        mut env: Vec<String>,
    ) -> Result<super::archive::Entries, StepError> {
        let Some(files) = stage.files()? else { return Err(StepError::NothingToRun) };
        env.extend(self.proxies().into_iter().map(|(name, value)| format!("{name}={value}")));
        let scratch = self.dir.path().join(format!("run-{}", self.number));
        make_dir(&scratch)?;
        let document = stage.document.finish(&[], &super::time::format(self.now));
        let config = serde_json::from_value(document).map_err(StepError::Configuration)?;
        let run = Run {
            number: self.number,
            args,
            env,
            config,
            accounts: stage.accounts()?,
            layers: &stage.dirs,
            scratch: scratch.clone(),
        };
        let ran = self.host.run(&run);
        // That goes before whatever came of it.
        if self.host.is_interrupted() {
            return Err(StepError::Interrupted);
        }
        let ran = ran.map_err(StepError::Run)?;
        if ran.code != 0 {
            return Err(StepError::Command(ran.code));
        }
        let mut stubs: BTreeSet<Vec<u8>> = STUBS.into_iter().map(in_image).collect();
        stubs.insert(in_image(&stage.working_dir()));
        Ok(changes::entries(&ran.changes, &files, &stubs)?)
    }
}

/// What is executed.
fn arguments(stage: &Stage, command: &Command, heredocs: &[Heredoc]) -> Vec<String> {
    let text = match command {
        Command::Exec(words) => return words.clone(),
        Command::Shell(text) => text,
    };
    let mut args = stage.document.shell();
    let alone = text.starts_with("<<") && !text.contains(char::is_whitespace);
    match heredocs {
        [] => args.push(text.clone()),
        // Without a command of its own it is the script.
        [script] if alone => return script_arguments(args, &script.body),
        several => {
            let mut whole = text.clone() + "\n";
            for heredoc in several {
                whole.push_str(&heredoc.body);
                whole.push_str(&heredoc.name);
                whole.push('\n');
            }
            args.push(whole);
        }
    }
    args
}

/// A script for the shell, or, when it says so, for another interpreter: then it is
/// executed as a file, which is gone afterwards.
fn script_arguments(mut shell: Vec<String>, body: &str) -> Vec<String> {
    const AS_FILE: &str = "f=${TMPDIR:-/tmp}/.heredoc.$$; printf %s \"$1\" >\"$f\" && \
        chmod 700 \"$f\" && \"$f\"; s=$?; rm -f \"$f\"; exit $s";
    if !body.starts_with("#!") {
        shell.push(body.to_owned());
        return shell;
    }
    ["/bin/sh", "-c", AS_FILE, "sh", body].map(str::to_owned).to_vec()
}
