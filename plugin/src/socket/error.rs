//! Why the socket cannot be had.

use std::io;
use std::path::PathBuf;

use super::MAX_PATH;

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
    /// The group cannot be had.
    #[error(
        "--socket-group {group}: cannot give it the socket: {source}; only root and the group's own members can"
    )]
    Group {
        /// Its number.
        group: u32,
        /// What the system said.
        source: io::Error,
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
