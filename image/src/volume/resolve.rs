//! From what was asked for to the mounts of `config.json`, and to the volumes that are
//! held as long as the sandbox lives.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use oci_spec::OciSpecError;
use oci_spec::runtime::{Mount, MountBuilder, Spec};

use super::store::Content;
use super::{MountKind, MountRequest, Origin, Volume, VolumeError, VolumeName, Volumes};
use crate::Image;

/// How long what nobody named lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// As long as the run: the writable layer goes with it too.
    Run,
    /// Until the sandbox is removed: it may start again.
    Sandbox,
}

impl Persistence {
    fn origin(self) -> Origin {
        match self {
            Self::Run => Origin::Ephemeral,
            Self::Sandbox => Origin::Anonymous,
        }
    }
}

/// A mount that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// Two mounts on one place.
    #[error("two mounts on `{}`", .0.display())]
    Twice(PathBuf),
    /// The host has no such file.
    #[error("cannot mount `{}` of the host", path.display())]
    Source {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No name for a volume.
    #[error("cannot name a volume")]
    Random(#[source] io::Error),
    /// A volume cannot be had.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// A bug: the parts do not make a mount.
    #[error("a mount cannot be put together")]
    Build(#[from] OciSpecError),
}

/// The mounts of a sandbox beside those every sandbox has. To be dropped when the sandbox
/// is gone: with it go the volumes that were for its run alone.
#[derive(Debug)]
pub struct Mounts {
    mounts: Vec<Mount>,
    held: Vec<Volume>,
    volumes: Volumes,
}

impl Mounts {
    /// Makes or finds what `requests` and the image's own volumes ask for.
    ///
    /// The places an image declares as volumes are, where nothing else is mounted on
    /// them, part of the writable layer while that goes with the run anyway; they get a
    /// volume of their own where it stays, or where the root is read-only.
    ///
    /// # Errors
    ///
    /// [`MountError`].
    pub fn resolve(
        volumes: &Volumes,
        image: &Image,
        requests: &[MountRequest],
        persistence: Persistence,
        read_only_root: bool,
    ) -> Result<Self, MountError> {
        let mut wanted = requests.to_vec();
        let mut seen = BTreeSet::new();
        for request in &wanted {
            if !seen.insert(request.target.clone()) {
                return Err(MountError::Twice(request.target.clone()));
            }
        }
        if persistence == Persistence::Sandbox || read_only_root {
            let declared = image.config().config().as_ref().and_then(|c| c.volumes().clone());
            for path in declared.unwrap_or_default() {
                // What an image declares that cannot be is ignored, as by docker.
                if let Ok(request) = MountRequest::volume(&path)
                    && matches!(request.kind, MountKind::Volume { name: None, .. })
                    && seen.insert(request.target.clone())
                {
                    wanted.push(request);
                }
            }
        }
        // What is below another mount comes after it.
        wanted.sort_by_key(|request| request.target.components().count());
        let mut resolved =
            Self { mounts: Vec::new(), held: Vec::new(), volumes: volumes.clone() };
        for request in &wanted {
            let mount = resolved.one(image, request, persistence)?;
            resolved.mounts.push(mount);
        }
        Ok(resolved)
    }

    fn one(
        &mut self,
        image: &Image,
        request: &MountRequest,
        persistence: Persistence,
    ) -> Result<Mount, MountError> {
        Ok(match &request.kind {
            MountKind::Tmpfs(options) => MountBuilder::default()
                .destination(&request.target)
                .typ("tmpfs")
                .source("tmpfs")
                .options(options.clone())
                .build()?,
            MountKind::Bind(path) => {
                let failed = |source| MountError::Source { path: path.clone(), source };
                bind(&path.canonicalize().map_err(failed)?, request)?
            }
            MountKind::Volume { name, no_copy } => {
                let content = (!no_copy).then_some(Content { image, path: &request.target });
                let (name, origin) = match name {
                    Some(name) => (name.clone(), Origin::Named),
                    None => {
                        let name = VolumeName::random().map_err(MountError::Random)?;
                        (name, persistence.origin())
                    }
                };
                let volume = self.volumes.create(&name, BTreeMap::new(), origin, content)?;
                let mount = bind(&volume.data(), request)?;
                self.held.push(volume);
                mount
            }
        })
    }

    /// Adds the mounts to `spec`; one of its own on the same place gives way.
    pub fn apply(&self, spec: &mut Spec) {
        let ours = |mount: &Mount| {
            self.mounts.iter().any(|other| other.destination() == mount.destination())
        };
        let mut all = spec.mounts().clone().unwrap_or_default();
        all.retain(|mount| !ours(mount));
        all.extend(self.mounts.iter().cloned());
        spec.set_mounts(Some(all));
    }

    /// Whether something of the host is mounted: all but filesystems in memory.
    #[must_use]
    pub fn share_files(&self) -> bool {
        self.mounts.iter().any(|mount| mount.typ().as_deref() == Some("bind"))
    }

    /// The volumes that are used.
    #[must_use]
    pub fn volumes(&self) -> &[Volume] {
        &self.held
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        for volume in self.held.drain(..) {
            if volume.record().origin == Origin::Ephemeral {
                let name = volume.name().clone();
                drop(volume);
                // What is left is garbage, and found as such.
                drop(self.volumes.remove(&name));
            }
        }
    }
}

/// With whatever is mounted below the source, and no way back for mounts made inside.
fn bind(source: &Path, request: &MountRequest) -> Result<Mount, MountError> {
    let access = if request.read_only { "rro" } else { "rw" };
    let options = ["rbind", "rprivate", "nosuid", "nodev", access].map(str::to_owned);
    Ok(MountBuilder::default()
        .destination(&request.target)
        .typ("bind")
        .source(source)
        .options(Vec::from(options))
        .build()?)
}
