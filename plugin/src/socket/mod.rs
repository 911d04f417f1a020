//! The unix socket: bound for its owner alone unless told otherwise, never over something that is
//! not a stale socket, unlinked only if it is still ours.

mod access;
mod error;
mod incoming;
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
pub use error::SocketError;
pub(crate) use incoming::{Door, Incoming};
pub(crate) use keeper::{Standing, keep};

/// Bytes that a socket's path may have: the kernel's field less the closing NUL.
pub const MAX_PATH: usize = if cfg!(target_os = "macos") { 103 } else { 107 };
/// kube-apiserver holds one connection; a fleet of health probes a few more.
const BACKLOG: u32 = 128;
/// How long a listener at the path may take to accept, before it counts as alive.
const CONNECT: Duration = Duration::from_secs(1);
/// Tries, 50 ms apart, to get the folder's lock, which others hold for a few system calls.
const LOCK_TRIES: u32 = 40;

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
    if len > MAX_PATH {
        Err(SocketError::TooLong {
            path: path.to_owned(),
            len,
        })
    } else {
        Ok(())
    }
}

/// Binds, after taking away a stale socket. Two plugins that start at once don't take each other's
/// socket: the folder is locked.
pub(crate) async fn bind(
    path: &Path,
    access: Access,
) -> Result<(UnixListener, Bound), SocketError> {
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
    clear(path).await?;

    let socket = UnixSocket::new_stream().map_err(io("make a socket"))?;
    // On Linux the file gets the socket's own mode, so there is no moment in which others could
    // connect. Elsewhere this may be refused, and the chmod below has to do.
    let _ = rustix::fs::fchmod(&socket, Mode::from_raw_mode(0o600));
    socket.bind(path).map_err(io("bind"))?;
    let made = fs::symlink_metadata(path).map_err(io("read"))?;
    let bound = Bound {
        path: path.to_owned(),
        id: (made.dev(), made.ino()),
    };
    let opened =
        open_to(&bound, access).and_then(|()| socket.listen(BACKLOG).map_err(io("listen on")));
    match opened {
        Ok(listener) => Ok((listener, bound)),
        Err(error) => {
            bound.unlink();
            Err(error)
        }
    }
}

/// The group first: a mode that lets a group in is not for the group that the file was made with.
fn open_to(bound: &Bound, access: Access) -> Result<(), SocketError> {
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
    for _ in 1..LOCK_TRIES {
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

/// Makes room at `path`, if what stands there is a socket that nobody listens on.
async fn clear(path: &Path) -> Result<(), SocketError> {
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
    match timeout(CONNECT, UnixStream::connect(path)).await {
        Ok(Err(err)) if err.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "removing the stale socket of a plugin that is gone");
            fs::remove_file(path).map_err(io("remove the stale socket"))
        }
        // A full backlog says WouldBlock: somebody is there and busy.
        Ok(Err(err)) if err.kind() != io::ErrorKind::WouldBlock => {
            Err(io("tell whether somebody listens on")(err))
        }
        _ => Err(SocketError::InUse {
            path: path.to_owned(),
        }),
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

    /// Whether the file at the path is the one that was bound.
    pub(crate) fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.id)
    }

    /// Removes the file, if it is still the one that was bound: another plugin may have taken the
    /// path over.
    pub(crate) fn unlink(&self) {
        if self.is_there()
            && let Err(err) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), "cannot remove the socket: {err}");
        }
    }
}
