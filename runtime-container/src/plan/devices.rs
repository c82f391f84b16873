//! `/dev`: the devices every Linux container has (runtime-spec, "Default
//! Devices"), those the spec adds, and the customary links.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Spec};

use crate::sys::MountAttr;

use super::{Namespaces, SpecError, Step, c_path, directory, mounts, target};

const FIELD: &str = "linux.devices";

/// Path, major and minor of the default character devices
/// (Documentation/admin-guide/devices.txt).
const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Link and what it points to (runtime-spec, "Dev symbolic links").
const LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
];

const DEFAULT_MODE: u32 = 0o666;

struct Device {
    path: PathBuf,
    mode: u32,
    number: u64,
    owner: (u32, u32),
}

/// The steps on the host's tree and in the new root. `slots` counts the host
/// mounts that are carried over.
pub(super) fn steps(
    spec: &Spec,
    namespaces: &Namespaces,
    slots: &mut usize,
) -> Result<(Vec<Step>, Vec<Step>), SpecError> {
    let mut sources = Vec::new();
    let mut steps = Vec::new();
    for device in devices(spec)? {
        if namespaces.user {
            // Device nodes cannot be made in a user namespace: the host's is
            // bound in its place.
            if !mounts::is_device(&device.path) {
                let path = device.path.display().to_string();
                return Err(SpecError::HostPath {
                    path,
                    source: std::io::ErrorKind::NotFound.into(),
                });
            }
            let slot = *slots;
            *slots += 1;
            let path = c_path(FIELD, &device.path)?;
            sources.push(Step::CloneTree { path, slot, recursive: false });
            steps.push(Step::Attach {
                slot,
                target: target(FIELD, &device.path, true)?,
                attributes: MountAttr::default(),
                recursive: false,
            });
        } else {
            if let Some(parent) = device.path.parent().filter(|path| *path != Path::new("/dev"))
            {
                steps.push(Step::EnsureDirectory(directory(FIELD, parent)?.into()));
            }
            steps.push(Step::Node {
                path: c_path(FIELD, &device.path)?,
                mode: device.mode,
                device: device.number,
                uid: device.owner.0,
                gid: device.owner.1,
            });
        }
    }
    for (link, to) in LINKS {
        steps.push(Step::Symlink {
            target: super::c_string(FIELD, to)?,
            path: super::c_string(FIELD, link)?,
        });
    }
    Ok((sources, steps))
}

/// The default devices, each replaced by one of the spec with its path.
fn devices(spec: &Spec) -> Result<Vec<Device>, SpecError> {
    let given: Vec<Device> = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.devices().as_ref())
        .into_iter()
        .flatten()
        .map(from_spec)
        .collect::<Result<_, _>>()?;
    let mut all: Vec<Device> = DEFAULT
        .iter()
        .filter(|(path, ..)| !given.iter().any(|device| device.path == Path::new(path)))
        .map(|(path, major, minor)| Device {
            path: path.into(),
            mode: libc::S_IFCHR | DEFAULT_MODE,
            number: libc::makedev(*major, *minor),
            owner: (0, 0),
        })
        .collect();
    all.extend(given);
    Ok(all)
}

fn from_spec(device: &LinuxDevice) -> Result<Device, SpecError> {
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => libc::S_IFCHR,
        LinuxDeviceType::B => libc::S_IFBLK,
        LinuxDeviceType::P => libc::S_IFIFO,
        LinuxDeviceType::A => {
            return Err(SpecError::invalid(FIELD, "`a` is not a kind of device node"));
        }
    };
    let number = |number: i64| {
        u32::try_from(number)
            .map_err(|_| SpecError::invalid(FIELD, format!("{number} is not a device number")))
    };
    let number = if kind == libc::S_IFIFO {
        0
    } else {
        libc::makedev(number(device.major())?, number(device.minor())?)
    };
    let mode = device.file_mode().unwrap_or(DEFAULT_MODE) & 0o7777;
    Ok(Device {
        path: device.path().clone(),
        mode: kind | mode,
        number,
        owner: (device.uid().unwrap_or(0), device.gid().unwrap_or(0)),
    })
}
