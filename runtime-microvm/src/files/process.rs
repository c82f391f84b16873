//! A file server, seen from the process that starts it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::jail::{Setup, SharedPath};
use super::{FILES, Window};
use crate::config::MicroVmConfig;
use crate::monitor::channel::Channel;

/// Name of the directory in the sandbox's that it mounts its root on.
const ROOT: &str = "files";
/// Last argument, so that it is not taken for a monitor.
const NAME: &str = "files";

/// Something of the host that a microVM is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Where it is.
    pub path: PathBuf,
    /// The guest cannot change it.
    pub read_only: bool,
}

/// Files that cannot be shared.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// There is no such file.
    #[error("cannot share `{}`", path.display())]
    Source {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Neither a file nor a directory.
    #[error("cannot share `{}`, which is neither a file nor a directory", .0.display())]
    Kind(PathBuf),
    /// The file server was not started.
    #[error("cannot start the file server")]
    Start(#[source] io::Error),
    /// It could not shut itself in.
    #[error("the file server cannot be shut in with the shares: {0}")]
    Jail(String),
}

/// A file server that waits to be asked. It ends with the other end of its socket, or
/// when this is dropped.
#[derive(Debug)]
pub struct FileServer {
    child: Child,
    asker: Option<(Channel, OwnedFd)>,
}

impl FileServer {
    /// Starts one for `shares`.
    pub fn start(
        runtime: &MicroVmConfig,
        state_dir: &Path,
        shares: &[Share],
    ) -> Result<Self, FilesError> {
        let shares = shares.iter().map(examine).collect::<Result<_, _>>()?;
        let [program, args @ ..] = &runtime.monitor[..] else {
            return Err(FilesError::Start(io::ErrorKind::NotFound.into()));
        };
        let root = state_dir.join(ROOT);
        std::fs::create_dir(&root).map_err(FilesError::Start)?;
        let (channel, theirs) = Channel::pair().map_err(FilesError::Start)?;
        let window = Window::file().map_err(FilesError::Start)?;
        let child = Command::new(program)
            .args(args)
            .arg(FILES)
            .arg(state_dir)
            .arg(NAME)
            .env_clear()
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Its own group: Ctrl-C is for whoever started the sandbox.
            .process_group(0)
            .spawn()
            .map_err(FilesError::Start)?;
        let mut server = Self { child, asker: None };
        let setup = Setup { state_dir: root, shares, seccomp: runtime.seccomp };
        let answered = channel
            .send(&setup, &[window.as_fd()])
            .and_then(|()| channel.receive::<Result<(), String>>(true))
            .map_err(FilesError::Start)?;
        match answered {
            Some((Ok(()), _)) => {
                server.asker = Some((channel, window));
                Ok(server)
            }
            Some((Err(why), _)) => Err(FilesError::Jail(why)),
            None => Err(FilesError::Start(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// The socket and the window of whoever asks.
    pub fn asker(&self) -> Option<[BorrowedFd<'_>; 2]> {
        self.asker.as_ref().map(|(channel, window)| [channel.as_fd(), window.as_fd()])
    }

    /// The asker has its own: with that, the server ends.
    pub fn hand_over(&mut self) {
        self.asker = None;
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(0)
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn examine(share: &Share) -> Result<SharedPath, FilesError> {
    let path = &share.path;
    let metadata =
        path.metadata().map_err(|source| FilesError::Source { path: path.clone(), source })?;
    if !metadata.is_file() && !metadata.is_dir() {
        return Err(FilesError::Kind(path.clone()));
    }
    let (path, is_file) = (path.clone(), metadata.is_file());
    Ok(SharedPath { path, is_file, read_only: share.read_only })
}
