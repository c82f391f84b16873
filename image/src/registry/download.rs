//! Blobs on their way in.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use oci_client::client::BlobResponse;
use oci_client::errors::OciDistributionError;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::{AT_ONCE, Arrival, Registry, RegistryError, Remote};
use crate::Digest;
use crate::digest::Hasher;
use crate::file::FileError;
use crate::store::Transaction;

/// How often a transfer is begun anew without getting any further.
pub(super) const ATTEMPTS: u32 = 5;
/// What is waited before the second attempt; twice as much before each further one.
pub(super) const PAUSE: Duration = Duration::from_millis(250);
/// How much of an earlier attempt is read at once.
const PIECE: usize = 256 * 1024;

/// What comes from a registry into one transaction.
#[derive(Debug)]
pub(crate) struct Download<'r> {
    registry: &'r Registry,
    slots: Arc<Semaphore>,
    coming: Vec<Coming>,
}

#[derive(Debug)]
struct Coming {
    digest: Digest,
    path: PathBuf,
    task: JoinHandle<Result<(), RegistryError>>,
}

impl<'r> Download<'r> {
    pub fn from(registry: &'r Registry) -> Self {
        Self { registry, slots: Arc::new(Semaphore::new(AT_ONCE)), coming: Vec::new() }
    }

    /// Gets a manifest or index by its digest.
    pub fn manifest(&self, digest: Digest) -> Result<Vec<u8>, RegistryError> {
        self.registry.manifest(Some(digest))
    }

    /// Begins to bring in a blob, unless it is there or on its way: the transaction
    /// can read it from now on.
    pub fn begin(
        &mut self,
        digest: Digest,
        size_bytes: u64,
        transaction: &mut Transaction<'_>,
    ) -> Result<(), RegistryError> {
        if transaction.blob_size(digest).is_some() || transaction.take_stored(digest)? {
            return Ok(());
        }
        let (file, path) = transaction.partial(digest)?;
        let arrival = Arc::new(Arrival::new(file));
        transaction.expect(digest, size_bytes, arrival.clone());
        let (remote, slots) = (self.registry.remote.clone(), self.slots.clone());
        let at = path.clone();
        let task = self.registry.runtime.spawn(async move {
            // Never closed.
            let _slot = slots.acquire().await;
            let transfer = Transfer { remote: &remote, digest, size_bytes, path: at };
            let outcome = transfer.run(&arrival).await;
            arrival.end(outcome.is_ok());
            outcome
        });
        self.coming.push(Coming { digest, path, task });
        Ok(())
    }

    /// Waits for everything that was begun.
    pub fn finish(&mut self, transaction: &mut Transaction<'_>) -> Result<(), RegistryError> {
        for Coming { digest, path, task } in self.coming.drain(..) {
            self.registry.runtime.block_on(task).map_err(|_| RegistryError::Lost(digest))??;
            transaction.arrived(digest, &path)?;
        }
        Ok(())
    }

    /// Stops what is on its way; returns why, if a transfer has failed.
    pub fn give_up(&mut self) -> Option<RegistryError> {
        let mut failure = None;
        for Coming { task, .. } in self.coming.drain(..) {
            task.abort();
            if let Ok(Err(error)) = self.registry.runtime.block_on(task) {
                failure.get_or_insert(error);
            }
        }
        failure
    }
}

/// One blob's.
struct Transfer<'a> {
    remote: &'a Remote,
    digest: Digest,
    size_bytes: u64,
    path: PathBuf,
}

/// How far it is.
#[derive(Default)]
struct Progress {
    bytes: u64,
    hasher: Hasher,
}

impl Transfer<'_> {
    async fn run(&self, arrival: &Arrival) -> Result<(), RegistryError> {
        let mut progress = self.earlier(arrival).map_err(FileError::on("read", &self.path))?;
        self.remote.transfers.begin(self.digest, self.size_bytes, progress.bytes);
        let (mut attempts, mut pause) = (0, PAUSE);
        while progress.bytes < self.size_bytes {
            let before = progress.bytes;
            let Err(error) = self.go_on(arrival, &mut progress).await else { continue };
            if progress.bytes == self.size_bytes {
                // Whatever it was, the digest will tell.
                break;
            }
            if progress.bytes > before {
                (attempts, pause) = (0, PAUSE);
            }
            attempts += 1;
            match error {
                Broken::Passing(source) if attempts == ATTEMPTS => {
                    return Err(RegistryError::BrokenOff {
                        blob: self.digest,
                        attempts,
                        source,
                    });
                }
                Broken::Refused(error) if attempts == ATTEMPTS || !error.is_passing() => {
                    return Err(error);
                }
                _ => {}
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        let found = progress.hasher.finish();
        if found != self.digest {
            // Not to be gone on with.
            arrival.file().set_len(0).map_err(FileError::on("truncate", &self.path))?;
            return Err(RegistryError::WrongDigest { expected: self.digest, found });
        }
        self.remote.transfers.end(self.digest);
        Ok(())
    }

    /// What an earlier attempt has left.
    fn earlier(&self, arrival: &Arrival) -> io::Result<Progress> {
        let mut progress = Progress::default();
        let there = arrival.file().metadata()?.len();
        if there > self.size_bytes {
            arrival.file().set_len(0)?;
            return Ok(progress);
        }
        let mut buffer = vec![0; PIECE];
        while progress.bytes < there {
            let n = arrival.file().read_at(&mut buffer, progress.bytes)?;
            if n == 0 {
                break;
            }
            progress.hasher.update(&buffer[..n]);
            progress.bytes += n as u64;
            arrival.there_are(progress.bytes);
        }
        Ok(progress)
    }

    /// Takes what the registry gives from here on, to the end or until it breaks off.
    async fn go_on(&self, arrival: &Arrival, progress: &mut Progress) -> Result<(), Broken> {
        let remote = self.remote;
        let name = self.digest.to_string();
        let response = remote
            .client
            .pull_blob_stream_partial(&remote.image, name.as_str(), progress.bytes, None)
            .await
            .map_err(self.refused())?;
        let mut stream = match response {
            BlobResponse::Partial(stream) => stream,
            // A registry that knows no ranges begins at the start.
            BlobResponse::Full(stream) => {
                *progress = Progress::default();
                stream
            }
        };
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(Broken::Passing)?;
            let end = progress.bytes + piece.len() as u64;
            if end > self.size_bytes {
                return Err(Broken::Refused(RegistryError::WrongSize {
                    blob: self.digest,
                    expected: self.size_bytes,
                    found: end,
                }));
            }
            arrival.file().write_all_at(&piece, progress.bytes).map_err(|error| {
                Broken::Refused(FileError::on("write", &self.path)(error).into())
            })?;
            progress.hasher.update(&piece);
            progress.bytes = end;
            arrival.there_are(end);
            remote.transfers.at(self.digest, end);
        }
        if progress.bytes < self.size_bytes {
            return Err(Broken::Passing(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }

    fn refused(&self) -> impl FnOnce(OciDistributionError) -> Broken + use<'_> {
        let request =
            RegistryError::request("get a blob from", self.remote.image.resolve_registry());
        move |error| Broken::Refused(request(error))
    }
}

/// Why a transfer does not go on.
enum Broken {
    /// The connection is gone: another may do.
    Passing(io::Error),
    /// The registry, or this host, says no.
    Refused(RegistryError),
}
