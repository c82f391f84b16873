//! Which machines an image is for.

use std::fmt;

use oci_spec::image::{Arch, Os};

/// An operating system and a processor architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// Operating system, in Go's words.
    pub os: Os,
    /// Architecture, in Go's words.
    pub architecture: Arch,
}

impl Platform {
    /// The only one both walls run: `linux/amd64`.
    #[must_use]
    pub fn supported() -> Self {
        Self { os: Os::Linux, architecture: Arch::Amd64 }
    }

    /// The platform as a descriptor in an index has it.
    pub(crate) fn of_descriptor(platform: &oci_spec::image::Platform) -> Self {
        Self { os: platform.os().clone(), architecture: platform.architecture().clone() }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)
    }
}
