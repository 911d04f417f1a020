//! The unix socket: bound for its owner alone, never over something that is not a stale socket, unlinked only if it is still ours.

mod incoming;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, flock};
use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::time::{sleep, timeout};

pub(crate) use incoming::{Door, Incoming};

/// Bytes that a socket's path may have: the kernel's field less the closing NUL.
pub const MAX_PATH: usize = if cfg!(target_os = "macos") { 103 } else { 107 };
/// Only the owner may connect: whoever can, can have every secret decrypted.
const MODE: u32 = 0o600;
/// kube-apiserver holds one connection; a fleet of health probes a few more.
const BACKLOG: u32 = 128;
/// How long a listener at the path may take to accept, before it counts as alive.
const CONNECT: Duration = Duration::from_secs(1);
/// Tries, 50 ms apart, to get the folder's lock, which others hold for a few system calls.
const LOCK_TRIES: u32 = 40;

/// Why the socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// An abstract socket, which has no owner and no mode.
    #[error(
        "--listen {0}: abstract sockets have no permissions, every local user could decrypt; give the path of a file"
    )]
    Abstract(String),
    /// Longer than the kernel takes.
    #[error("--listen {path}: the path is {len} bytes, a unix socket's may have {MAX_PATH}: choose a shorter one, such as /run/kmsplugin/kms.sock", path = path.display())]
    TooLong {
        /// The path.
        path: PathBuf,
        /// Its length.
        len: usize,
    },
    /// The folder is not there.
    #[error("--listen {path}: the directory {dir} does not exist: create it with `install -d -m 0700 {dir}`", path = path.display(), dir = dir.display())]
    NoDirectory {
        /// The socket's path.
        path: PathBuf,
        /// Its folder.
        dir: PathBuf,
    },
    /// Something else stands there.
    #[error("--listen {path}: there is {what} already, which is left alone: remove it or choose another path", path = path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A live socket.
    #[error("--listen {path}: another plugin is listening there: stop it first or choose another path", path = path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// Anything else that the operating system says.
    #[error("--listen {path}: cannot {action}: {source}; check the owner and the permissions of its directory", path = path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Takes `/path` and `unix:///path`; refuses what can never be bound.
pub(crate) fn path_of(listen: &str) -> Result<PathBuf, SocketError> {
    let path = listen.strip_prefix("unix://").unwrap_or(listen);
    if path.starts_with('@') || path.starts_with("/@") {
        return Err(SocketError::Abstract(listen.to_owned()));
    }
    check_length(Path::new(path))?;
    Ok(PathBuf::from(path))
}

fn check_length(path: &Path) -> Result<(), SocketError> {
    let len = path.as_os_str().len();
    if len > MAX_PATH { Err(SocketError::TooLong { path: path.to_owned(), len }) } else { Ok(()) }
}

/// Binds, after taking away a stale socket. Two plugins that start at once don't take each other's socket: the folder is locked.
pub(crate) async fn bind(path: &Path) -> Result<(UnixListener, Bound), SocketError> {
    check_length(path)?;
    let io = |action| move |source| SocketError::Io { path: path.to_owned(), action, source };
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    if !dir.is_dir() {
        return Err(SocketError::NoDirectory { path: path.to_owned(), dir: dir.to_owned() });
    }
    let _lock = lock(dir).await.map_err(io("lock its directory"))?;
    clear(path).await?;

    let socket = UnixSocket::new_stream().map_err(io("make a socket"))?;
    // On Linux the file gets the socket's own mode, so there is no moment in which others could connect. Elsewhere this may be
    // refused, and the chmod below has to do.
    let _ = rustix::fs::fchmod(&socket, Mode::from_raw_mode(MODE as _));
    socket.bind(path).map_err(io("bind"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(MODE)).map_err(io("set the mode of"))?;
    let made = fs::symlink_metadata(path).map_err(io("read"))?;
    let listener = socket.listen(BACKLOG).map_err(io("listen on"))?;
    Ok((listener, Bound { path: path.to_owned(), id: (made.dev(), made.ino()) }))
}

async fn lock(dir: &Path) -> io::Result<File> {
    let dir = File::open(dir)?;
    for _ in 1..LOCK_TRIES {
        match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => sleep(Duration::from_millis(50)).await,
            done => return done.map(|()| dir).map_err(io::Error::from),
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "another process holds the lock of the directory"))
}

/// Makes room at `path`, if what stands there is a socket that nobody listens on.
async fn clear(path: &Path) -> Result<(), SocketError> {
    let io = |action| move |source| SocketError::Io { path: path.to_owned(), action, source };
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
        return Err(SocketError::NotASocket { path: path.to_owned(), what });
    }
    match timeout(CONNECT, UnixStream::connect(path)).await {
        Ok(Err(err)) if err.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "removing the stale socket of a plugin that is gone");
            fs::remove_file(path).map_err(io("remove the stale socket"))
        }
        // A full backlog says WouldBlock: somebody is there and busy.
        Ok(Err(err)) if err.kind() != io::ErrorKind::WouldBlock => Err(io("tell whether somebody listens on")(err)),
        _ => Err(SocketError::InUse { path: path.to_owned() }),
    }
}

/// The socket's file, known by device and inode.
#[derive(Debug)]
pub(crate) struct Bound {
    path: PathBuf,
    id: (u64, u64),
}

impl Bound {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file, if it is still the one that was bound: another plugin may have taken the path over.
    pub(crate) fn unlink(&self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.id);
        if ours && let Err(err) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), "cannot remove the socket: {err}");
        }
    }
}
