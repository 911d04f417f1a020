//! Directories of labs and kept logs: the XDG directories, or /tmp if socket paths in those would
//! be too long.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::{MAX_NAME_LEN, MIN_FREE_BYTES, RuntimeDirError};
use crate::platform::SOCKET_PATH_LIMIT;

/// Maximum length of a socket's name in a lab's directory.
const MAX_SOCKET_NAME_LEN: usize = 24;

/// Directories of labs and kept logs.
#[derive(Debug, Clone)]
pub struct Roots {
    /// Directories that may contain labs; new ones are created in the first.
    pub runtime: Vec<PathBuf>,
    /// Directory of kept logs.
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
            Some(dir) if is_suitable(&dir) => vec![dir, temporary],
            // It may contain labs from when it had enough space.
            Some(dir) => vec![temporary, dir],
            None => vec![temporary],
        };
        let state = variable("XDG_STATE_HOME")
            .or_else(|| Some(variable("HOME")?.join(".local/state")))
            .map_or_else(|| runtime[0].join("state"), |dir| dir.join("kmslab"));
        Self { runtime, state }
    }

    /// Returns the root for new labs; creates it, and checks that it belongs to this user.
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
        // In /tmp another user may have created this name first, as a link or a directory.
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

    /// Names of labs, dead or alive, with their roots: every directory and every lock file.
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

/// Whether `dir` has enough space and a path that is short enough. XDG_RUNTIME_DIR is often a small
/// file system in memory.
fn is_suitable(dir: &Path) -> bool {
    let short =
        dir.as_os_str().len() + 1 + MAX_NAME_LEN + 1 + MAX_SOCKET_NAME_LEN <= SOCKET_PATH_LIMIT;
    let base = dir.parent().unwrap_or(dir);
    let owned =
        std::fs::metadata(base).is_ok_and(|found| found.is_dir() && found.uid() == own_uid());
    short && owned && free_bytes(base).is_ok_and(|left| left >= 4 * MIN_FREE_BYTES)
}

pub(super) fn check_room(root: &Path) -> Result<(), RuntimeDirError> {
    let left = free_bytes(root).map_err(RuntimeDirError::io("asking for the room in", root))?;
    if left >= MIN_FREE_BYTES {
        Ok(())
    } else {
        Err(RuntimeDirError::Full {
            path: root.into(),
            left,
        })
    }
}

fn free_bytes(path: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(path)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}
