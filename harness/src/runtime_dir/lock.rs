//! The lock file of a lab: locked by its owner, released by the kernel when that dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A held lock.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    file: File,
}

/// Path of the lock of lab `name`: next to its directory, so that it can be held while that is
/// removed.
pub(super) fn path(root: &Path, name: &str) -> PathBuf {
    root.join(format!("{name}.lock"))
}

impl Lock {
    /// Takes the lock; `None` if another process holds it.
    pub(super) fn try_take(path: &Path) -> io::Result<Option<Self>> {
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // The previous holder may have unlinked it between open and flock: the lock is then on
            // a file that nobody else finds.
            if is_still(&file, path)? {
                return Ok(Some(Self {
                    path: path.into(),
                    file,
                }));
            }
        }
    }

    /// Unlinks the file, then releases the lock.
    pub(super) fn remove(self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "cannot remove a lock file");
        }
    }
}

impl Drop for Lock {
    /// Releases the lock, also for a child that another thread is starting: it has a copy of the
    /// descriptor until it executes its program.
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, path = %self.path.display(), "cannot release a lock");
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
