//! Who one is at a registry: docker's `config.json`, which podman, skopeo and others
//! read as well.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use docker_credential::{CredentialRetrievalError, DockerCredential};
use oci_client::secrets::RegistryAuth;
use serde_json::{Map, Value, json};

use crate::file::{FileError, make_dir, read_small, write_atomically};

/// What a registry is told about who asks.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    Anonymous,
    /// A user, and a password or access token.
    Password {
        /// The user.
        user: String,
        /// The secret.
        password: String,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Password { user, .. } => {
                f.debug_struct("Password").field("user", user).finish_non_exhaustive()
            }
        }
    }
}

/// Credentials that cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// They are there but cannot be had.
    #[error("the credentials for {registry} cannot be read from {}", path.display())]
    Unreadable {
        /// The registry.
        registry: String,
        /// Docker's configuration.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<CredentialRetrievalError>,
    },
    /// A kind of credentials that cannot be used.
    #[error(
        "the credentials for {registry} are an identity token, which is not supported; log in \
         with a user and an access token"
    )]
    IdentityToken {
        /// The registry.
        registry: String,
    },
    /// The configuration is not the JSON object it should be.
    #[error("{} is not docker's configuration", path.display())]
    NotConfiguration {
        /// The file.
        path: PathBuf,
    },
    /// There is no place for it.
    #[error("neither DOCKER_CONFIG nor HOME says where credentials are kept")]
    NoPlace,
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Longest configuration read.
const CONFIG_LIMIT: u64 = 4 * 1024 * 1024;

impl Credentials {
    /// Those the user has kept for a registry, or has a credential helper for.
    ///
    /// # Errors
    ///
    /// When there are some that cannot be read or used.
    pub fn of_user(registry: &str) -> Result<Self, CredentialsError> {
        use CredentialRetrievalError as E;
        let Ok(path) = config_path() else { return Ok(Self::Anonymous) };
        if !path.exists() {
            return Ok(Self::Anonymous);
        }
        match docker_credential::get_credential(key(registry)) {
            Ok(DockerCredential::UsernamePassword(user, password)) => {
                Ok(Self::Password { user, password })
            }
            Ok(DockerCredential::IdentityToken(_)) => {
                Err(CredentialsError::IdentityToken { registry: registry.to_owned() })
            }
            Err(E::ConfigNotFound | E::NoCredentialConfigured) => Ok(Self::Anonymous),
            // How every helper says that it has none.
            Err(E::HelperFailure { stdout, .. })
                if stdout.contains("credentials not found") =>
            {
                Ok(Self::Anonymous)
            }
            Err(source) => {
                let (registry, source) = (registry.to_owned(), Box::new(source));
                Err(CredentialsError::Unreadable { registry, path, source })
            }
        }
    }

    /// Keeps them for a registry, in a file that only its owner can read; returns where.
    ///
    /// # Errors
    ///
    /// When docker's configuration cannot be understood or written.
    pub fn keep(&self, registry: &str) -> Result<PathBuf, CredentialsError> {
        let entry = match self {
            Self::Anonymous => json!({}),
            Self::Password { user, password } => {
                json!({ "auth": STANDARD.encode(format!("{user}:{password}")) })
            }
        };
        let path = config_path()?;
        change(&path, |auths| {
            auths.insert(key(registry).to_owned(), entry);
        })?;
        Ok(path)
    }

    /// Forgets those of a registry; returns whether there were any.
    ///
    /// # Errors
    ///
    /// As [`Credentials::keep`].
    pub fn forget(registry: &str) -> Result<bool, CredentialsError> {
        let path = config_path()?;
        if !path.exists() {
            return Ok(false);
        }
        let mut there = false;
        change(&path, |auths| there = auths.remove(key(registry)).is_some())?;
        Ok(there)
    }

    pub(super) fn to_auth(&self) -> RegistryAuth {
        match self {
            Self::Anonymous => RegistryAuth::Anonymous,
            Self::Password { user, password } => {
                RegistryAuth::Basic(user.clone(), password.clone())
            }
        }
    }
}

/// What docker calls a registry in its configuration.
fn key(registry: &str) -> &str {
    if registry == "docker.io" { "https://index.docker.io/v1/" } else { registry }
}

fn config_path() -> Result<PathBuf, CredentialsError> {
    let set =
        |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let dir = set("DOCKER_CONFIG").or_else(|| Some(set("HOME")?.join(".docker")));
    dir.map(|dir| dir.join("config.json")).ok_or(CredentialsError::NoPlace)
}

/// Changes the `auths` of a configuration and leaves everything else in it alone.
fn change(
    path: &Path,
    change: impl FnOnce(&mut Map<String, Value>),
) -> Result<(), CredentialsError> {
    let strange = || CredentialsError::NotConfiguration { path: path.to_owned() };
    let mut config = match read_small(path, CONFIG_LIMIT) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|_| strange())?,
        Err(e) if e.is_not_found() => json!({}),
        Err(e) => return Err(e.into()),
    };
    let auths = config
        .as_object_mut()
        .map(|config| config.entry("auths").or_insert_with(|| json!({})))
        .and_then(Value::as_object_mut)
        .ok_or_else(strange)?;
    change(auths);
    let dir = path.parent().unwrap_or(Path::new("."));
    make_dir(dir)?;
    let text = format!("{config:#}\n");
    Ok(write_atomically(path, text.as_bytes(), dir)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_registrys_entry_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker/config.json");
        change(&path, |auths| drop(auths.insert("a".into(), json!({ "auth": "x" })))).unwrap();
        let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config["psFormat"] = json!("table");
        std::fs::write(&path, config.to_string()).unwrap();
        change(&path, |auths| drop(auths.insert("b".into(), json!({ "auth": "y" })))).unwrap();
        change(&path, |auths| drop(auths.remove("a"))).unwrap();
        let config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(config, json!({ "auths": { "b": { "auth": "y" } }, "psFormat": "table" }));
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(&path).unwrap().permissions(),
        );
        assert_eq!(mode & 0o077, 0, "others can read it");
    }

    #[test]
    fn what_is_no_configuration_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        for strange in ["[]", "{\"auths\": 1}", "not json"] {
            std::fs::write(&path, strange).unwrap();
            let error = change(&path, |_| {}).unwrap_err();
            assert!(matches!(error, CredentialsError::NotConfiguration { .. }), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), strange);
        }
    }

    #[test]
    fn passwords_are_not_printed() {
        let secret = Credentials::Password { user: "u".into(), password: "hush".into() };
        assert!(!format!("{secret:?}").contains("hush"));
    }
}
