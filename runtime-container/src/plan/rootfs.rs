//! The root filesystem: layers under a thin writable one.
//!
//! All of it is mounted in the container's own mount namespace, over the
//! sandbox's state directory. The host never sees these mounts, so none can be
//! left behind; the writable layer is a tmpfs that goes with the namespace and
//! is charged to the container's memory. Where the caller wants to keep what is written,
//! the layer is in directories of the caller's.

use std::ffi::CString;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bulkhead_runtime::{BundleError, PlacedFile, UPPER};

use crate::step::{Mount, Target};

use super::{Setting, SpecError, Step, c_path};

/// Longest option string of `mount(2)`: a page with its terminator
/// (mount(2), "data").
const MAX_OPTIONS: usize = 4095;

/// Most lower layers (`OVL_MAX_STACK`, fs/overlayfs/params.h).
const MAX_LAYERS: usize = 500;

/// Characters that mean something in overlayfs options.
const SPECIAL: [char; 4] = [',', ':', '\\', '"'];

/// Beside the upper directory, and on its filesystem.
const WORK: &str = "work";

/// What overlayfs may do on other hosts, and what only it could read afterwards: renaming
/// directories, and files without their content, by notes in attributes.
const READABLE: &str = ",redirect_dir=off,metacopy=off,index=off";

/// Makes the directories of a writable layer that is kept.
pub(crate) fn make_kept(changes: &Path) -> std::io::Result<()> {
    for name in [UPPER, WORK] {
        let path = changes.join(name);
        std::fs::create_dir(&path)?;
        // It shows as the root of the container, whatever the umask says.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// Steps that leave the child with the container's root as its own.
pub(super) fn steps(
    layers: &[PathBuf],
    setting: Setting<'_>,
    in_user_namespace: bool,
) -> Result<Vec<Step>, SpecError> {
    let scratch = setting.scratch;
    check(layers)?;
    let on_scratch = Target { path: c_path("state directory", scratch)?, is_file: false };
    let mut steps = vec![mount(c"tmpfs", &on_scratch, c"mode=0755".to_owned())];
    let lower = match direct(layers) {
        Some(lower) => lower,
        None => short_names(layers, scratch, &mut steps)?,
    };
    for name in [UPPER, WORK] {
        let path = c_path("state directory", &scratch.join(name))?;
        steps.push(match setting.changes {
            None => Step::Mkdir(path),
            // By a name that means nothing special in options.
            Some(kept) => Step::Symlink {
                target: c_path("directory for changes", &kept.join(name))?,
                path,
            },
        });
    }
    let base = scratch.display();
    let mut options = format!("lowerdir={lower},upperdir={base}/{UPPER},workdir={base}/{WORK}");
    if in_user_namespace {
        // Without privilege over the host only `user.*` attributes can be set
        // (filesystems/overlayfs.rst, "User xattr").
        options.push_str(",userxattr");
    } else if setting.changes.is_some() {
        options.push_str(READABLE);
    }
    let options = super::c_string("root", options)?;
    if options.count_bytes() > MAX_OPTIONS {
        return Err(SpecError::invalid("root", "the state directory's path is too long"));
    }
    steps.push(mount(c"overlay", &on_scratch, options));
    steps.push(Step::Pivot { new_root: on_scratch.path });
    Ok(steps)
}

/// A file that is laid over the image's.
pub(super) fn placed(file: &PlacedFile) -> Result<Step, SpecError> {
    const FIELD: &str = "a placed file";
    let path = Path::new(&file.path);
    let parts = (path.is_absolute(), path.parent(), path.file_name());
    let (true, Some(directory), Some(name)) = parts else {
        let problem = format!("{} is not the absolute path of a file", file.path);
        return Err(SpecError::invalid(FIELD, problem));
    };
    Ok(Step::PlaceFile {
        directory: c_path(FIELD, directory)?.into(),
        name: c_path(FIELD, Path::new(name))?.into(),
        content: file.content.clone().into(),
    })
}

fn check(layers: &[PathBuf]) -> Result<(), SpecError> {
    if layers.is_empty() || layers.len() > MAX_LAYERS {
        let problem = format!("{} layers; overlayfs takes 1 to {MAX_LAYERS}", layers.len());
        return Err(SpecError::invalid("root", problem));
    }
    for layer in layers {
        // overlayfs reports a missing layer without saying which.
        let is_dir = layer.metadata().and_then(|metadata| {
            if metadata.is_dir() {
                Ok(())
            } else {
                Err(std::io::ErrorKind::NotADirectory.into())
            }
        });
        is_dir.map_err(|source| {
            SpecError::Bundle(BundleError::RootfsMissing { path: layer.clone(), source })
        })?;
    }
    Ok(())
}

fn mount(fstype: &std::ffi::CStr, target: &Target, data: CString) -> Step {
    Step::Mount(Mount {
        fstype: fstype.to_owned(),
        source: fstype.to_owned(),
        target: target.clone(),
        flags: 0,
        data: Some(data),
        strict: false,
    })
}

/// The layers' own paths, if they can stand in an option string.
fn direct(layers: &[PathBuf]) -> Option<String> {
    let mut lower = String::new();
    for layer in layers {
        let path = layer.to_str().filter(|path| !path.contains(SPECIAL))?;
        if !lower.is_empty() {
            lower.push(':');
        }
        lower.push_str(path);
    }
    // Leaves room for the upper and work directories.
    (lower.len() < MAX_OPTIONS / 2).then_some(lower)
}

/// Links with short names to the layers, so that hundreds fit in the page that
/// `mount(2)` takes.
fn short_names(
    layers: &[PathBuf],
    scratch: &Path,
    steps: &mut Vec<Step>,
) -> Result<String, SpecError> {
    let mut lower = String::new();
    for (index, layer) in layers.iter().enumerate() {
        let name = format!("{index:x}");
        steps.push(Step::Symlink {
            target: c_path("root", layer)?,
            path: c_path("state directory", &scratch.join(&name))?,
        });
        if index > 0 {
            lower.push(':');
        }
        let _ = write!(lower, "{name}");
    }
    steps.push(Step::Chdir(c_path("state directory", scratch)?.into()));
    Ok(lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(steps: &[Step]) -> String {
        let data = steps.iter().find_map(|step| match step {
            Step::Mount(mount) if mount.fstype.as_c_str() == c"overlay" => mount.data.clone(),
            _ => None,
        });
        data.unwrap().into_string().unwrap()
    }

    fn setting(changes: Option<&Path>) -> Setting<'_> {
        let scratch = Path::new("/run/x");
        Setting {
            scratch,
            privileged: true,
            attached: true,
            init: false,
            files: &[],
            is_first: true,
            changes,
        }
    }

    #[test]
    fn a_layer_that_is_kept_is_reached_by_a_link() {
        let kept = Path::new("/var/a,b");
        let steps = steps(&[PathBuf::from("/usr")], setting(Some(kept)), false).unwrap();
        assert!(options(&steps).contains("upperdir=/run/x/upper,workdir=/run/x/work,redirect"));
        let linked = steps.iter().any(|step| match step {
            Step::Symlink { target, path } => {
                target.as_c_str() == c"/var/a,b/upper" && path.as_c_str() == c"/run/x/upper"
            }
            _ => false,
        });
        assert!(linked);
    }

    #[test]
    fn few_layers_are_named_directly() {
        let layers = [PathBuf::from("/usr"), PathBuf::from("/etc")];
        let steps = steps(&layers, setting(None), false).unwrap();
        assert_eq!(
            options(&steps),
            "lowerdir=/usr:/etc,upperdir=/run/x/upper,workdir=/run/x/work"
        );
    }

    #[test]
    fn many_layers_and_odd_names_still_fit_a_page() {
        let dir = tempfile::tempdir().unwrap();
        let odd = dir.path().join("a:b,c");
        std::fs::create_dir(&odd).unwrap();
        let layers = vec![odd; MAX_LAYERS];
        let steps = steps(&layers, setting(None), true).unwrap();
        let options = options(&steps);
        assert!(options.len() < MAX_OPTIONS, "{}", options.len());
        assert!(options.starts_with("lowerdir=0:1:2:"));
        assert!(options.ends_with(",userxattr"));
    }

    #[test]
    fn a_missing_layer_is_named() {
        let layers = [PathBuf::from("/nonexistent")];
        let refused = steps(&layers, setting(None), false);
        assert!(matches!(refused, Err(SpecError::Bundle(BundleError::RootfsMissing { .. }))));
    }
}
