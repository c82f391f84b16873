//! Where instances are kept.

mod foreground;
mod held;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bulkhead_runtime::{IdError, SandboxId, state};
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::events::Events;
use crate::health::Health;
use crate::{Config, InstanceId, ResolveError, State, Status, generated, resolve};

pub use held::Held;

const CONFIG: &str = "config.json";
const STATE: &str = "state.json";
const HEALTH: &str = "health.json";
/// Prefixes of directories that are being made and removed; no id begins with a dot.
const NEW: &str = ".new-";
const GONE: &str = ".gone-";

/// Failure to keep or find instances.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The name is taken.
    #[error("the name {name} is taken by sandbox {id}; remove or rename that one first")]
    NameTaken {
        /// The name.
        name: String,
        /// Short id of the instance that has it.
        id: String,
    },
    /// A supervisor takes care of it already.
    #[error("sandbox {0} is running")]
    Running(String),
    /// Nothing, or more than one thing, is called so.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// No random id can be drawn.
    #[error(transparent)]
    Id(#[from] IdError),
    /// The state of the sandboxes cannot be read.
    #[error(transparent)]
    Sandboxes(#[from] bulkhead_runtime::StateError),
    /// A file is not one of ours.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why it cannot be understood.
        #[source]
        source: serde_json::Error,
    },
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

fn io_error<E: Into<io::Error>>(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(E) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { action, path, source: source.into() }
}

/// Who takes care of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeper {
    /// A supervisor, if one is alive.
    Supervisor {
        /// It is.
        alive: bool,
    },
    /// The command in the foreground with this process id.
    Foreground {
        /// The process.
        owner: i32,
    },
}

/// An instance, looked at once.
#[derive(Debug, Clone)]
pub struct Instance {
    /// What it was asked for.
    pub config: Config,
    /// What was last noted of it.
    pub state: State,
    /// Who takes care of it.
    pub keeper: Keeper,
    /// Its directory: its own, or that of its sandbox when it is in the foreground.
    pub dir: PathBuf,
}

impl Instance {
    /// What it is now.
    #[must_use]
    pub fn status(&self) -> Status {
        let alive = match self.keeper {
            Keeper::Supervisor { alive } => alive,
            Keeper::Foreground { .. } => true,
        };
        Status::of(self.state.phase, alive)
    }

    /// Whether a supervisor takes care of it now, whatever was so when it was looked at.
    #[must_use]
    pub fn is_supervised_now(&self) -> bool {
        held::is_held(&self.dir)
    }

    /// Its exit code, if it has ended by now.
    #[must_use]
    pub fn exit_code_now(&self) -> Option<u8> {
        read::<State>(&self.dir.join(STATE)).ok()?.exit_code
    }

    /// Whether a command in the foreground runs it.
    #[must_use]
    pub fn is_foreground(&self) -> bool {
        matches!(self.keeper, Keeper::Foreground { .. })
    }

    /// Where its output is kept.
    #[must_use]
    pub fn log_dir(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// What its health checks said.
    #[must_use]
    pub fn health(&self) -> Option<Health> {
        read(&self.dir.join(HEALTH)).ok()
    }
}

/// The instances of a store.
#[derive(Debug, Clone)]
pub struct Instances {
    dir: PathBuf,
    events: PathBuf,
    root: PathBuf,
}

impl Instances {
    /// Those below the store, and those in the foreground whose sandboxes are below `root`.
    #[must_use]
    pub fn of(store: &Path, root: &Path) -> Self {
        let (dir, events) = (store.join("instances"), store.join("events"));
        Self { dir, events, root: root.to_owned() }
    }

    /// What happens to them.
    #[must_use]
    pub fn events(&self) -> Events {
        Events::at(self.events.clone())
    }

    /// All of them, oldest first. What is damaged is left out.
    ///
    /// # Errors
    ///
    /// When a directory cannot be listed.
    pub fn list(&self) -> Result<Vec<Instance>, StoreError> {
        let mut all = self.kept()?;
        all.extend(foreground::list(&self.root)?);
        all.sort_by_key(|instance| instance.config.created);
        Ok(all)
    }

    /// Those that are kept here, in no order.
    fn kept(&self) -> Result<Vec<Instance>, StoreError> {
        let names = names(&self.dir)?;
        let ids = names.into_iter().filter_map(|name| InstanceId::try_from(name).ok());
        Ok(ids.filter_map(|id| self.load(&id).ok()).collect())
    }

    /// The instance that `text` means.
    ///
    /// # Errors
    ///
    /// [`StoreError::Resolve`] when it is none, or more than one.
    pub fn find(&self, text: &str) -> Result<Instance, StoreError> {
        // A full id needs no look at all the others.
        if let Ok(id) = InstanceId::try_from(text.to_owned())
            && let Ok(instance) = self.load(&id)
        {
            return Ok(instance);
        }
        Ok(resolve(self.list()?, text)?)
    }

    /// The name of the sandbox that `text` means: an instance's, or one that belongs to
    /// none, such as a benchmark's.
    ///
    /// # Errors
    ///
    /// [`StoreError::Resolve`] when it is none, or more than one.
    pub fn sandbox(&self, text: &str) -> Result<SandboxId, StoreError> {
        match self.find(text) {
            Ok(Instance { state: State { sandbox: Some(sandbox), .. }, .. }) => Ok(sandbox),
            other => match text.parse::<SandboxId>() {
                Ok(id) if state::StateDir::open(&self.root, &id).is_ok() => Ok(id),
                _ => match other?.config.name {
                    name if name == text => Err(ResolveError::NotFound(name).into()),
                    _ => Err(ResolveError::NotFound(text.to_owned()).into()),
                },
            },
        }
    }

    /// Process id of the first process of a sandbox on the host.
    pub(crate) fn pid_of(&self, sandbox: &SandboxId) -> Option<i32> {
        state::StateDir::open(&self.root, sandbox).ok()?.read().ok()?.pid
    }

    fn load(&self, id: &InstanceId) -> Result<Instance, StoreError> {
        let dir = self.dir.join(id.as_str());
        let config = read(&dir.join(CONFIG))?;
        // One that was never started has none; one that a power cut spoiled says nothing.
        let state = read(&dir.join(STATE)).unwrap_or_default();
        let alive = held::is_held(&dir);
        Ok(Instance { config, state, keeper: Keeper::Supervisor { alive }, dir })
    }

    /// Fails when `name` is taken.
    ///
    /// # Errors
    ///
    /// [`StoreError::NameTaken`].
    pub fn expect_free(&self, name: &str) -> Result<(), StoreError> {
        match self.list()?.into_iter().find(|other| other.config.name == name) {
            None => Ok(()),
            Some(other) => Err(StoreError::NameTaken {
                name: name.to_owned(),
                id: other.config.id.short().to_owned(),
            }),
        }
    }

    /// Keeps a new instance, which is the caller's until it is dropped or handed to a
    /// supervisor. Without a name it is given one.
    ///
    /// # Errors
    ///
    /// [`StoreError::NameTaken`], or when it cannot be written.
    pub fn create(&self, mut config: Config) -> Result<Held, StoreError> {
        let lock = self.lock()?;
        if config.name.is_empty() {
            config.name = generated(&config.id);
            if self.expect_free(&config.name).is_err() {
                config.name = format!("{}_{}", config.name, &config.id.short()[..4]);
            }
        }
        self.expect_free(&config.name)?;
        let fresh = self.dir.join(format!("{NEW}{}", config.id));
        let dir = self.dir.join(config.id.as_str());
        make_dir(&fresh)?;
        write_new(&fresh.join(CONFIG), &config)?;
        let held = held::Held::take(&fresh)?;
        fs::rename(&fresh, &dir).map_err(io_error("rename to", &dir))?;
        drop(lock);
        self.events().note(&config, "create", &[]);
        let (state, keeper) = (State::default(), Keeper::Supervisor { alive: true });
        Ok(Held::new(Instance { config, state, keeper, dir }, held))
    }

    /// Takes an instance that nobody takes care of.
    ///
    /// # Errors
    ///
    /// [`StoreError::Running`] when somebody does.
    pub fn take(&self, instance: &Instance) -> Result<Held, StoreError> {
        let running = || StoreError::Running(instance.config.name.clone());
        if instance.is_foreground() {
            return Err(running());
        }
        let lock = held::Held::take(&instance.dir).map_err(|error| match error {
            StoreError::Io { source, .. } if source.kind() == ErrorKind::WouldBlock => {
                running()
            }
            other => other,
        })?;
        // Only now nobody else writes it.
        let now = self.load(&instance.config.id)?;
        Ok(Held::new(now, lock))
    }

    /// As [`Instances::take`], of an instance whose lock its caller was given.
    ///
    /// # Errors
    ///
    /// When there is no such instance.
    pub fn adopt(&self, id: &InstanceId, lock: File) -> Result<Held, StoreError> {
        Ok(Held::new(self.load(id)?, lock))
    }

    /// Notes a sandbox in the foreground beside its state.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn note_foreground(
        &self,
        sandbox: &SandboxId,
        config: &Config,
    ) -> Result<(), StoreError> {
        foreground::note(&self.root, sandbox, config)
    }

    /// Gives an instance another name.
    ///
    /// # Errors
    ///
    /// [`StoreError::NameTaken`], or when it cannot be written.
    pub fn rename(&self, instance: &Instance, name: &str) -> Result<(), StoreError> {
        let _lock = self.lock()?;
        self.expect_free(name)?;
        let old = &instance.config.name;
        let config = Config { name: name.to_owned(), ..instance.config.clone() };
        if instance.is_foreground() {
            let sandbox = instance.state.sandbox.as_ref();
            if let Some(sandbox) = sandbox {
                foreground::rename(&self.root, sandbox, &config)?;
            }
        } else {
            write(&instance.dir.join(CONFIG), &config)?;
        }
        self.events().note(&config, "rename", &[("oldName", old.clone())]);
        Ok(())
    }

    /// Removes an instance that nobody takes care of but the caller.
    ///
    /// # Errors
    ///
    /// When its directory cannot be removed.
    pub fn remove(&self, held: Held) -> Result<(), StoreError> {
        let _lock = self.lock()?;
        let (dir, config) = (&held.instance.dir, &held.instance.config);
        let gone = self.dir.join(format!("{GONE}{}", config.id));
        fs::rename(dir, &gone).map_err(io_error("rename to", &gone))?;
        remove_dir(&gone)?;
        self.events().note(config, "destroy", &[]);
        // Only now may its lock go.
        drop(held);
        Ok(())
    }

    /// Those whose supervisor was killed. With `settle`, they are noted as ended, and
    /// those that were to be removed then are; and so is what was half made or half
    /// removed.
    ///
    /// # Errors
    ///
    /// When something cannot be written or removed.
    pub fn collect_garbage(&self, settle: bool) -> Result<Vec<Instance>, StoreError> {
        if !self.dir.exists() {
            return Ok(Vec::new());
        }
        if settle {
            let _nothing_half_made = self.lock()?;
            for name in names(&self.dir)? {
                if name.starts_with(NEW) || name.starts_with(GONE) {
                    remove_dir(&self.dir.join(name))?;
                }
            }
        }
        let mut found = Vec::new();
        for instance in self.kept()? {
            if instance.status() != Status::Dead {
                continue;
            }
            found.push(instance.clone());
            if !settle {
                continue;
            }
            // Somebody may have started it again meanwhile.
            let Ok(mut held) = self.take(&instance) else { continue };
            held.settle()?;
            if held.instance.config.auto_remove {
                self.remove(held)?;
            }
        }
        Ok(found)
    }

    /// Keeps others from giving names and removing meanwhile.
    fn lock(&self) -> Result<File, StoreError> {
        make_dir(&self.dir)?;
        let path = self.dir.join(".lock");
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(io_error("open", &path))?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Err(rustix::io::Errno::INTR) => {}
                other => {
                    other.map_err(io_error("lock", &path))?;
                    return Ok(file);
                }
            }
        }
    }
}

fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(io_error("list", dir))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(io_error("list", dir))?.file_name();
        names.extend(name.into_string());
    }
    Ok(names)
}

fn make_dir(path: &Path) -> Result<(), StoreError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(path).map_err(io_error("create", path))
}

fn remove_dir(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(io_error("remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, StoreError> {
    let text = fs::read(path).map_err(io_error("read", path))?;
    serde_json::from_slice(&text)
        .map_err(|source| StoreError::Damaged { path: path.to_owned(), source })
}

fn json(path: &Path, value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value)
        .map_err(|source| StoreError::Damaged { path: path.to_owned(), source })
}

/// Replaces a file in one step.
fn write(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    let fresh = path.with_extension("json.new");
    fs::write(&fresh, json(path, value)?).map_err(io_error("write", &fresh))?;
    state::replace(&fresh, path).map_err(io_error("rename to", path))
}

/// Writes a file that is to outlast a power cut.
fn write_new(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    let text = json(path, value)?;
    let mut file = File::create(path).map_err(io_error("create", path))?;
    file.write_all(&text).map_err(io_error("write", path))?;
    file.sync_all().map_err(io_error("sync", path))
}

#[cfg(test)]
pub(crate) mod tests;
