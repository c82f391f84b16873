//! The configuration of a sandbox, kept beside its record: what a further process in
//! it is made from, by whatever process that is.

use std::fs;

use oci_spec::runtime::Spec;

use super::{StateDir, StateError, io_error};

/// The file, as in a bundle.
const NAME: &str = "config.json";

impl StateDir {
    /// Keeps the configuration of the sandbox.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`] when it cannot be written.
    pub fn write_config(&self, spec: &Spec) -> Result<(), StateError> {
        let path = self.path.join(NAME);
        let text = serde_json::to_vec(spec)
            .map_err(|source| StateError::Damaged { path: path.clone(), source })?;
        fs::write(&path, text).map_err(io_error("write", &path))
    }

    /// The configuration of the sandbox.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`] or [`StateError::Damaged`].
    pub fn read_config(&self) -> Result<Spec, StateError> {
        let path = self.path.join(NAME);
        let text = fs::read(&path).map_err(io_error("read", &path))?;
        serde_json::from_slice(&text).map_err(|source| StateError::Damaged { path, source })
    }
}
