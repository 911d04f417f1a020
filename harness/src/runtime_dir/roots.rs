//! Where labs and kept logs are: the XDG directories, or /tmp where sockets in those would have too
//! long a path.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::{LONGEST_NAME, ROOM, RuntimeDirError};
use crate::platform::SOCKET_PATH_LIMIT;

/// Longest name of a socket in a lab's directory.
const LONGEST_SOCKET: usize = 24;

/// Where labs and kept logs are.
#[derive(Debug, Clone)]
pub struct Roots {
    /// Where labs may be; new ones are made in the first.
    pub runtime: Vec<PathBuf>,
    /// Where logs are kept.
    pub state: PathBuf,
}

impl Roots {
    /// `$XDG_RUNTIME_DIR/kmslab`, else `/tmp/kmslab-<uid>`; and `$XDG_STATE_HOME/kmslab`, else
    /// `~/.local/state/kmslab`.
    pub fn from_env() -> Self {
        let variable = |name| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let temporary = PathBuf::from(format!("/tmp/kmslab-{}", own_uid()));
        let runtime = match variable("XDG_RUNTIME_DIR").map(|dir| dir.join("kmslab")) {
            Some(dir) if suits(&dir) => vec![dir, temporary],
            // Labs may be there all the same, made when there was room.
            Some(dir) => vec![temporary, dir],
            None => vec![temporary],
        };
        let state = variable("XDG_STATE_HOME")
            .or_else(|| Some(variable("HOME")?.join(".local/state")))
            .map_or_else(|| runtime[0].join("state"), |dir| dir.join("kmslab"));
        Self { runtime, state }
    }

    /// The root for new labs, made if it is not there, and surely this user's.
    pub(super) fn prepare(&self) -> Result<PathBuf, RuntimeDirError> {
        let root = self
            .runtime
            .first()
            .cloned()
            .unwrap_or_else(|| PathBuf::from("/tmp"));
        let created = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&root);
        created.map_err(RuntimeDirError::io("creating", &root))?;
        // In /tmp another user may have been first with this name: a link, or a directory of
        // theirs.
        let found =
            std::fs::symlink_metadata(&root).map_err(RuntimeDirError::io("looking at", &root))?;
        let why = if !found.is_dir() {
            Some("is not a directory")
        } else if found.uid() != own_uid() {
            Some("belongs to another user")
        } else if found.mode() & 0o077 != 0 {
            Some("is open to other users")
        } else {
            None
        };
        why.map_or(Ok(root.clone()), |why| {
            Err(RuntimeDirError::Root { path: root, why })
        })
    }

    /// Names of labs, dead or alive, with the root that each is in: every directory and every lock
    /// file.
    pub(super) fn names(&self) -> BTreeSet<(PathBuf, String)> {
        let mut names = BTreeSet::new();
        for root in &self.runtime {
            let Ok(entries) = std::fs::read_dir(root) else {
                continue;
            };
            for entry in entries.flatten() {
                let Ok(name) = entry.file_name().into_string() else {
                    continue;
                };
                let name = name.strip_suffix(".lock").unwrap_or(&name);
                if super::check_name(name).is_ok() && name != "state" {
                    names.insert((root.clone(), name.to_owned()));
                }
            }
        }
        names
    }
}

/// Whether labs in `dir` would have room and paths short enough. XDG_RUNTIME_DIR is often a small
/// file system in memory.
fn suits(dir: &Path) -> bool {
    let short = dir.as_os_str().len() + 1 + LONGEST_NAME + 1 + LONGEST_SOCKET <= SOCKET_PATH_LIMIT;
    let base = dir.parent().unwrap_or(dir);
    let owned =
        std::fs::metadata(base).is_ok_and(|found| found.is_dir() && found.uid() == own_uid());
    short && owned && left(base).is_ok_and(|left| left >= 4 * ROOM)
}

pub(super) fn check_room(root: &Path) -> Result<(), RuntimeDirError> {
    let left = left(root).map_err(RuntimeDirError::io("asking for the room in", root))?;
    if left >= ROOM {
        Ok(())
    } else {
        Err(RuntimeDirError::Full {
            path: root.into(),
            left,
        })
    }
}

fn left(path: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(path)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}
