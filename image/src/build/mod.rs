//! Building images from Dockerfiles.
//!
//! A Dockerfile is parsed ([`parse`]), its stages are carried out in their order as far
//! as the wanted one needs them ([`execute`]), and each instruction comes to an entry
//! in the history and, if it changes files, to a layer. A layer is known by what it
//! begins with and what goes into it, so one that was made before is taken from the
//! store's cache. Nothing here knows how a command is run: that is the caller's, who
//! is a [`Host`].

mod add;
mod archive;
mod changes;
mod context;
mod copy;
mod copying;
mod counting;
mod document;
mod error;
mod execute;
mod expand;
mod files;
mod finish;
mod glob;
mod ignore;
mod metadata;
mod parse;
mod run;
mod source;
mod stage;
mod stage_tree;
mod time;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

pub use add::AddError;
pub use changes::{Changes, ChangesError};
pub use copy::CopyError;
pub use error::{BuildError, Cause, StepError};
pub use expand::ExpandError;
pub use glob::GlobError;
pub use parse::SyntaxError;
pub use run::{Ran, Run};
pub use source::Place;

use context::Context;
use execute::Executor;
use ignore::Ignore;

use crate::store::Store;
use crate::{Image, ImageRef};

/// What to build.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// The directory that files are copied from.
    pub context: PathBuf,
    /// The Dockerfile, `-` for standard input; by default the context's.
    pub file: Option<PathBuf>,
    /// Names for the image.
    pub names: Vec<ImageRef>,
    /// Values of arguments.
    pub args: BTreeMap<String, String>,
    /// Labels beside the Dockerfile's.
    pub labels: BTreeMap<String, String>,
    /// The stage to build, by default the last.
    pub target: Option<String>,
    /// Do everything, even what was done before.
    pub no_cache: bool,
    /// The latest time that anything in the image may have, in seconds since 1970
    /// (`SOURCE_DATE_EPOCH`); two builds of the same are the same then.
    pub epoch: Option<i64>,
}

/// What happens during a build.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A step begins.
    Step {
        /// Its number, from 1.
        number: usize,
        /// The instruction.
        text: &'a str,
    },
    /// It was done before.
    Cached {
        /// Its number.
        number: usize,
    },
    /// It is done.
    Done {
        /// Its number.
        number: usize,
        /// How long it took.
        took: Duration,
    },
}

/// Who builds: what a build needs from outside.
pub trait Host {
    /// An image by the name a Dockerfile calls it.
    ///
    /// # Errors
    ///
    /// When it cannot be had.
    fn image(&self, name: &str) -> Result<Image, Cause>;

    /// Runs a command on a stack of layers.
    ///
    /// # Errors
    ///
    /// When it cannot be run. That it fails is no error.
    fn run(&self, run: &Run<'_>) -> Result<Ran, Cause>;

    /// Whether to stop.
    fn is_interrupted(&self) -> bool;

    /// Told what happens.
    fn say(&self, event: Event<'_>);
}

/// An image that was built.
#[derive(Debug)]
pub struct Built {
    /// The image.
    pub image: Image,
    /// Arguments that were given and that no instruction has asked for.
    pub unused_args: BTreeSet<String>,
}

impl Store {
    /// Builds an image.
    ///
    /// # Errors
    ///
    /// [`BuildError`], which says where in the Dockerfile. The steps before are kept:
    /// the next build goes on from there.
    pub fn build(&self, options: &BuildOptions, host: &dyn Host) -> Result<Built, BuildError> {
        let path = &options.context;
        let unusable = |source| BuildError::Context { path: path.clone(), source };
        let mut context = Context::open(path).map_err(unusable)?;
        let (name, text) = dockerfile(&context, options.file.as_deref())?;
        context.set_ignore(ignore_of(&context, options.file.as_deref())?);
        let (file, escape) = parse::parse(&name, &text)?;
        let mut executor = Executor {
            store: self,
            options,
            host,
            dir: self.build_dir()?,
            context: Rc::new(context),
            file: &file,
            escape,
            globals: BTreeMap::new(),
            used: BTreeSet::new(),
            held: std::cell::RefCell::default(),
            done: BTreeMap::new(),
            now: options.epoch.unwrap_or_else(time::now),
            number: 0,
        };
        let target = match &options.target {
            Some(name) => executor
                .stage_numbered(name)
                .ok_or_else(|| BuildError::NoStage(name.clone()))?,
            // The parser has seen to that there is one.
            None => file.stages.len() - 1,
        };
        executor.run(target)?;
        let Some(mut stage) = executor.done.get(&target).cloned() else {
            return Err(BuildError::NoStage(name));
        };
        for (key, value) in &options.labels {
            stage.document.insert("Labels", key, serde_json::json!(value));
        }
        let image = executor.finish(&stage)?;
        let given = options.args.keys().filter(|name| !stage::PROXIES.contains(&name.as_str()));
        let unused_args =
            given.filter(|name| !executor.used.contains(*name)).cloned().collect();
        Ok(Built { image, unused_args })
    }
}

/// Names a Dockerfile has where none is named.
const NAMES: [&str; 2] = ["Dockerfile", "Containerfile"];

/// The text of the Dockerfile, and what it is called.
fn dockerfile(context: &Context, file: Option<&Path>) -> Result<(String, String), BuildError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| BuildError::Text { path, source }
    };
    match file {
        Some(path) if path.as_os_str() == "-" => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map_err(unreadable(path))?;
            Ok(("Dockerfile".to_owned(), text))
        }
        Some(path) => {
            let file = File::open(path).map_err(unreadable(path))?;
            let text = context::read_text(&file).map_err(unreadable(path))?;
            Ok((path.display().to_string(), text))
        }
        None => {
            for name in NAMES {
                let path = context.path().join(name);
                if let Some(text) =
                    context.read_text(name.as_bytes()).map_err(unreadable(&path))?
                {
                    return Ok((name.to_owned(), text));
                }
            }
            Err(BuildError::NoDockerfile(context.path().to_owned()))
        }
    }
}

/// What is left out of the context: what stands beside the Dockerfile goes before what
/// the context has.
fn ignore_of(context: &Context, file: Option<&Path>) -> Result<Ignore, BuildError> {
    let own = file.filter(|path| path.as_os_str() != "-").map(|path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".dockerignore");
        PathBuf::from(name)
    });
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| BuildError::Text { path, source }
    };
    let (path, text) = match own.filter(|path| path.is_file()) {
        Some(path) => {
            let file = File::open(&path).map_err(unreadable(&path))?;
            let text = context::read_text(&file).map_err(unreadable(&path))?;
            (path, Some(text))
        }
        None => {
            let path = context.path().join(".dockerignore");
            let text = context.read_text(b".dockerignore").map_err(unreadable(&path))?;
            (path, text)
        }
    };
    let Some(text) = text else { return Ok(Ignore::default()) };
    Ignore::parse(&text).map_err(|source| BuildError::Ignore { path, source })
}
