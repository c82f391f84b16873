//! Names of images: `name[:tag]`, as people write them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A name an image is known by, always with a tag.
///
/// Written like docker's: lower-case path components separated by `/`, an
/// optional registry with a port in front, a tag after the last `:` (default
/// `latest`). Docker's own default prefix `docker.io/library/` is dropped, so
/// that `debian`, `debian:latest` and `docker.io/library/debian` are one name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageRef {
    repository: String,
    tag: String,
}

/// A name that no image can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseNameError {
    /// Nothing left once the tag is taken off.
    #[error("image name `{0}` is empty")]
    Empty(String),
    /// A character or component that is not allowed in the name.
    #[error(
        "image name `{0}` is not valid: lower-case letters, digits and single `.`, `_`, `-` \
         between them, in components separated by `/`"
    )]
    Repository(String),
    /// The tag is not valid.
    #[error(
        "tag `{0}` is not valid: at most 128 letters, digits, `_`, `.` and `-`, not starting \
         with `.` or `-`"
    )]
    Tag(String),
    /// The name is longer than a file name can be.
    #[error("image name `{0}` is longer than {max} characters", max = ImageRef::MAX_LEN)]
    TooLong(String),
}

impl ImageRef {
    /// The tag of a name written without one.
    pub const DEFAULT_TAG: &'static str = "latest";
    /// Longest name, tag included: its file in the store must stay within
    /// `NAME_MAX` (255) with every `/` written as three characters.
    pub const MAX_LEN: usize = 180;

    /// The name without its tag.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The name with its registry, as containerd and docker write it in archives.
    #[must_use]
    pub fn qualified(&self) -> String {
        match self.repository.split_once('/') {
            Some((first, _)) if names_registry(first) => self.to_string(),
            Some(_) => format!("docker.io/{self}"),
            None => format!("docker.io/library/{self}"),
        }
    }

    /// The name made into a file name: `/` becomes `%2F`, which no name holds.
    pub(crate) fn to_file_name(&self) -> PathBuf {
        self.to_string().replace('/', "%2F").into()
    }

    /// The name a file name stands for.
    pub(crate) fn from_file_name(name: &str) -> Result<Self, ParseNameError> {
        name.replace("%2F", "/").parse()
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.repository, self.tag)
    }
}

impl FromStr for ImageRef {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (repository, tag) = match text.rsplit_once(':') {
            // `host:5000/name` has a port there, not a tag.
            Some((repository, tag)) if !tag.contains('/') => (repository, tag),
            _ => (text, Self::DEFAULT_TAG),
        };
        let repository = repository
            .strip_prefix("docker.io/library/")
            .or_else(|| repository.strip_prefix("docker.io/"))
            .unwrap_or(repository);
        if repository.is_empty() {
            return Err(ParseNameError::Empty(text.to_owned()));
        }
        let mut components = repository.split('/');
        let several = repository.contains('/');
        let registry_ok = components
            .next()
            .is_some_and(|first| is_component(first) || several && is_registry(first));
        if !registry_ok || !components.all(is_component) {
            return Err(ParseNameError::Repository(repository.to_owned()));
        }
        if !is_tag(tag) {
            return Err(ParseNameError::Tag(tag.to_owned()));
        }
        let name = Self { repository: repository.to_owned(), tag: tag.to_owned() };
        let slashes = repository.matches('/').count();
        if repository.len() + 1 + tag.len() > Self::MAX_LEN || slashes > 32 {
            return Err(ParseNameError::TooLong(text.to_owned()));
        }
        Ok(name)
    }
}

/// `path-component` of the distribution reference grammar: runs of lower-case
/// letters and digits, separated by `.`, `_`, `__` or dashes.
fn is_component(text: &str) -> bool {
    let edges = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    edges(text.bytes().next())
        && edges(text.bytes().last())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
        && !["..", "___", "._", "_.", ".-", "-.", "_-", "-_"]
            .iter()
            .any(|run| text.contains(run))
}

/// Whether the first component of a name is a registry, by docker's rule.
fn names_registry(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':'])
}

/// The registry in front of a name: a host name with an optional port.
fn is_registry(text: &str) -> bool {
    let (host, port) = text.split_once(':').unwrap_or((text, "0"));
    !host.is_empty()
        && !port.is_empty()
        && host.split('.').all(|label| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
        && port.bytes().all(|b| b.is_ascii_digit())
}

fn is_tag(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && !text.starts_with(['.', '-'])
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised_as_docker_does() {
        for (written, meant) in [
            ("debian", "debian:latest"),
            ("debian:12", "debian:12"),
            ("docker.io/library/debian", "debian:latest"),
            ("docker.io/grafana/grafana:11", "grafana/grafana:11"),
            ("localhost:5000/a/b", "localhost:5000/a/b:latest"),
            ("Registry.Example:5000/a:1", "Registry.Example:5000/a:1"),
            ("a__b/c--d", "a__b/c--d:latest"),
        ] {
            assert_eq!(written.parse::<ImageRef>().unwrap().to_string(), meant, "{written}");
        }
    }

    #[test]
    fn whole_names_have_their_registry_and_mean_the_same() {
        for (name, whole) in [
            ("debian", "docker.io/library/debian:latest"),
            ("grafana/grafana:11", "docker.io/grafana/grafana:11"),
            ("localhost/a:1", "localhost/a:1"),
            ("registry.example/a/b", "registry.example/a/b:latest"),
            ("box:5000/a", "box:5000/a:latest"),
        ] {
            let name: ImageRef = name.parse().unwrap();
            assert_eq!(name.qualified(), whole);
            assert_eq!(whole.parse::<ImageRef>().unwrap(), name);
        }
    }

    #[test]
    fn names_that_are_none_are_refused() {
        for bad in [
            "",
            ":tag",
            "Debian",
            "a//b",
            "/a",
            "a/",
            "a..b",
            "../a",
            "a b",
            "a:",
            "a:-x",
            ".a",
            "a:b:c",
            "a%2Fb",
            "host:5000",
            "Registry",
        ] {
            // `host:5000` is the image `host` with the tag `5000`.
            assert_eq!(bad.parse::<ImageRef>().is_ok(), bad == "host:5000", "{bad}");
        }
        assert!(matches!("a".repeat(200).parse::<ImageRef>(), Err(ParseNameError::TooLong(_))));
    }

    #[test]
    fn file_names_lead_back_to_the_name() {
        let name: ImageRef = "localhost:5000/a/b:1".parse().unwrap();
        let file = name.to_file_name();
        assert_eq!(file.components().count(), 1);
        assert_eq!(ImageRef::from_file_name(file.to_str().unwrap()).unwrap(), name);
    }
}
