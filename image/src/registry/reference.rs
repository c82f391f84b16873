//! What a registry is asked for.

use std::fmt;
use std::str::FromStr;

use oci_client::Reference;

use crate::{Digest, ImageRef, ParseDigestError, ParseNameError};

/// An image in a registry: `[registry/]name[:tag][@sha256:…]`. With a digest that is
/// what is meant, whatever the tag stands for by now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteRef {
    name: ImageRef,
    digest: Option<Digest>,
}

/// Text that refers to no image in a registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseRemoteError {
    /// The name before the `@` is none.
    #[error(transparent)]
    Name(#[from] ParseNameError),
    /// What follows the `@` is no digest.
    #[error(transparent)]
    Digest(#[from] ParseDigestError),
}

/// Digits of its digest in the tag of an image that was asked for by digest alone.
const DIGITS: usize = 12;

impl RemoteRef {
    /// An image by its name.
    #[must_use]
    pub fn named(name: ImageRef) -> Self {
        Self { name, digest: None }
    }

    /// What the image is called here: for one that is asked for by digest without a tag, the
    /// tag is the digest's first digits.
    #[must_use]
    pub fn name(&self) -> &ImageRef {
        &self.name
    }

    /// The digest it must have.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The registry, `docker.io` where none is named.
    #[must_use]
    pub fn registry(&self) -> String {
        let whole = self.name.qualified();
        whole.split('/').next().unwrap_or_default().to_owned()
    }

    /// As the client wants it.
    pub(super) fn reference(&self) -> Reference {
        let whole = self.name.qualified();
        let (registry, rest) = whole.split_once('/').unwrap_or_default();
        let tag = self.name.tag();
        let repository = rest.strip_suffix(tag).and_then(|rest| rest.strip_suffix(':'));
        let [registry, repository] = [registry, repository.unwrap_or(rest)].map(str::to_owned);
        match self.digest {
            Some(digest) => Reference::with_digest(registry, repository, digest.to_string()),
            None => Reference::with_tag(registry, repository, tag.to_owned()),
        }
    }
}

impl fmt::Display for RemoteRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.digest {
            Some(digest) => write!(f, "{}@{digest}", self.name.repository()),
            None => self.name.fmt(f),
        }
    }
}

impl FromStr for RemoteRef {
    type Err = ParseRemoteError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((name, digest)) = text.split_once('@') else {
            return Ok(Self::named(text.parse()?));
        };
        let digest: Digest = digest.parse()?;
        let tagged = name.rsplit_once(':').is_some_and(|(_, tag)| !tag.contains('/'));
        let name = if tagged {
            name.parse()?
        } else {
            format!("{name}:{}", &digest.hex()[..DIGITS]).parse()?
        };
        Ok(Self { name, digest: Some(digest) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_those_of_the_distribution_spec() {
        let digest = Digest::of(b"abc");
        for (written, registry, repository, tag) in [
            ("debian", "docker.io", "library/debian", "latest"),
            ("grafana/grafana:11", "docker.io", "grafana/grafana", "11"),
            ("localhost:5000/a/b", "localhost:5000", "a/b", "latest"),
            ("ghcr.io/a/b:1.2", "ghcr.io", "a/b", "1.2"),
        ] {
            let remote: RemoteRef = written.parse().unwrap();
            assert_eq!(remote.registry(), registry);
            let reference = remote.reference();
            assert_eq!(reference.registry(), registry, "{written}");
            assert_eq!(reference.repository(), repository, "{written}");
            assert_eq!(reference.tag(), Some(tag), "{written}");

            let remote: RemoteRef = format!("{written}@{digest}").parse().unwrap();
            assert_eq!(remote.digest(), Some(digest));
            let reference = remote.reference();
            assert_eq!(reference.repository(), repository, "{written}");
            assert_eq!(reference.digest(), Some(digest.to_string().as_str()));
        }
    }

    #[test]
    fn an_image_asked_for_by_digest_is_named_after_it() {
        let digest = Digest::of(b"abc");
        let bare: RemoteRef = format!("box:5000/a@{digest}").parse().unwrap();
        assert_eq!(bare.name().to_string(), "box:5000/a:ba7816bf8f01");
        let tagged: RemoteRef = format!("a:1@{digest}").parse().unwrap();
        assert_eq!(tagged.name().to_string(), "a:1");
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for bad in ["", "A", "a@", "a@sha256:12", "a@sha512:00", "@sha256:00"] {
            assert!(bad.parse::<RemoteRef>().is_err(), "{bad}");
        }
    }
}
