//! What `-v`, `--mount` and `--tmpfs` say, as docker and podman read it.

use std::path::{Component, Path, PathBuf};

use super::VolumeName;

/// A mount that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountRequest {
    /// What is mounted.
    pub kind: MountKind,
    /// Where.
    pub target: PathBuf,
    /// It cannot be written to.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountKind {
    /// A file or directory of the host.
    Bind(PathBuf),
    /// A volume.
    Volume {
        /// Its name; without, one that nobody else uses.
        name: Option<VolumeName>,
        /// The image's files do not go into it when it is empty.
        no_copy: bool,
    },
    /// A filesystem in memory, with options of mount(8).
    Tmpfs(Vec<String>),
}

/// A request that cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Not of the form of `-v`.
    #[error("`{0}` is no volume: write [NAME|/HOST/PATH:]/PATH[:ro]")]
    Form(String),
    /// An option nobody knows.
    #[error("`{text}`: unknown option `{option}`")]
    Option {
        /// All of it.
        text: String,
        /// The part.
        option: String,
    },
    /// A key of `--mount` with a value that it cannot have.
    #[error("`{text}`: `{key}` needs {needs}")]
    Value {
        /// All of it.
        text: String,
        /// The key.
        key: &'static str,
        /// What it needs.
        needs: &'static str,
    },
    /// A place where nothing can be mounted.
    #[error("nothing can be mounted on `{0}`")]
    Target(String),
    /// A place that is not absolute.
    #[error("`{0}` is not an absolute path inside")]
    Relative(String),
    /// A name that is none.
    #[error(transparent)]
    Name(#[from] Box<super::VolumeError>),
}

/// Places that are the sandbox's own, with everything below them.
const TAKEN: [&str; 2] = ["/proc", "/sys"];

/// Options of `--tmpfs` that are flags of mount(2), and those with a value.
const TMPFS_FLAGS: [&str; 12] = [
    "ro",
    "rw",
    "exec",
    "noexec",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "noatime",
    "atime",
    "nodiratime",
    "diratime",
];
const TMPFS_VALUES: [&str; 6] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks"];

impl MountRequest {
    /// Reads an argument of `-v`: `[NAME|/HOST/PATH:]/PATH[:OPTIONS]`.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub fn volume(text: &str) -> Result<Self, RequestError> {
        let form = || RequestError::Form(text.to_owned());
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, options) = match parts[..] {
            [target] => (None, target, ""),
            [source, target] => (Some(source), target, ""),
            [source, target, options] => (Some(source), target, options),
            _ => return Err(form()),
        };
        let kind = match source {
            Some("") => return Err(form()),
            Some(path) if path.starts_with(['/', '.', '~']) => MountKind::Bind(path.into()),
            name => MountKind::Volume { name: name.map(named).transpose()?, no_copy: false },
        };
        let mut request = Self { kind, target: self::target(target)?, read_only: false };
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match (option, &mut request.kind) {
                ("ro", _) => request.read_only = true,
                // Mounts go nowhere from inside, and there is no SELinux to label for.
                ("rw" | "private" | "rprivate" | "rbind" | "z" | "Z", _) => {}
                ("nocopy", MountKind::Volume { no_copy, .. }) => *no_copy = true,
                _ => {
                    let (text, option) = (text.to_owned(), option.to_owned());
                    return Err(RequestError::Option { text, option });
                }
            }
        }
        Ok(request)
    }

    /// Reads an argument of `--tmpfs`: `/PATH[:OPTIONS]`.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub fn tmpfs(text: &str) -> Result<Self, RequestError> {
        let (path, given) = text.split_once(':').unwrap_or((text, ""));
        let mut options = tmpfs_defaults();
        for option in given.split(',').filter(|option| !option.is_empty()) {
            let known = match option.split_once('=') {
                Some((key, value)) => TMPFS_VALUES.contains(&key) && !value.is_empty(),
                None => TMPFS_FLAGS.contains(&option),
            };
            if !known {
                let (text, option) = (text.to_owned(), option.to_owned());
                return Err(RequestError::Option { text, option });
            }
            options.push(option.to_owned());
        }
        Ok(Self { kind: MountKind::Tmpfs(options), target: target(path)?, read_only: false })
    }

    /// Reads an argument of `--mount`: `type=…,source=…,target=…,…`.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub fn mount(text: &str) -> Result<Self, RequestError> {
        let mut given = Given::default();
        for field in text.split(',') {
            let (key, value) =
                field.split_once('=').map_or((field, None), |(k, v)| (k, Some(v)));
            given.take(text, key, value)?;
        }
        given.request(text)
    }
}

/// The fields of `--mount`.
#[derive(Debug, Default)]
struct Given<'a> {
    kind: Option<&'a str>,
    source: Option<&'a str>,
    target: Option<&'a str>,
    read_only: bool,
    no_copy: bool,
    tmpfs: Vec<String>,
}

impl<'a> Given<'a> {
    fn take(
        &mut self,
        text: &str,
        key: &str,
        value: Option<&'a str>,
    ) -> Result<(), RequestError> {
        let needs = |key, needs| RequestError::Value { text: text.to_owned(), key, needs };
        let some = |key| value.filter(|v| !v.is_empty()).ok_or_else(|| needs(key, "a value"));
        match key {
            "type" => self.kind = Some(some("type")?),
            "source" | "src" => self.source = Some(some("source")?),
            "target" | "destination" | "dst" => self.target = Some(some("target")?),
            "readonly" | "ro" => {
                self.read_only =
                    truth(value).ok_or_else(|| needs("readonly", "true or false"))?;
            }
            "volume-nocopy" => {
                let wanted = truth(value);
                self.no_copy = wanted.ok_or_else(|| needs("volume-nocopy", "true or false"))?;
            }
            "tmpfs-size" => {
                let value = some("tmpfs-size")?;
                let (number, unit) = value
                    .split_at(value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len()));
                let unit = unit.to_ascii_lowercase();
                let known = matches!(unit.as_str(), "" | "b" | "k" | "m" | "g");
                if number.is_empty() || !known {
                    return Err(needs("tmpfs-size", "bytes, or a number with b, k, m or g"));
                }
                self.tmpfs.push(format!("size={number}{}", unit.trim_end_matches('b')));
            }
            "tmpfs-mode" => {
                let mode = some("tmpfs-mode")?;
                if u32::from_str_radix(mode, 8).map_or(true, |mode| mode > 0o7777) {
                    return Err(needs("tmpfs-mode", "an octal number"));
                }
                self.tmpfs.push(format!("mode={mode}"));
            }
            "bind-propagation" if matches!(value, Some("private" | "rprivate")) => {}
            _ => {
                let (text, option) = (text.to_owned(), key.to_owned());
                return Err(RequestError::Option { text, option });
            }
        }
        Ok(())
    }

    fn request(self, text: &str) -> Result<MountRequest, RequestError> {
        let needs = |key, needs| RequestError::Value { text: text.to_owned(), key, needs };
        let of_other = |option: &str| RequestError::Option {
            text: text.to_owned(),
            option: option.to_owned(),
        };
        let target = target(self.target.ok_or_else(|| needs("target", "a path inside"))?)?;
        let kind = self.kind.unwrap_or("volume");
        if kind != "tmpfs" && !self.tmpfs.is_empty() {
            return Err(of_other("tmpfs-size, tmpfs-mode"));
        }
        if kind != "volume" && self.no_copy {
            return Err(of_other("volume-nocopy"));
        }
        let kind = match kind {
            "bind" => {
                let source =
                    self.source.ok_or_else(|| needs("source", "a path of the host"))?;
                MountKind::Bind(source.into())
            }
            "volume" => {
                let name = self.source.map(named).transpose()?;
                MountKind::Volume { name, no_copy: self.no_copy }
            }
            "tmpfs" if self.source.is_some() => return Err(of_other("source")),
            "tmpfs" => {
                let read_only = self.read_only.then(|| "ro".to_owned());
                MountKind::Tmpfs(
                    tmpfs_defaults().into_iter().chain(self.tmpfs).chain(read_only).collect(),
                )
            }
            _ => return Err(needs("type", "bind, volume or tmpfs")),
        };
        Ok(MountRequest { kind, target, read_only: self.read_only })
    }
}

/// Docker's.
fn tmpfs_defaults() -> Vec<String> {
    ["nosuid", "nodev", "noexec"].map(str::to_owned).into()
}

fn truth(value: Option<&str>) -> Option<bool> {
    match value {
        None | Some("true" | "1") => Some(true),
        Some("false" | "0") => Some(false),
        _ => None,
    }
}

fn named(name: &str) -> Result<VolumeName, RequestError> {
    name.parse().map_err(|error| RequestError::Name(Box::new(error)))
}

/// A path inside, without detours.
fn target(text: &str) -> Result<PathBuf, RequestError> {
    let path = Path::new(text);
    if !path.is_absolute() || text.contains('\0') {
        return Err(RequestError::Relative(text.escape_debug().to_string()));
    }
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(clean.pop()),
            other => clean.push(other),
        }
    }
    let taken = TAKEN.iter().any(|taken| clean.starts_with(taken));
    if taken || clean == Path::new("/") || clean == Path::new("/dev") {
        return Err(RequestError::Target(text.to_owned()));
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn named(name: &str) -> MountKind {
        MountKind::Volume { name: Some(name.parse().unwrap()), no_copy: false }
    }

    fn request(kind: MountKind, target: &str, read_only: bool) -> MountRequest {
        MountRequest { kind, target: target.into(), read_only }
    }

    #[test]
    fn volumes_are_written_as_for_docker() {
        let read = |text| MountRequest::volume(text).unwrap();
        assert_eq!(read("data:/d"), request(named("data"), "/d", false));
        assert_eq!(read("/h:/d/../e/:ro"), request(MountKind::Bind("/h".into()), "/e", true));
        assert_eq!(read("./x:/d:rw,z"), request(MountKind::Bind("./x".into()), "/d", false));
        let anonymous = MountKind::Volume { name: None, no_copy: false };
        assert_eq!(read("/d"), request(anonymous, "/d", false));
        for wrong in [
            "",
            ":",
            "a:",
            ":/d",
            "a:/",
            "a:b",
            "a:/d:rx",
            "a:/d:ro:z",
            "a/b:/d",
            "a:/proc/x",
            "a:/d/../proc",
            "/h:/dev",
            "/h:/d:nocopy",
            "a b:/d",
            "/h:/d:shared",
        ] {
            assert!(MountRequest::volume(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn mounts_are_written_as_for_docker() {
        let read = |text| MountRequest::mount(text).unwrap();
        let bind = MountKind::Bind("/h".into());
        assert_eq!(
            read("type=bind,source=/h,target=/d,readonly"),
            request(bind.clone(), "/d", true)
        );
        assert_eq!(read("type=bind,src=/h,dst=/d,ro=false"), request(bind, "/d", false));
        assert_eq!(read("source=v,target=/d"), request(named("v"), "/d", false));
        let tmpfs = read("type=tmpfs,target=/t,tmpfs-size=64m,tmpfs-mode=1770");
        let options = ["nosuid", "nodev", "noexec", "size=64m", "mode=1770"].map(str::to_owned);
        assert_eq!(tmpfs.kind, MountKind::Tmpfs(options.into()));
        for wrong in [
            "type=bind,target=/d",
            "type=x,target=/d",
            "type=tmpfs,source=a,target=/d",
            "type=volume,source=a",
            "target=/d,tmpfs-size=1",
            "type=tmpfs,target=/d,tmpfs-size=x",
            "type=tmpfs,target=/d,tmpfs-mode=9",
            "what=ever,target=/d",
            "source=,target=/d",
        ] {
            assert!(MountRequest::mount(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_tmpfs_has_the_options_of_mount() {
        let tmpfs = MountRequest::tmpfs("/t:size=1m,exec").unwrap();
        let options = ["nosuid", "nodev", "noexec", "size=1m", "exec"].map(str::to_owned);
        assert_eq!(tmpfs.kind, MountKind::Tmpfs(options.into()));
        assert!(MountRequest::tmpfs("/t:bind").is_err());
        assert!(MountRequest::tmpfs("t").is_err());
    }

    proptest! {
        #[test]
        fn a_target_is_absolute_and_straight(text in "/[a-z./]{0,20}") {
            if let Ok(path) = target(&text) {
                prop_assert!(path.is_absolute());
                prop_assert!(!path.components().any(|c| c == Component::ParentDir));
            }
        }
    }
}
