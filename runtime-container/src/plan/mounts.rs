//! The mounts of the spec, and the paths below them that are hidden or
//! protected.

use std::ffi::CStr;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use oci_spec::runtime::{Linux, Mount as SpecMount, Spec};

use crate::cgroup;
use crate::child::MAX_SLOTS;
use crate::step::Mount;
use crate::sys::MountAttr;

use super::options::Options;
use super::{Mappings, Namespaces, SpecError, Step, c_path, c_string, devices, target};

const FIELD: &str = "mounts";

/// Filesystems whose content is the kernel's and which later steps protect:
/// an image must not choose where they really go.
const STRICT: [&str; 3] = ["proc", "sysfs", "cgroup"];

/// The filesystems a spec may mount. Others would let a bundle reach a block
/// device or a kernel interface of the host.
const ALLOWED: [&str; 8] =
    ["proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "ramfs"];

/// The steps for the spec's mounts, in two parts.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// Before the old root is let go: sources on the host are picked up.
    pub sources: Vec<Step>,
    /// In the new root.
    pub mounts: Vec<Step>,
}

impl Tree {
    pub(super) fn from_spec(
        spec: &Spec,
        namespaces: &Namespaces,
        mappings: &Mappings,
    ) -> Result<Self, SpecError> {
        let mut tree = Self::default();
        let mut slots = 0;
        let mut own_dev = true;
        for mount in spec.mounts().iter().flatten() {
            if mount.uid_mappings().as_ref().is_some_and(|list| !list.is_empty())
                || mount.gid_mappings().as_ref().is_some_and(|list| !list.is_empty())
            {
                return Err(SpecError::Unsupported("mounts: id-mapped mounts".into()));
            }
            let usable =
                |option: &&str| !namespaces.user || !names_unmapped_group(option, mappings);
            let options = mount.options().iter().flatten().map(String::as_str).filter(usable);
            let options = Options::parse(options)
                .map_err(|option| SpecError::Unsupported(format!("mounts: option {option}")))?;
            let mut steps = if options.bind || mount.typ().as_deref() == Some("bind") {
                own_dev &= mount.destination() != Path::new("/dev");
                vec![tree.bind(mount, &options, &mut slots)?]
            } else {
                filesystem(mount, &options)?
            };
            if options.propagation != 0 {
                let target = c_path(FIELD, mount.destination())?;
                steps.push(Step::Propagation { target, flags: options.propagation });
            }
            tree.mounts.append(&mut steps);
        }
        if own_dev {
            let (sources, nodes) = devices::steps(spec, namespaces, &mut slots)?;
            tree.sources.extend(sources);
            tree.mounts.extend(nodes);
        }
        if slots > MAX_SLOTS {
            let problem = format!("{slots} bind mounts; at most {MAX_SLOTS}");
            return Err(SpecError::invalid(FIELD, problem));
        }
        Ok(tree)
    }

    fn bind(
        &mut self,
        mount: &SpecMount,
        options: &Options,
        slots: &mut usize,
    ) -> Result<Step, SpecError> {
        let source = mount.source().as_deref().filter(|path| path.is_absolute());
        let source = source.ok_or_else(|| {
            let problem = format!("{} needs an absolute source", mount.destination().display());
            SpecError::invalid(FIELD, problem)
        })?;
        let metadata = source.metadata().map_err(|error| SpecError::HostPath {
            path: source.display().to_string(),
            source: error,
        })?;
        let slot = *slots;
        *slots += 1;
        let recursive = options.recursive_bind;
        self.sources.push(Step::CloneTree { path: c_path(FIELD, source)?, slot, recursive });
        let (attributes, recursive) = options.bind_attributes();
        let target = target(FIELD, mount.destination(), !metadata.is_dir())?;
        Ok(Step::Attach { slot, target, attributes, recursive })
    }
}

fn filesystem(mount: &SpecMount, options: &Options) -> Result<Vec<Step>, SpecError> {
    let fstype = mount.typ().as_deref().unwrap_or("none");
    if !ALLOWED.contains(&fstype) {
        return Err(SpecError::Unsupported(format!("mounts: filesystem {fstype}")));
    }
    if options.recursive_attributes != 0 {
        let what = "mounts: recursive options on something other than a bind mount";
        return Err(SpecError::Unsupported(what.into()));
    }
    if fstype == "cgroup" {
        return cgroups(mount, options);
    }
    let source = mount.source().as_deref().unwrap_or(Path::new(fstype));
    let data = (!options.data.is_empty())
        .then(|| c_string(FIELD, options.data.as_str()))
        .transpose()?;
    Ok(vec![Step::Mount(Mount {
        fstype: c_string(FIELD, fstype)?,
        source: c_path(FIELD, source)?,
        target: target(FIELD, mount.destination(), false)?,
        flags: options.flags,
        data,
        strict: STRICT.contains(&fstype) || fstype == "cgroup2",
    })])
}

/// The host's cgroup filesystems, as the cgroup namespace shows them.
fn cgroups(mount: &SpecMount, options: &Options) -> Result<Vec<Step>, SpecError> {
    let at = |fstype: &CStr, path: &Path, data: Option<&str>| -> Result<Step, SpecError> {
        Ok(Step::Mount(Mount {
            fstype: fstype.to_owned(),
            source: fstype.to_owned(),
            target: target(FIELD, path, false)?,
            flags: options.flags,
            data: data.map(|data| c_string(FIELD, data)).transpose()?,
            strict: true,
        }))
    };
    let destination = mount.destination();
    let Ok(cgroup::Layout::V1(hierarchies)) = cgroup::Layout::detect() else {
        return Ok(vec![at(c"cgroup2", destination, None)?]);
    };
    // A directory per hierarchy on a small tmpfs that is closed afterwards.
    let mut tmpfs = at(c"tmpfs", destination, Some("mode=755,size=64k"))?;
    if let Step::Mount(mount) = &mut tmpfs {
        mount.flags &= !libc::MS_RDONLY;
    }
    let mut steps = vec![tmpfs];
    for (controllers, _) in hierarchies.iter() {
        // In any other the namespace would begin at the host's cgroup, not at
        // the container's.
        if !controllers.split(',').any(|name| cgroup::ALWAYS_JOINED.contains(&name)) {
            continue;
        }
        steps.push(at(c"cgroup", &destination.join(controllers), Some(controllers))?);
    }
    if options.attributes != 0 {
        let attributes = MountAttr { set: options.attributes, ..MountAttr::default() };
        let path = c_path(FIELD, destination)?.into();
        steps.push(Step::SetAttributes { path, attributes });
    }
    Ok(steps)
}

/// Whether an option gives files to a group that does not exist in the user
/// namespace, as docker's `gid=5` for terminals when only root is mapped. Such
/// files stay with the namespace's root, which is less than was asked for.
fn names_unmapped_group(option: &str, mappings: &Mappings) -> bool {
    let group = option.strip_prefix("gid=").and_then(|id| id.parse().ok());
    group.is_some_and(|id| !mappings.maps_group(id))
}

/// How mounts of the host reach the container: never the other way round.
pub(super) fn propagation(linux: &Linux) -> Result<Step, SpecError> {
    let flags = match linux.rootfs_propagation().as_deref() {
        None | Some("" | "private" | "rprivate") => libc::MS_PRIVATE,
        Some("slave" | "rslave") => libc::MS_SLAVE,
        Some(other) => {
            return Err(SpecError::Unsupported(format!("linux.rootfsPropagation {other}")));
        }
    };
    Ok(Step::Propagation { target: c"/".to_owned(), flags: flags | libc::MS_REC })
}

/// Read-only and masked paths.
pub(super) fn protections(spec: &Spec) -> Result<Vec<Step>, SpecError> {
    let mut steps = Vec::new();
    if let Some(linux) = spec.linux() {
        for path in linux.readonly_paths().iter().flatten() {
            steps.push(Step::ReadOnly(c_string("linux.readonlyPaths", path.as_str())?));
        }
        for path in linux.masked_paths().iter().flatten() {
            steps.push(Step::Mask(c_string("linux.maskedPaths", path.as_str())?));
        }
    }
    Ok(steps)
}

/// The root itself, if it is read-only.
pub(super) fn read_only_root(spec: &Spec) -> Option<Step> {
    let root = spec.root().as_ref();
    let read_only = root.and_then(oci_spec::runtime::Root::readonly) == Some(true);
    let attributes = MountAttr { set: libc::ST_RDONLY, ..MountAttr::default() };
    read_only.then(|| Step::SetAttributes { path: c"/".into(), attributes })
}

/// Whether `path` is below one that is read-only or masked.
pub(super) fn is_protected(spec: &Spec, path: &Path) -> bool {
    let linux = spec.linux().as_ref();
    let lists = [
        linux.and_then(|linux| linux.readonly_paths().as_ref()),
        linux.and_then(|linux| linux.masked_paths().as_ref()),
    ];
    lists.into_iter().flatten().flatten().any(|protected| path.starts_with(protected))
}

/// Whether a host file is a device node.
pub(super) fn is_device(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| {
        metadata.file_type().is_char_device() || metadata.file_type().is_block_device()
    })
}
