//! A lock that keeps a service of another process's lab down: an flock'ed file, which the kernel
//! releases when the holder dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Polling interval: waiting for an flock would block a thread.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// While this lives, the lab's supervisor does not restart the service.
#[derive(Debug)]
pub struct Hold {
    _file: File,
}

impl Hold {
    /// Locks `service` in the lab's directory, waiting for the current holder.
    pub async fn take(dir: &Path, service: &str) -> io::Result<Self> {
        let file = open(&path(dir, service), true)?;
        while !try_lock(&file)? {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(Self { _file: file })
    }

    /// Waits until nobody holds `service` down.
    pub async fn wait_until_released(dir: &Path, service: &str) -> io::Result<()> {
        let file = match open(&path(dir, service), false) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        while !try_lock(&file)? {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }
}

fn path(dir: &Path, service: &str) -> PathBuf {
    dir.join(format!("{service}.hold"))
}

fn open(path: &Path, create: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(create)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn service_stays_down_while_it_is_held() {
        let dir = tempfile::tempdir().unwrap();
        Hold::wait_until_released(dir.path(), "etcd").await.unwrap();
        let hold = Hold::take(dir.path(), "etcd").await.unwrap();
        let released = Hold::wait_until_released(dir.path(), "etcd");
        tokio::pin!(released);
        assert!(futures::poll!(released.as_mut()).is_pending());
        Hold::wait_until_released(dir.path(), "other")
            .await
            .unwrap();
        drop(hold);
        released.await.unwrap();
    }
}
