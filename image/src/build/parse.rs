//! From the text of a Dockerfile to its instructions: owned, and with where they are.

use parse_dockerfile as syntax;
use syntax::{HealthcheckArguments, JsonOrStringArray, UnescapedString};

use super::source::{Heredoc, Place, Source, Unterminated};
use super::words;

/// A Dockerfile that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct SyntaxError {
    /// Where.
    pub place: Place,
    /// What is wrong there.
    pub problem: String,
}

/// A Dockerfile.
#[derive(Debug)]
pub(super) struct Dockerfile {
    /// `ARG`s before the first stage.
    pub args: Vec<Instruction>,
    pub stages: Vec<Stage>,
}

#[derive(Debug)]
pub(super) struct Stage {
    pub place: Place,
    pub text: String,
    pub flags: Vec<Flag>,
    pub image: String,
    pub name: Option<String>,
    pub instructions: Vec<Instruction>,
}

#[derive(Debug, Clone)]
pub(super) struct Instruction {
    pub place: Place,
    /// It, on one line.
    pub text: String,
    pub op: Op,
}

/// `--name=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flag {
    pub name: String,
    pub value: Option<String>,
}

/// A command in one of its two forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Exec(Vec<String>),
    /// For the shell.
    Shell(String),
}

/// What `COPY` copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CopySource {
    Path(String),
    Heredoc(Heredoc),
}

#[derive(Debug, Clone)]
pub(super) struct Copy {
    /// It is an `ADD`.
    pub add: bool,
    pub flags: Vec<Flag>,
    pub sources: Vec<CopySource>,
    pub target: String,
}

#[derive(Debug, Clone)]
pub(super) enum Op {
    Arg(Vec<(String, Option<String>)>),
    Cmd(Command),
    Copy(Copy),
    Entrypoint(Command),
    Env(Vec<(String, String)>),
    Expose(Vec<String>),
    Healthcheck(Vec<Flag>, Option<Command>),
    Label(Vec<(String, String)>),
    Maintainer(String),
    Onbuild(String),
    Run(Vec<Flag>, Command, Vec<Heredoc>),
    Shell(Vec<String>),
    Stopsignal(String),
    User(String),
    Volume(Vec<String>),
    Workdir(String),
}

impl From<Unterminated> for SyntaxError {
    fn from(it: Unterminated) -> Self {
        let problem = format!("the here-document has no end: a line `{}`", it.name);
        Self { place: it.place, problem }
    }
}

/// Parses the text of a Dockerfile that is called `name`.
pub(super) fn parse(name: &str, text: &str) -> Result<(Dockerfile, char), SyntaxError> {
    let source = Source::new(name, text)?;
    let parsed = syntax::parse(&source.masked).map_err(|error| {
        // Its columns are not counted from the start of the line.
        let line = error.line().max(1);
        let before = source.masked.split_inclusive('\n').take(line - 1).map(str::len).sum();
        let here = source.masked.get(before..).unwrap_or_default();
        let indent = here.len() - here.trim_start_matches([' ', '\t']).len();
        SyntaxError { place: source.place(before + indent), problem: format!("{error:#}") }
    })?;
    let reader = Reader { source: &source };
    let mut stages = Vec::new();
    for stage in parsed.stages() {
        let from = stage.from;
        let at = from.from.span.start;
        stages.push(Stage {
            place: source.place(at),
            text: source.instruction(at),
            flags: flags(&from.options),
            image: owned(&from.image),
            name: from.as_.as_ref().map(|(_, name)| owned(name).to_lowercase()),
            instructions: stage
                .instructions
                .iter()
                .map(|one| reader.read(one))
                .collect::<Result<_, _>>()?,
        });
    }
    let args = parsed.global_args().map(|arg| reader.arg(arg)).collect::<Result<_, _>>()?;
    Ok((Dockerfile { args, stages }, source.escape))
}

fn owned(text: &UnescapedString<'_>) -> String {
    text.value.clone().into_owned()
}

fn list<'a, 't: 'a>(texts: impl IntoIterator<Item = &'a UnescapedString<'t>>) -> Vec<String> {
    texts.into_iter().map(owned).collect()
}

fn flags(flags: &[syntax::Flag<'_>]) -> Vec<Flag> {
    let flag = |flag: &syntax::Flag<'_>| Flag {
        name: owned(&flag.name),
        value: flag.value.as_ref().map(owned),
    };
    flags.iter().map(flag).collect()
}

struct Reader<'a> {
    source: &'a Source,
}

impl Reader<'_> {
    fn error(&self, at: usize, problem: impl Into<String>) -> SyntaxError {
        SyntaxError { place: self.source.place(at), problem: problem.into() }
    }

    fn instruction(&self, at: usize, op: Op) -> Instruction {
        Instruction { place: self.source.place(at), text: self.source.instruction(at), op }
    }

    fn command(&self, command: &syntax::Command<'_>) -> Command {
        match command {
            syntax::Command::Exec(words) => Command::Exec(list(&words.value)),
            syntax::Command::Shell(text) => {
                // What the parser saw has here-documents masked.
                let written = self.source.slice(text.span.clone());
                Command::Shell(words::unfold(written, self.source.escape).trim().to_owned())
            }
            _ => Command::Exec(Vec::new()),
        }
    }

    fn pairs(&self, text: &UnescapedString<'_>) -> Result<Vec<(String, String)>, SyntaxError> {
        words::pairs(&text.value, self.source.escape)
            .map_err(|problem| self.error(text.span.start, problem))
    }

    fn arg(&self, arg: &syntax::ArgInstruction<'_>) -> Result<Instruction, SyntaxError> {
        let mut args = Vec::new();
        for word in words::split(&arg.arguments.value, self.source.escape) {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word, None),
            };
            if name.is_empty() {
                return Err(self.error(arg.arguments.span.start, "an argument has no name"));
            }
            args.push((name, value));
        }
        Ok(self.instruction(arg.arg.span.start, Op::Arg(args)))
    }

    fn copy(
        &self,
        at: usize,
        add: bool,
        options: &[syntax::Flag<'_>],
        sources: &[syntax::Source<'_>],
        target: &UnescapedString<'_>,
    ) -> Result<Instruction, SyntaxError> {
        let mut heredocs = self.source.heredocs(at).iter();
        let mut copied = Vec::new();
        for source in sources {
            let syntax::Source::Path(path) = source else {
                return Err(self.error(at, "a here-document where none can be"));
            };
            copied.push(if self.source.slice(path.span.clone()).starts_with("<<") {
                let heredoc = heredocs.next().cloned();
                CopySource::Heredoc(
                    heredoc
                        .ok_or_else(|| self.error(path.span.start, "not a here-document"))?,
                )
            } else {
                CopySource::Path(owned(path))
            });
        }
        let flags = flags(options);
        let copy = Copy { add, flags, sources: copied, target: owned(target) };
        Ok(self.instruction(at, Op::Copy(copy)))
    }

    fn read(&self, instruction: &syntax::Instruction<'_>) -> Result<Instruction, SyntaxError> {
        use syntax::Instruction as Is;
        let (at, op) = match instruction {
            Is::Arg(it) => return self.arg(it),
            Is::Add(it) => {
                return self.copy(it.add.span.start, true, &it.options, &it.src, &it.dest);
            }
            Is::Copy(it) => {
                return self.copy(it.copy.span.start, false, &it.options, &it.src, &it.dest);
            }
            Is::Cmd(it) => (it.cmd.span.start, Op::Cmd(self.command(&it.arguments))),
            Is::Entrypoint(it) => {
                (it.entrypoint.span.start, Op::Entrypoint(self.command(&it.arguments)))
            }
            Is::Env(it) => (it.env.span.start, Op::Env(self.pairs(&it.arguments)?)),
            Is::Expose(it) => (it.expose.span.start, Op::Expose(list(&it.arguments))),
            Is::Healthcheck(it) => {
                let command = match &it.arguments {
                    HealthcheckArguments::Cmd { arguments, .. } => {
                        Some(self.command(arguments))
                    }
                    _ => None,
                };
                (it.healthcheck.span.start, Op::Healthcheck(flags(&it.options), command))
            }
            Is::Label(it) => (it.label.span.start, Op::Label(self.pairs(&it.arguments)?)),
            Is::Maintainer(it) => (it.maintainer.span.start, Op::Maintainer(owned(&it.name))),
            Is::Onbuild(it) => {
                let at = it.onbuild.span.start;
                let text = self.source.instruction(at);
                let trigger = text.get("ONBUILD".len()..).unwrap_or_default().trim();
                if !self.source.heredocs(at).is_empty() {
                    return Err(self.error(at, "a here-document in ONBUILD is not supported"));
                }
                (at, Op::Onbuild(trigger.to_owned()))
            }
            Is::Run(it) => {
                let at = it.run.span.start;
                let heredocs = self.source.heredocs(at).to_vec();
                (at, Op::Run(flags(&it.options), self.command(&it.arguments), heredocs))
            }
            Is::Shell(it) => (it.shell.span.start, Op::Shell(list(&it.arguments))),
            Is::Stopsignal(it) => {
                (it.stopsignal.span.start, Op::Stopsignal(owned(&it.arguments)))
            }
            Is::User(it) => (it.user.span.start, Op::User(owned(&it.arguments))),
            Is::Volume(it) => {
                let volumes = match &it.arguments {
                    JsonOrStringArray::Json(words) => list(&words.value),
                    JsonOrStringArray::String(words) => list(words),
                };
                (it.volume.span.start, Op::Volume(volumes))
            }
            Is::Workdir(it) => (it.workdir.span.start, Op::Workdir(owned(&it.arguments))),
            _ => return Err(self.error(0, "an instruction that is not supported")),
        };
        Ok(self.instruction(at, op))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        parse("Dockerfile", text).unwrap_err().to_string()
    }

    #[test]
    fn errors_say_where() {
        assert_eq!(problem("FROM a\n\n  FRM b\n"), "Dockerfile:3:3: unknown instruction 'FRM'");
        assert!(problem("RUN a\n").starts_with("Dockerfile:1:1: expected FROM"));
        assert!(problem("FROM a\nENV A=1 B\n").starts_with("Dockerfile:2:5: `B` has no `=`"));
        assert!(problem("FROM a AS x\nFROM b AS x\n").starts_with("Dockerfile:2:1: duplicate"));
        assert!(
            problem("FROM a\nRUN <<E\nx\n").starts_with("Dockerfile:2:5: the here-document")
        );
        assert_eq!(problem(""), "Dockerfile:1:1: expected at least one FROM instruction");
    }

    #[test]
    fn instructions_are_read_as_they_are_meant() {
        let text = "ARG V=1\nFROM --platform=linux/amd64 a:$V AS One\nRUN a \\\n # no\n  b\n\
            RUN [\"x\", \"y\"]\nCOPY --chown=1 <<A <<\"B\" c /d/\n1\nA\n2\nB\nONBUILD RUN x  y\n";
        let (file, escape) = parse("f", text).unwrap();
        assert_eq!(escape, '\\');
        assert!(matches!(&file.args[0].op, Op::Arg(args) if args[0].1.as_deref() == Some("1")));
        let stage = &file.stages[0];
        assert_eq!((stage.name.as_deref(), stage.image.as_str()), (Some("one"), "a:$V"));
        let ops: Vec<_> = stage.instructions.iter().map(|one| &one.op).collect();
        assert!(matches!(ops[0], Op::Run(_, Command::Shell(text), _) if text == "a   b"));
        assert!(matches!(ops[1], Op::Run(_, Command::Exec(words), _) if words == &["x", "y"]));
        let Op::Copy(copy) = ops[2] else { panic!("not COPY") };
        assert_eq!((copy.sources.len(), copy.target.as_str()), (3, "/d/"));
        assert!(
            matches!(&copy.sources[1], CopySource::Heredoc(h) if h.name == "B" && !h.expand)
        );
        assert!(matches!(ops[3], Op::Onbuild(text) if text == "RUN x  y"));
    }
}
