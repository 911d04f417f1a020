//! The unix socket: accessible to its owner only by default, never bound over anything but a stale
//! socket, and removed only if it is still the plugin's own.

mod access;
mod connection;
mod error;
mod keeper;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, flock};
use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::time::{sleep, timeout};

pub use access::Access;
pub(crate) use access::{parse_group, parse_mode};
pub(crate) use connection::{CloseableListener, ConnectionStream};
pub use error::SocketError;
pub(crate) use keeper::{SocketHealth, keep};

/// Maximum length of a socket's path in bytes: the kernel's field minus the terminating NUL.
pub const MAX_PATH_LEN: usize = if cfg!(target_os = "macos") { 103 } else { 107 };
/// kube-apiserver holds one connection; health probes need a few more.
const BACKLOG: u32 = 128;
/// How long to wait for a listener to accept before its socket counts as stale.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Attempts, 50 ms apart, to lock the directory, which others lock for a few system calls.
const MAX_LOCK_ATTEMPTS: u32 = 40;

/// Parses `/path` and `unix:///path`; rejects paths that can never be bound.
pub(crate) fn parse_listen(listen: &str) -> Result<PathBuf, SocketError> {
    let path = listen.strip_prefix("unix://").unwrap_or(listen);
    if path.starts_with('@') || path.starts_with("/@") {
        return Err(SocketError::Abstract(listen.to_owned()));
    }
    check_length(Path::new(path))?;
    Ok(PathBuf::from(path))
}

fn check_length(path: &Path) -> Result<(), SocketError> {
    let len = path.as_os_str().len();
    if len > MAX_PATH_LEN {
        Err(SocketError::TooLong {
            path: path.to_owned(),
            len,
        })
    } else {
        Ok(())
    }
}

/// Removes a stale socket and binds. The directory is locked, so that two plugins that start at
/// once do not take each other's socket.
pub(crate) async fn bind(
    path: &Path,
    access: Access,
) -> Result<(UnixListener, SocketFile), SocketError> {
    check_length(path)?;
    let io = |action| {
        move |source| SocketError::Io {
            path: path.to_owned(),
            action,
            source,
        }
    };
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    if !dir.is_dir() {
        return Err(SocketError::NoDirectory {
            path: path.to_owned(),
            dir: dir.to_owned(),
        });
    }
    let _lock = lock(dir).await.map_err(io("lock its directory"))?;
    remove_stale_socket(path).await?;

    let socket = UnixSocket::new_stream().map_err(io("make a socket"))?;
    // On Linux the file gets the socket's own mode, so that others can never connect. Elsewhere
    // this may fail, and the chmod below sets it.
    let _ = rustix::fs::fchmod(&socket, Mode::from_raw_mode(0o600));
    socket.bind(path).map_err(io("bind"))?;
    let created = fs::symlink_metadata(path).map_err(io("read"))?;
    let bound = SocketFile {
        path: path.to_owned(),
        id: (created.dev(), created.ino()),
    };
    let decrypted = set_permissions(&bound, access)
        .and_then(|()| socket.listen(BACKLOG).map_err(io("listen on")));
    match decrypted {
        Ok(listener) => Ok((listener, bound)),
        Err(error) => {
            bound.unlink();
            Err(error)
        }
    }
}

/// The group first: the mode must not apply to the group that the file was created with.
fn set_permissions(bound: &SocketFile, access: Access) -> Result<(), SocketError> {
    let path = &bound.path;
    if let Some(group) = access.group() {
        lchown(path, None, Some(group)).map_err(|source| SocketError::Group { group, source })?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(access.mode())).map_err(|source| {
        SocketError::Io {
            path: path.to_owned(),
            action: "set the mode of",
            source,
        }
    })
}

async fn lock(dir: &Path) -> io::Result<File> {
    let dir = File::open(dir)?;
    for _ in 1..MAX_LOCK_ATTEMPTS {
        match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => sleep(Duration::from_millis(50)).await,
            done => return done.map(|()| dir).map_err(io::Error::from),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        "another process holds the lock of the directory",
    ))
}

/// Removes a socket at `path` that nobody listens on.
async fn remove_stale_socket(path: &Path) -> Result<(), SocketError> {
    let io = |action| {
        move |source| SocketError::Io {
            path: path.to_owned(),
            action,
            source,
        }
    };
    let kind = match fs::symlink_metadata(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(err) => return Err(io("read")(err)),
        Ok(meta) => meta.file_type(),
    };
    if !kind.is_socket() {
        let what = if kind.is_dir() {
            "a directory"
        } else if kind.is_symlink() {
            "a symbolic link"
        } else if kind.is_file() {
            "a regular file"
        } else {
            "something that is not a socket"
        };
        return Err(SocketError::NotASocket {
            path: path.to_owned(),
            what,
        });
    }
    match timeout(CONNECT_TIMEOUT, UnixStream::connect(path)).await {
        Ok(Err(err)) if err.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "removing the stale socket of a plugin that has exited");
            fs::remove_file(path).map_err(io("remove the stale socket"))
        }
        // A full backlog returns WouldBlock: the listener is alive and busy.
        Ok(Err(err)) if err.kind() != io::ErrorKind::WouldBlock => {
            Err(io("check for a listener on")(err))
        }
        _ => Err(SocketError::InUse {
            path: path.to_owned(),
        }),
    }
}

/// The socket's file, identified by device and inode.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    id: (u64, u64),
}

impl SocketFile {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reports whether the file at the path is the one that was bound.
    pub(crate) fn is_in_place(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.id)
    }

    /// Removes the file if it is still the one that was bound; another plugin may have taken over
    /// the path.
    pub(crate) fn unlink(&self) {
        if self.is_in_place()
            && let Err(err) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), "cannot remove the socket: {err}");
        }
    }
}
