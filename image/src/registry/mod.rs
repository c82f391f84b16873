//! Images in registries (OCI distribution-spec): pulling, pushing, and who one is there.
//!
//! What is said on the wire is `oci-client`'s; what is here is what becomes of the
//! bytes. Blobs come in several at a time, go on where they broke off, are unpacked
//! while they arrive, and are believed when they are whole and have the digest they
//! were asked for by.

mod arrival;
mod credentials;
mod download;
mod error;
mod pull;
mod push;
mod reference;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
use tokio::runtime::Runtime;

use crate::Digest;

pub(crate) use arrival::Arrival;
pub use credentials::{Credentials, CredentialsError};
pub(crate) use download::Download;
pub use error::RegistryError;
pub use pull::Pulled;
pub use reference::{ParseRemoteError, RemoteRef};

/// Blobs on their way at once, in either direction.
const AT_ONCE: usize = 4;
/// How long a registry may be silent.
const SILENCE: Duration = Duration::from_secs(60);
/// How long connecting may take.
const CONNECTING: Duration = Duration::from_secs(15);

/// Told how far each blob has come, several of them at a time and from other threads.
/// Called often: must be quick.
pub trait Transfers: Send + Sync {
    /// A blob of `total_bytes` is begun, of which `there_bytes` are there already.
    fn begin(&self, blob: Digest, total_bytes: u64, there_bytes: u64);
    /// It has come to `position_bytes`, counted from its start.
    fn at(&self, blob: Digest, position_bytes: u64);
    /// It is where it was to go.
    fn end(&self, blob: Digest);
}

impl Transfers for crate::NoProgress {
    fn begin(&self, _blob: Digest, _total_bytes: u64, _there_bytes: u64) {}
    fn at(&self, _blob: Digest, _position_bytes: u64) {}
    fn end(&self, _blob: Digest) {}
}

/// How to speak with a registry.
#[derive(Debug, Clone, Copy, Default)]
pub struct RegistryOptions {
    /// Without TLS. Registries on this machine are always spoken to so, as docker does.
    pub plain_http: bool,
}

/// A registry, asked for one image.
pub struct Registry {
    runtime: Runtime,
    remote: Arc<Remote>,
}

/// What the transfers share.
struct Remote {
    client: Client,
    image: Reference,
    auth: RegistryAuth,
    transfers: Arc<dyn Transfers>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("image", &self.remote.image).finish_non_exhaustive()
    }
}

impl Registry {
    /// Gets ready to speak with the registry of `image`; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// When the user's credentials cannot be read, or threads or TLS cannot be had.
    pub fn of(
        image: &RemoteRef,
        options: RegistryOptions,
        transfers: Arc<dyn Transfers>,
    ) -> Result<Self, RegistryError> {
        let credentials = Credentials::of_user(&image.registry())?;
        Self::with(image, &credentials, options, transfers)
    }

    /// The same with these credentials.
    ///
    /// # Errors
    ///
    /// As [`Registry::of`].
    pub fn with(
        image: &RemoteRef,
        credentials: &Credentials,
        options: RegistryOptions,
        transfers: Arc<dyn Transfers>,
    ) -> Result<Self, RegistryError> {
        // Another part of the program may have chosen already: as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let image = image.reference();
        let plain = options.plain_http || is_local(image.resolve_registry());
        let config = ClientConfig {
            protocol: if plain { ClientProtocol::Http } else { ClientProtocol::Https },
            // One request for each blob; in pieces, each would wait for the last.
            use_monolithic_push: true,
            read_timeout: Some(SILENCE),
            connect_timeout: Some(CONNECTING),
            user_agent: concat!("bulkhead/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).map_err(RegistryError::request(
            "prepare to speak with",
            image.resolve_registry(),
        ))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .worker_threads(2)
            .build()
            .map_err(RegistryError::Threads)?;
        let auth = credentials.to_auth();
        Ok(Self { runtime, remote: Arc::new(Remote { client, image, auth, transfers }) })
    }

    /// Tells the registry who asks.
    fn authenticate(&self, operation: RegistryOperation) -> Result<(), RegistryError> {
        let remote = &self.remote;
        self.ask("log in to", remote.client.auth(&remote.image, &remote.auth, operation))
            .map(drop)
    }

    /// Whether the registry takes the credentials.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Unauthorized`] when it does not, and what else goes wrong.
    pub fn check_login(&self) -> Result<(), RegistryError> {
        let remote = &self.remote;
        let token = self.ask(
            "log in to",
            remote.client.auth(&remote.image, &remote.auth, RegistryOperation::Pull),
        )?;
        if token.is_some() {
            return Ok(());
        }
        // Where no token is given out, only a request shows what the password is worth.
        // What it asks for need not exist.
        match self.manifest(None) {
            Err(error @ RegistryError::Unauthorized { .. }) => Err(error),
            Err(error) if error.is_passing() => Err(error),
            _ => Ok(()),
        }
    }

    /// Waits for an answer.
    fn ask<T>(
        &self,
        action: &'static str,
        answer: impl Future<Output = Result<T, OciDistributionError>>,
    ) -> Result<T, RegistryError> {
        let of = self.remote.image.resolve_registry();
        self.runtime.block_on(answer).map_err(RegistryError::request(action, of))
    }
}

/// Registries on this machine: `localhost` and 127.0.0.0/8, with or without a port.
fn is_local(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    host == "localhost"
        || host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_registries_of_this_machine_go_without_tls() {
        for local in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.1.2.3"] {
            assert!(is_local(local), "{local}");
        }
        for other in ["docker.io", "localhost.example", "128.0.0.1:5000", "ghcr.io:443"] {
            assert!(!is_local(other), "{other}");
        }
    }
}
