//! The lock file of a lab: held by the owner, given back by the kernel when that dies.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// The lock, held.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
}

/// Where the lock of the lab `name` is: beside its directory, so that it can be held while that is
/// removed.
pub(super) fn path(root: &Path, name: &str) -> PathBuf {
    root.join(format!("{name}.lock"))
}

impl Lock {
    /// Takes the lock; `None` where another process holds it.
    pub(super) fn try_take(path: &Path) -> io::Result<Option<Self>> {
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            // Between open and flock its holder may have unlinked it: then this lock guards a file
            // that nobody else finds.
            if is_still(&file, path)? {
                return Ok(Some(Self {
                    path: path.into(),
                    _file: file,
                }));
            }
        }
    }

    /// Unlinks the file while it is held, then lets go.
    pub(super) fn remove(self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "cannot remove a lock file");
        }
    }
}

fn is_still(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(found) => Ok((held.dev(), held.ino()) == (found.dev(), found.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
