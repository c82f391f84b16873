//! The steps `COPY` and `ADD`.

use std::rc::Rc;

use super::add::{self, AddError};
use super::archive::{Content, Entries};
use super::copy::{Copier, Target, fingerprint};
use super::error::StepError;
use super::execute::{Executor, described};
use super::expand::expand_text;
use super::files::{Meta, Tree};
use super::parse::{Copy, CopySource};
use super::stage::Stage;
use crate::Digest;
use crate::unpack::UnpackLimits;

/// Mode of files that come from here-documents, as BuildKit's.
const HEREDOC_MODE: u32 = 0o644;
/// Mode of files that are fetched, as docker's.
const FETCHED_MODE: u32 = 0o600;

/// The options of a copy.
#[derive(Debug, Default)]
struct Options {
    from: Option<String>,
    owner: Option<(u32, u32)>,
    mode: Option<u32>,
    checksum: Option<Digest>,
}

impl Executor<'_> {
    pub(super) fn copy(&mut self, stage: &mut Stage, copy: &Copy) -> Result<(), StepError> {
        let options = self.copy_options(stage, copy)?;
        let written = stage.expand(&copy.target)?;
        let target = Target::new(&written, &stage.working_dir());
        let sources = expanded(stage, &copy.sources)?;
        let keyword = if copy.add { "ADD" } else { "COPY" };
        let told = told(keyword, copy, &sources, &written);

        let (tree, chain): (Rc<dyn Tree>, _) = match &options.from {
            Some(from) => self.source_stage(from)?,
            None => (self.context.clone(), None),
        };
        // What a stage has is known by its layers: nothing need be read to find a copy
        // of the same again.
        let quick = chain.map(|chain| {
            let mut key = self.key(stage, "copy-from");
            key.add(chain.to_string()).add(described(&sources)).add(target.path());
            key.add(format!("{written} {:?} {:?}", options.owner, options.mode));
            key.finish()
        });
        if let Some(quick) = quick
            && !self.options.no_cache
            && self.store.cached(quick).is_some()
        {
            return self.layer(stage, &[quick], &told, |_, _| Ok(Entries::new()));
        }
        let entries = self.copied(stage, copy, &sources, &target, &tree, &options)?;
        let mut key = self.key(stage, "copy");
        key.add(fingerprint(&entries)?.to_string());
        let keys: Vec<_> = quick.into_iter().chain([key.finish()]).collect();
        self.layer(stage, &keys, &told, |_, _| Ok(entries))
    }

    fn copied(
        &self,
        stage: &Stage,
        copy: &Copy,
        sources: &[CopySource],
        target: &Target,
        tree: &Rc<dyn Tree>,
        options: &Options,
    ) -> Result<Entries, StepError> {
        let below = stage.files()?;
        let mut copier = Copier {
            below: below.as_deref(),
            owner: options.owner,
            mode: options.mode,
            now: self.now,
            entries: Entries::new(),
        };
        let several = sources.len() > 1;
        for source in sources {
            match source {
                CopySource::Heredoc(heredoc) => {
                    let size = heredoc.body.len() as u64;
                    let meta = Meta::file(size, HEREDOC_MODE, self.now);
                    let content = Content::Bytes(heredoc.body.as_bytes().into());
                    copier.put(heredoc.name.as_bytes(), meta, content, target, several)?;
                }
                CopySource::Path(path) if copy.add && is_remote(path) => {
                    self.fetched(&mut copier, path, target, options, several)?;
                }
                CopySource::Path(path) if copy.add => {
                    self.added(&mut copier, path, target, tree, several)?;
                }
                CopySource::Path(path) => copier.copy(tree, path, target, several)?,
            }
        }
        Ok(copier.entries)
    }

    /// Adds local files, archives unpacked.
    fn added(
        &self,
        copier: &mut Copier<'_>,
        pattern: &str,
        target: &Target,
        tree: &Rc<dyn Tree>,
        several: bool,
    ) -> Result<(), StepError> {
        let paths = super::copy::matching(&**tree, pattern)?;
        let several = several || paths.len() > 1;
        for path in paths {
            let meta = tree.meta(&path, true).map_err(super::copy::read_error(&path))?;
            let archive = match meta {
                Some(meta) if !meta.is_directory() => {
                    let file = tree.open(&path).map_err(super::copy::read_error(&path))?;
                    add::unpack(file, &path, self.dir.path(), UnpackLimits::default())?
                }
                _ => None,
            };
            match archive {
                Some(entries) => copier.put_all(entries, target)?,
                None => copier.copy_one(tree, &path, target, several)?,
            }
        }
        Ok(())
    }

    fn fetched(
        &self,
        copier: &mut Copier<'_>,
        url: &str,
        target: &Target,
        options: &Options,
        several: bool,
    ) -> Result<(), StepError> {
        let fetched =
            add::fetch(url, target.is_directory(), self.dir.path(), UnpackLimits::default())?;
        if let Some(expected) = options.checksum.filter(|expected| *expected != fetched.digest)
        {
            let (url, found) = (url.to_owned(), fetched.digest);
            return Err(AddError::Checksum { url, expected, found }.into());
        }
        let meta = Meta::file(fetched.size, FETCHED_MODE, fetched.mtime.unwrap_or(0));
        let content = Content::Range(Rc::new(fetched.file), 0);
        let name = fetched.name.as_bytes();
        copier.put(name, meta, content, target, several)?;
        Ok(())
    }

    fn copy_options(&self, stage: &Stage, copy: &Copy) -> Result<Options, StepError> {
        let mut options = Options::default();
        for flag in &copy.flags {
            let value = stage.expand(flag.value.as_deref().unwrap_or_default())?;
            match flag.name.as_str() {
                "from" if !copy.add => options.from = flag.value.clone(),
                "chown" => options.owner = Some(self.chown(stage, &value)?),
                "chmod" => {
                    let mode =
                        u32::from_str_radix(&value, 8).ok().filter(|mode| *mode <= 0o7777);
                    let wrong = StepError::Value { what: "a mode in octal digits", value };
                    options.mode = Some(mode.ok_or(wrong)?);
                }
                "checksum" if copy.add => {
                    let wrong = StepError::Value {
                        what: "a digest (sha256:…)",
                        value: value.clone(),
                    };
                    options.checksum = Some(value.parse().map_err(|_| wrong)?);
                }
                // Layers are independent of each other anyway.
                "link" => {}
                _ => return Err(StepError::Flag(flag.name.clone())),
            }
        }
        if options.checksum.is_some()
            && !copy
                .sources
                .iter()
                .all(|source| matches!(source, CopySource::Path(path) if is_remote(path)))
        {
            return Err(StepError::Unsupported("a checksum of what is not fetched"));
        }
        Ok(options)
    }

    /// `user[:group]`; a number without a group is also the group's.
    fn chown(&self, stage: &Stage, value: &str) -> Result<(u32, u32), StepError> {
        if !value.contains(':')
            && let Ok(id) = value.parse::<u32>()
        {
            return Ok((id, id));
        }
        Ok(self.owner(stage, Some(value))?.unwrap_or_default())
    }
}

fn expanded(stage: &Stage, sources: &[CopySource]) -> Result<Vec<CopySource>, StepError> {
    let one = |source: &CopySource| match source {
        CopySource::Path(path) => Ok(CopySource::Path(stage.expand(path)?)),
        CopySource::Heredoc(heredoc) => {
            let mut heredoc = heredoc.clone();
            if heredoc.expand {
                heredoc.body = expand_text(&heredoc.body, &|name| stage.lookup(name))?;
            }
            Ok(CopySource::Heredoc(heredoc))
        }
    };
    sources.iter().map(one).collect()
}

fn told(keyword: &str, copy: &Copy, sources: &[CopySource], target: &str) -> String {
    let flags = copy.flags.iter().map(|flag| match &flag.value {
        Some(value) => format!("--{}={value} ", flag.name),
        None => format!("--{} ", flag.name),
    });
    let flags: String = flags.collect();
    format!("{keyword} {flags}{} {target}", described(sources))
}

fn is_remote(path: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| path.starts_with(scheme))
}
