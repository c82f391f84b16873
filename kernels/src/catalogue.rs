//! The kernels kept on this machine.
//!
//! `<cache>/kernels/<name>/` holds one kernel each: `vmlinux`, the
//! `kernel.json` that says where it came from, and, for one that was built,
//! its full `config`. A directory appears complete, by a rename, or not at all.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::image::{Format, ImageError, KernelImage};
use crate::inputs;

/// Where a kernel came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "origin", rename_all = "lowercase")]
pub enum Origin {
    /// Built here.
    Built {
        /// Hash of configuration, patches and builder.
        inputs: String,
        /// Version of the `linux-source-6.1` package.
        source: String,
        /// First line of `gcc --version`.
        compiler: String,
    },
    /// Given by the user.
    Imported {
        /// The file it was copied from.
        from: PathBuf,
    },
}

/// One kernel of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// Its name in the catalogue.
    pub name: String,
    /// The image.
    pub path: PathBuf,
    /// `uname -r`, where the image tells.
    pub release: Option<String>,
    /// File format of the image.
    pub format: Format,
    /// Where it came from.
    #[serde(flatten)]
    pub origin: Origin,
}

/// Failure to find or keep a kernel.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The file given is not a kernel.
    #[error("cannot take this kernel")]
    Image(#[from] ImageError),
    /// The description of a kernel is not one of ours.
    #[error("{} is damaged; remove its directory and build or import again", path.display())]
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
        /// What was being done: `create`, `read`, …
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl CatalogueError {
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

const DESCRIPTION: &str = "kernel.json";
const IMAGE: &str = "vmlinux";

/// The kernels kept in one cache directory.
#[derive(Debug, Clone)]
pub struct Catalogue {
    dir: PathBuf,
}

impl Catalogue {
    /// The catalogue in `cache`, which is made when something is first put there.
    #[must_use]
    pub fn open(cache: impl AsRef<Path>) -> Self {
        Self { dir: cache.as_ref().join("kernels") }
    }

    /// The default cache: `/var/cache/bulkhead` for root, otherwise
    /// `$XDG_CACHE_HOME/bulkhead` or `~/.cache/bulkhead`. `BULKHEAD_CACHE`
    /// overrides it.
    #[must_use]
    pub fn default_dir() -> PathBuf {
        if let Some(cache) = std::env::var_os("BULKHEAD_CACHE") {
            return cache.into();
        }
        if nix::unistd::geteuid().is_root() {
            return "/var/cache/bulkhead".into();
        }
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        cache.or_else(home).unwrap_or_else(|| "/var/tmp".into()).join("bulkhead")
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// All kernels by name; those built from this version's inputs first.
    ///
    /// # Errors
    ///
    /// [`CatalogueError::Io`] or [`CatalogueError::Damaged`].
    pub fn list(&self) -> Result<Vec<Kernel>, CatalogueError> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(CatalogueError::io("list", &self.dir))?,
        };
        let mut kernels = Vec::new();
        for entry in entries {
            let path = entry.map_err(CatalogueError::io("list", &self.dir))?.path();
            // Hidden names are work in progress.
            let hidden =
                path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
            if path.is_dir() && !hidden {
                kernels.push(read(&path)?);
            }
        }
        let current = inputs::hash();
        kernels.sort_by_key(|kernel| {
            let older = !is_built_from(kernel, &current);
            (older, kernel.name.clone())
        });
        Ok(kernels)
    }

    /// The kernel built from this version's configuration and patches, from the
    /// newest source there is; `None` when it has not been built.
    ///
    /// # Errors
    ///
    /// As [`Catalogue::list`].
    pub fn default_kernel(&self) -> Result<Option<Kernel>, CatalogueError> {
        let current = inputs::hash();
        let mut built = self.list()?;
        built.retain(|kernel| is_built_from(kernel, &current));
        // Names end in the version of the source package.
        Ok(built.pop())
    }

    /// Whether the image at `path` is one that was built here, not given by the
    /// user.
    ///
    /// # Errors
    ///
    /// As [`Catalogue::list`].
    pub fn built(&self, path: &Path) -> Result<bool, CatalogueError> {
        match path.parent() {
            Some(home) if home.parent() == Some(&self.dir) => {
                Ok(matches!(read(home)?.origin, Origin::Built { .. }))
            }
            _ => Ok(false),
        }
    }

    /// Checks a kernel and keeps a copy of it under the name of its file.
    ///
    /// # Errors
    ///
    /// [`CatalogueError::Image`] when it is no kernel, [`CatalogueError::Io`].
    pub fn import(&self, file: &Path) -> Result<Kernel, CatalogueError> {
        let image = KernelImage::inspect(file)?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let name = format!("imported-{}", name.trim_start_matches('.'));
        let work = self.work_dir(&name)?;
        let copy = work.join(IMAGE);
        fs::copy(file, &copy).map_err(CatalogueError::io("copy to", &copy))?;
        let from = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        self.publish(&work, name, &image, Origin::Imported { from })
    }

    /// An empty directory in which the kernel `name` is put together. Those of
    /// processes that were killed at it are removed.
    pub(crate) fn work_dir(&self, name: &str) -> Result<PathBuf, CatalogueError> {
        let prefix = format!(".{name}.");
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let file_name = entry.file_name();
            let owner = file_name.to_str().and_then(|name| name.strip_prefix(&prefix));
            if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                remove(&entry.path())?;
            }
        }
        let work = self.dir.join(format!("{prefix}{}", std::process::id()));
        remove(&work)?;
        fs::create_dir_all(&work).map_err(CatalogueError::io("create", &work))?;
        Ok(work)
    }

    /// Describes the kernel in `work` and makes it visible, replacing one of the
    /// same name.
    pub(crate) fn publish(
        &self,
        work: &Path,
        name: String,
        image: &KernelImage,
        origin: Origin,
    ) -> Result<Kernel, CatalogueError> {
        let home = self.dir.join(&name);
        let kernel = Kernel {
            name,
            path: home.join(IMAGE),
            release: image.release.clone(),
            format: image.format,
            origin,
        };
        let description = work.join(DESCRIPTION);
        let text = serde_json::to_vec_pretty(&kernel)
            .map_err(|source| CatalogueError::Damaged { path: description.clone(), source })?;
        fs::write(&description, text).map_err(CatalogueError::io("write", &description))?;
        for file in [work.join(IMAGE), description] {
            let synced = fs::File::open(&file).and_then(|file| file.sync_all());
            synced.map_err(CatalogueError::io("sync", &file))?;
        }
        remove(&home)?;
        fs::rename(work, &home).map_err(CatalogueError::io("rename to", &home))?;
        Ok(kernel)
    }

    /// Where the image of a kernel is put together in `work`.
    pub(crate) fn image_in(work: &Path) -> PathBuf {
        work.join(IMAGE)
    }
}

fn is_built_from(kernel: &Kernel, current: &str) -> bool {
    matches!(&kernel.origin, Origin::Built { inputs, .. } if inputs == current)
}

fn read(home: &Path) -> Result<Kernel, CatalogueError> {
    let path = home.join(DESCRIPTION);
    let text = fs::read(&path).map_err(CatalogueError::io("read", &path))?;
    let kernel: Kernel = serde_json::from_slice(&text)
        .map_err(|source| CatalogueError::Damaged { path, source })?;
    // The cache may have been moved since.
    Ok(Kernel { path: home.join(IMAGE), ..kernel })
}

/// Removes a directory if it is there.
pub(crate) fn remove(dir: &Path) -> Result<(), CatalogueError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(CatalogueError::io("remove", dir)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tests::tiny_elf;

    fn publish(catalogue: &Catalogue, name: &str, inputs: &str) {
        let work = catalogue.work_dir(name).unwrap();
        let image = Catalogue::image_in(&work);
        fs::write(&image, tiny_elf()).unwrap();
        let origin = Origin::Built {
            inputs: inputs.to_owned(),
            source: "6.1.1-1".to_owned(),
            compiler: "gcc".to_owned(),
        };
        let image = KernelImage::inspect(&image).unwrap();
        catalogue.publish(&work, name.to_owned(), &image, origin).unwrap();
    }

    #[test]
    fn an_empty_cache_has_no_kernel() {
        let catalogue = Catalogue::open("/nonexistent/cache");
        assert!(catalogue.list().unwrap().is_empty());
        assert_eq!(catalogue.default_kernel().unwrap(), None);
    }

    #[test]
    fn the_default_is_built_from_current_inputs_and_the_newest_source() {
        let cache = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(cache.path());
        publish(&catalogue, "zzz-9", "other inputs");
        assert_eq!(catalogue.default_kernel().unwrap(), None);
        publish(&catalogue, "abc-6.1.2", &inputs::hash());
        publish(&catalogue, "abc-6.1.1", &inputs::hash());
        let default = catalogue.default_kernel().unwrap().unwrap();
        assert_eq!(default.name, "abc-6.1.2");
        assert!(default.path.is_file());
        assert!(catalogue.built(&default.path).unwrap());
        let names: Vec<_> = catalogue.list().unwrap().into_iter().map(|k| k.name).collect();
        assert_eq!(names, ["abc-6.1.1", "abc-6.1.2", "zzz-9"]);
    }

    #[test]
    fn what_a_killed_process_left_is_removed() {
        let cache = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(cache.path());
        let of = |owner: &str| catalogue.dir().join(format!(".k.{owner}"));
        // No process has this id: pid_max is at most 2^22 (proc(5)).
        fs::create_dir_all(of("4194305")).unwrap();
        fs::create_dir_all(of("1")).unwrap();
        catalogue.work_dir("k").unwrap();
        assert!(!of("4194305").exists());
        assert!(of("1").exists(), "process 1 is still at it");
    }

    #[test]
    fn an_import_is_a_checked_copy() {
        let cache = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(cache.path().join("cache"));
        let file = cache.path().join("my-kernel.elf");
        fs::write(&file, tiny_elf()).unwrap();
        let kernel = catalogue.import(&file).unwrap();
        fs::remove_file(&file).unwrap();
        assert_eq!(kernel.name, "imported-my-kernel");
        assert_eq!(fs::read(&kernel.path).unwrap(), tiny_elf());
        assert!(!catalogue.built(&kernel.path).unwrap());
        assert!(!catalogue.built(&file).unwrap(), "not in the catalogue");
        assert_eq!(catalogue.list().unwrap(), [kernel]);

        fs::write(&file, b"no kernel").unwrap();
        assert!(matches!(catalogue.import(&file), Err(CatalogueError::Image(_))));
        assert_eq!(catalogue.list().unwrap().len(), 1);
    }
}
