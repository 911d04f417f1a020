//! Differences between Linux and macOS: death of the parent, identity of a process, lengths of
//! socket paths.

pub mod fallback;
#[cfg(target_os = "linux")]
pub mod linux;
mod ports;

use std::ffi::OsString;
use std::io;
use std::path::Path;

pub use ports::PortReservation;

/// Maximum length of a unix socket's path in bytes: `sun_path` has 108 on Linux and 104 on macOS,
/// including the final NUL.
pub const SOCKET_PATH_LIMIT: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// How a child is ended when its parent dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Guard {
    /// The kernel kills it: PR_SET_PDEATHSIG, on Linux only.
    Signal,
    /// A watcher process holds the read end of a pipe of the parent's, and kills the child when
    /// that ends.
    Watch,
}

impl Guard {
    /// The best way on this system.
    pub const fn native() -> Self {
        if cfg!(target_os = "linux") {
            Self::Signal
        } else {
            Self::Watch
        }
    }

    /// Executes `command`, which dies when `parent` does. Returns only on failure.
    pub(crate) fn exec(self, parent: u32, command: &[OsString]) -> io::Error {
        match self {
            #[cfg(target_os = "linux")]
            Self::Signal => linux::exec(parent, command),
            #[cfg(not(target_os = "linux"))]
            Self::Signal => io::Error::new(
                io::ErrorKind::Unsupported,
                "this system has no parent-death signal: use --guard watch",
            ),
            Self::Watch => fallback::exec(parent, command),
        }
    }
}

/// Distinguishes a process from a later one with the same pid. Only useful for comparison.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct StartTime(String);

/// Start time of a process; `None` if it does not exist, or is dead and not yet reaped.
pub fn start_time(pid: u32) -> io::Result<Option<StartTime>> {
    #[cfg(target_os = "linux")]
    let found = linux::start_time(pid)?;
    #[cfg(not(target_os = "linux"))]
    let found = fallback::start_time(Path::new("ps"), pid)?;
    Ok(found.map(StartTime))
}

/// Whether `pid` is still the process that started at `started`.
pub fn is_running(pid: u32, started: &StartTime) -> bool {
    matches!(start_time(pid), Ok(Some(now)) if now == *started)
}

/// Rejects paths that are too long for a unix socket.
pub fn check_socket_path(path: &Path) -> io::Result<()> {
    let length = path.as_os_str().len();
    if length <= SOCKET_PATH_LIMIT {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!(
            "the socket path {} has {length} bytes, and a unix socket's path holds {SOCKET_PATH_LIMIT}: choose a shorter directory",
            path.display()
        ),
    ))
}

/// Pid of the parent, 0 if it is outside of this pid namespace.
pub(crate) fn parent_pid() -> u32 {
    rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs())
}

/// Converts a pid for rustix; `None` for 0 and invalid values.
pub fn pid(raw: u32) -> Option<rustix::process::Pid> {
    i32::try_from(raw)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
}

/// The error of a child whose parent died before it was bound to it.
fn orphaned(parent: u32) -> io::Error {
    io::Error::other(format!(
        "the process {parent} that wanted this child is gone: not started"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_distinguished_by_start_time() {
        let own = std::process::id();
        let started = start_time(own).unwrap().unwrap();
        assert!(is_running(own, &started));
        assert!(!is_running(own, &StartTime("another".into())));
        assert_eq!(start_time(u32::MAX).unwrap(), None);
    }

    #[test]
    fn dead_child_is_not_running_before_it_is_reaped() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        while start_time(child.id()).unwrap().is_some() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }

    #[test]
    fn too_long_socket_path_is_rejected_with_its_length() {
        let path = format!("/tmp/{}", "x".repeat(SOCKET_PATH_LIMIT - 5));
        assert!(check_socket_path(Path::new(&path)).is_ok());
        std::os::unix::net::SocketAddr::from_pathname(&path).unwrap();
        let error = check_socket_path(Path::new(&format!("{path}x"))).unwrap_err();
        assert!(
            error
                .to_string()
                .contains(&format!("has {} bytes", SOCKET_PATH_LIMIT + 1)),
            "{error}"
        );
    }
}
