//! Carrying out a Dockerfile, step by step.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Instant;

use super::archive::Entries;
use super::context::Context;
use super::copy::{Copier, Target};
use super::error::{BuildError, StepError};
use super::expand::expand;
use super::files::{Tree, clean};
use super::metadata;
use super::parse::{self, CopySource, Dockerfile, Instruction, Op};
use super::source::Place;
use super::stage::{PROXIES, Stage};
use super::stage_tree::StageFiles;
use super::{BuildOptions, Event, Host, document::NOW, time};
use crate::digest::Hasher;
use crate::store::{BuildDir, CachedStep};
use crate::{Digest, Image, Store};

/// Version of what keys are made of: another one makes the cache another's.
const KEY_VERSION: &str = "1";

/// A build that is under way.
pub(super) struct Executor<'a> {
    pub store: &'a Store,
    pub options: &'a BuildOptions,
    pub host: &'a dyn Host,
    pub dir: BuildDir,
    pub context: Rc<Context>,
    pub file: &'a Dockerfile,
    pub escape: char,
    /// Arguments declared before the first stage.
    pub globals: BTreeMap<String, String>,
    /// Arguments that some instruction has asked for.
    pub used: BTreeSet<String>,
    /// Images that must not go away meanwhile.
    pub held: RefCell<Vec<Rc<Image>>>,
    /// Stages that are done.
    pub done: BTreeMap<usize, Stage>,
    pub now: i64,
    pub number: usize,
}

/// What identifies a step: what it begins with and what it does.
#[derive(Debug)]
pub(super) struct Key(Hasher);

impl Key {
    pub fn add(&mut self, part: impl AsRef<[u8]>) -> &mut Self {
        let part = part.as_ref();
        self.0.update(&(part.len() as u64).to_le_bytes());
        self.0.update(part);
        self
    }

    pub fn finish(self) -> Digest {
        self.0.finish()
    }
}

impl Executor<'_> {
    /// Carries out the stages that `target` needs; it is done then.
    pub fn run(&mut self, target: usize) -> Result<(), BuildError> {
        self.globals()?;
        let needed = self.needed(target)?;
        for index in needed {
            let stage = self.stage(index)?;
            self.done.insert(index, stage);
        }
        Ok(())
    }

    /// The key of a step that begins with what `stage` is.
    pub fn key(&self, stage: &Stage, kind: &str) -> Key {
        let mut key = Key(Hasher::default());
        let chain = stage.chain().map(|chain| chain.to_string()).unwrap_or_default();
        let epoch = self.options.epoch.map(|epoch| epoch.to_string()).unwrap_or_default();
        key.add(KEY_VERSION).add(kind).add(chain).add(epoch);
        key
    }

    fn globals(&mut self) -> Result<(), BuildError> {
        for instruction in &self.file.args {
            let Op::Arg(args) = &instruction.op else { continue };
            for (name, default) in args {
                self.used.insert(name.clone());
                let given = self.options.args.get(name).cloned();
                let value = match (given, default) {
                    (Some(value), _) => Some(value),
                    (None, Some(default)) => {
                        Some(self.expand_global(default).map_err(at(instruction))?)
                    }
                    (None, None) => None,
                };
                if let Some(value) = value {
                    self.globals.insert(name.clone(), value);
                }
            }
        }
        Ok(())
    }

    /// Replaces variables outside of stages.
    fn expand_global(&self, word: &str) -> Result<String, StepError> {
        let lookup =
            |name: &str| self.globals.get(name).cloned().or_else(|| platform_arg(name));
        Ok(expand(word, self.escape, &lookup)?)
    }

    /// The stages that `target` needs, itself the last.
    fn needed(&self, target: usize) -> Result<BTreeSet<usize>, BuildError> {
        let mut needed = BTreeSet::new();
        let mut todo = vec![target];
        while let Some(index) = todo.pop() {
            if !needed.insert(index) {
                continue;
            }
            let stage = &self.file.stages[index];
            let image =
                self.expand_global(&stage.image).map_err(step(&stage.place, &stage.text))?;
            todo.extend(self.stage_called(&image, index));
            for instruction in &stage.instructions {
                let Op::Copy(copy) = &instruction.op else { continue };
                let from = copy.flags.iter().find(|flag| flag.name == "from");
                let Some(name) = from.and_then(|flag| flag.value.as_ref()) else { continue };
                match self.stage_numbered(name) {
                    Some(found) if found < index => todo.push(found),
                    Some(_) => {
                        return Err(at(instruction)(StepError::LaterStage(name.clone())));
                    }
                    None => {}
                }
            }
        }
        Ok(needed)
    }

    /// A stage before `index` that has this name.
    fn stage_called(&self, name: &str, index: usize) -> Option<usize> {
        let name = name.to_lowercase();
        let stages = self.file.stages.get(..index)?;
        stages.iter().rposition(|stage| stage.name.as_ref() == Some(&name))
    }

    /// A stage by its name or number.
    pub fn stage_numbered(&self, name: &str) -> Option<usize> {
        let count = self.file.stages.len();
        self.stage_called(name, count)
            .or_else(|| name.parse().ok().filter(|number| *number < count))
    }

    fn stage(&mut self, index: usize) -> Result<Stage, BuildError> {
        let parsed = &self.file.stages[index];
        let mut stage = self.begun(&parsed.place, &parsed.text, |executor| {
            for flag in &parsed.flags {
                executor.check_flag(flag)?;
            }
            let image = executor.expand_global(&parsed.image)?;
            executor.base(&image, index)
        })?;
        let triggers = stage.document.list("OnBuild");
        stage.document.unset("OnBuild");
        for trigger in triggers {
            let text = format!("FROM scratch\n{trigger}\n");
            let place = step(&parsed.place, &parsed.text);
            let (file, _) = parse::parse("ONBUILD", &text)
                .map_err(|error| place(StepError::Trigger(error)))?;
            for mut instruction in file.stages.into_iter().flat_map(|stage| stage.instructions)
            {
                instruction.place = parsed.place.clone();
                instruction.text = format!("ONBUILD {}", instruction.text);
                self.instruction(&mut stage, &instruction)?;
            }
        }
        for instruction in &parsed.instructions {
            self.instruction(&mut stage, instruction)?;
        }
        Ok(stage)
    }

    fn check_flag(&self, flag: &parse::Flag) -> Result<(), StepError> {
        if flag.name != "platform" {
            return Err(StepError::Flag(flag.name.clone()));
        }
        let platform = self.expand_global(flag.value.as_deref().unwrap_or_default())?;
        match &*platform.to_ascii_lowercase() {
            "linux/amd64" | "linux/x86_64" | "linux/x86-64" | "amd64" | "linux"
            | "linux/amd64/v1" => Ok(()),
            _ => Err(StepError::Platform(platform)),
        }
    }

    fn base(&self, name: &str, index: usize) -> Result<Stage, StepError> {
        if let Some(found) = self.stage_called(name, index)
            && let Some(stage) = self.done.get(&found)
        {
            return Ok(stage.next());
        }
        if name == "scratch" {
            return Ok(Stage::scratch(self.escape));
        }
        let image = self.image(name)?;
        Stage::of_image(&image, self.store, self.escape)
    }

    /// An image by name, held until the build is over.
    fn image(&self, name: &str) -> Result<Rc<Image>, StepError> {
        let failed = |source| StepError::Base { name: name.to_owned(), source };
        let image = Rc::new(self.host.image(name).map_err(failed)?);
        self.held.borrow_mut().push(Rc::clone(&image));
        Ok(image)
    }

    /// Tells of a step before and after it is done.
    fn begun<T>(
        &mut self,
        place: &Place,
        text: &str,
        work: impl FnOnce(&mut Self) -> Result<T, StepError>,
    ) -> Result<T, BuildError> {
        if self.host.is_interrupted() {
            return Err(BuildError::Interrupted);
        }
        self.number += 1;
        self.host.say(Event::Step { number: self.number, text });
        let begun = Instant::now();
        let done = work(self).map_err(step(place, text))?;
        self.host.say(Event::Done { number: self.number, took: begun.elapsed() });
        Ok(done)
    }

    fn instruction(&mut self, stage: &mut Stage, it: &Instruction) -> Result<(), BuildError> {
        self.begun(&it.place, &it.text, |executor| {
            if let Some(told) = metadata::apply(stage, &it.op)? {
                stage.document.add_history(NOW, &told, true);
                return Ok(());
            }
            match &it.op {
                Op::Arg(args) => executor.declare(stage, args),
                Op::Workdir(dir) => executor.working_dir(stage, dir),
                Op::Copy(copy) => executor.copy(stage, copy),
                Op::Run(flags, command, heredocs) => {
                    executor.command(stage, flags, command, heredocs)
                }
                _ => Ok(()),
            }
        })
    }

    fn declare(
        &mut self,
        stage: &mut Stage,
        args: &[(String, Option<String>)],
    ) -> Result<(), StepError> {
        let mut told = Vec::new();
        for (name, default) in args {
            self.used.insert(name.clone());
            let default = default.as_ref().map(|default| stage.expand(default)).transpose()?;
            told.push(match &default {
                Some(default) => format!("{name}={default}"),
                None => name.clone(),
            });
            let value = self
                .options
                .args
                .get(name)
                .cloned()
                .or(default)
                .or_else(|| self.globals.get(name).cloned())
                .or_else(|| platform_arg(name));
            match value {
                Some(value) => drop(stage.args.insert(name.clone(), value)),
                None => drop(stage.args.remove(name)),
            }
        }
        stage.document.add_history(NOW, &format!("ARG {}", told.join(" ")), true);
        Ok(())
    }

    /// Arguments that nobody needs to declare.
    pub fn proxies(&self) -> Vec<(String, String)> {
        let given =
            |name: &&str| Some(((*name).to_owned(), self.options.args.get(*name)?.clone()));
        PROXIES.iter().filter_map(given).collect()
    }

    fn working_dir(&mut self, stage: &mut Stage, dir: &str) -> Result<(), StepError> {
        let dir = stage.expand(dir)?;
        if dir.is_empty() {
            return Err(StepError::Value { what: "a directory", value: dir });
        }
        let target = Target::new(&dir, &stage.working_dir());
        let path = format!("/{}", String::from_utf8_lossy(target.path()));
        stage.document.set("WorkingDir", serde_json::json!(path));
        let owner = self.owner(stage, stage.document.text("User"))?;
        let below = stage.files()?;
        let mut copier = Copier {
            below: below.as_deref(),
            owner,
            mode: None,
            now: self.now,
            entries: Entries::new(),
        };
        copier.make_directory(target.path())?;
        let told = format!("WORKDIR {path}");
        if copier.entries.is_empty() {
            stage.document.add_history(NOW, &told, true);
            return Ok(());
        }
        let mut key = self.key(stage, "workdir");
        key.add(&path).add(format!("{owner:?}"));
        let entries = copier.entries;
        self.layer(stage, &[key.finish()], &told, |_, _| Ok(entries))
    }

    /// The owner of what is made in a stage: users are looked up in its own files.
    pub fn owner(
        &self,
        stage: &Stage,
        user: Option<&str>,
    ) -> Result<Option<(u32, u32)>, StepError> {
        let Some(user) = user else { return Ok(None) };
        let found = crate::spec::user::resolve(user, &stage.accounts()?)?;
        Ok(Some((found.uid, found.gid)))
    }

    /// Puts a layer on a stage: one that the cache has under one of the keys, or a new
    /// one, which goes there under all of them.
    pub fn layer(
        &mut self,
        stage: &mut Stage,
        keys: &[Digest],
        told: &str,
        make: impl FnOnce(&mut Self, &Stage) -> Result<Entries, StepError>,
    ) -> Result<(), StepError> {
        if !self.options.no_cache {
            for key in keys {
                let Some(found) = self.store.cached(*key) else { continue };
                let Some(layer) = found.layer.clone() else { continue };
                // Under the quicker ones next time.
                for other in keys.iter().take_while(|other| *other != key) {
                    self.store.keep_step(*other, &found)?;
                }
                self.host.say(Event::Cached { number: self.number });
                stage.push(layer, self.store);
                stage.document.add_history(&found.created, told, false);
                return Ok(());
            }
        }
        let entries = make(self, stage)?;
        if self.host.is_interrupted() {
            return Err(StepError::Interrupted);
        }
        let layer = stage.write_layer(&entries, self.options.epoch, self.store)?;
        let created = time::format(self.now);
        let step = CachedStep::new(&created, Some(layer.clone()));
        for key in keys {
            self.store.keep_step(*key, &step)?;
        }
        stage.push(layer, self.store);
        stage.document.add_history(&created, told, false);
        Ok(())
    }

    /// Where `COPY --from` copies from, and what identifies its content.
    pub fn source_stage(
        &self,
        from: &str,
    ) -> Result<(Rc<dyn Tree>, Option<Digest>), StepError> {
        let stage = match self.stage_numbered(from) {
            Some(number) => match self.done.get(&number) {
                Some(stage) => stage.clone(),
                None => return Err(StepError::LaterStage(from.to_owned())),
            },
            None => Stage::of_image(&*self.image(from)?, self.store, self.escape)?,
        };
        match stage.files()? {
            Some(files) => Ok((Rc::new(StageFiles(files)), stage.chain())),
            None => {
                let empty: Rc<dyn Tree> =
                    Rc::new(Context::open(self.dir.path()).map_err(StepError::Files)?);
                Ok((empty, None))
            }
        }
    }
}

/// Arguments about the platform, which are always there to be asked for.
fn platform_arg(name: &str) -> Option<String> {
    Some(
        match name {
            "TARGETPLATFORM" | "BUILDPLATFORM" => "linux/amd64",
            "TARGETOS" | "BUILDOS" => "linux",
            "TARGETARCH" | "BUILDARCH" => "amd64",
            "TARGETVARIANT" | "BUILDVARIANT" => "",
            _ => return None,
        }
        .to_owned(),
    )
}

fn at(instruction: &Instruction) -> impl FnOnce(StepError) -> BuildError + use<> {
    step(&instruction.place, &instruction.text)
}

fn step(place: &Place, text: &str) -> impl FnOnce(StepError) -> BuildError + use<> {
    let (place, instruction) = (place.clone(), text.to_owned());
    move |source| match source {
        StepError::Interrupted => BuildError::Interrupted,
        source => BuildError::Step { place, instruction, source: Box::new(source) },
    }
}

/// Paths that a copy names, for a key.
pub(super) fn described(sources: &[CopySource]) -> String {
    let one = |source: &CopySource| match source {
        CopySource::Path(path) => path.clone(),
        CopySource::Heredoc(heredoc) => format!("<<{}", heredoc.name),
    };
    sources.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// A path from the root of an image.
pub(super) fn in_image(path: &str) -> Vec<u8> {
    clean(path.as_bytes())
}
