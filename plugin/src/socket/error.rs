//! Errors of binding the socket.

use std::io;
use std::path::PathBuf;

use super::MAX_PATH_LEN;

/// Why the socket cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// An abstract socket, which has neither owner nor mode.
    #[error(
        "--listen {0}: abstract sockets have no permissions, every local user could decrypt; give the path of a file"
    )]
    Abstract(String),
    /// The path is longer than the kernel allows.
    #[error("--listen {path}: the path is {len} bytes, a unix socket's may have {MAX_PATH_LEN}: choose a shorter one, such as /run/kmsplugin/kms.sock", path = path.display())]
    TooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        len: usize,
    },
    /// The directory does not exist.
    #[error("--listen {path}: the directory {dir} does not exist: create it with `install -d -m 0700 {dir}`", path = path.display(), dir = dir.display())]
    NoDirectory {
        /// Path of the socket.
        path: PathBuf,
        /// Its directory.
        dir: PathBuf,
    },
    /// The path exists and is not a socket.
    #[error("--listen {path}: there is {what} already, which is left alone: remove it or choose another path", path = path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Another process listens on the socket.
    #[error("--listen {path}: another plugin is listening there: stop it first or choose another path", path = path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// The group cannot be set.
    #[error(
        "--socket-group {group}: cannot give it the socket: {source}; only root and the group's own members can"
    )]
    Group {
        /// The group id.
        group: u32,
        /// The system's error.
        source: io::Error,
    },
    /// Another error of the operating system.
    #[error("--listen {path}: cannot {action}: {source}; check the owner and the permissions of its directory", path = path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// The operation that failed.
        action: &'static str,
        /// The system's error.
        source: io::Error,
    },
}
