//! The directory of a lab: sockets, data, logs and its owner, so that nothing is left behind even
//! after a SIGKILL.
//!
//! `<root>/<name>.lock` is flock'ed by the owner as long as it lives; `<root>/<name>/` is the lab.
//! The kernel releases the lock of a dead owner, and the next start sweeps what it left.

mod kept_logs;
mod lock;
mod roots;
mod state;
mod sweep;

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use roots::Roots;
pub use state::{LabState, Process};
pub use sweep::{SweptLab, sweep, sweep_in};

use crate::engine::OwnedContainers;
use crate::platform::{StartTime, start_time};
use lock::Lock;

/// Free space that a lab needs, in bytes: etcd allocates two write-ahead segments of 64 MB at
/// start, and its database grows.
const MIN_FREE_BYTES: u64 = 256 << 20;
/// Maximum length of a lab's name, so that socket paths stay within the system's limit.
const MAX_NAME_LEN: usize = 32;

/// Why a lab's directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeDirError {
    /// The name is invalid.
    #[error("{0:?} is not a name for a lab: use 1 to 32 of a-z, 0-9 and '-', the first not '-'")]
    BadName(String),
    /// Another process uses it.
    #[error("the lab {name} is already up{}: `kmslab down {name}` ends it, or choose another name", owner.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    InUse {
        /// Name of the lab.
        name: String,
        /// Pid of its owner.
        owner: Option<u32>,
    },
    /// The root belongs to another user, or is accessible to others.
    #[error("{} {why}: remove it, or set XDG_RUNTIME_DIR to a directory of yours", path.display())]
    Root {
        /// Path of the root.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// The disk is full.
    #[error("{} has {} MiB left, and a lab takes up to {}: free some, or set XDG_RUNTIME_DIR to a directory with more room", path.display(), left >> 20, MIN_FREE_BYTES >> 20)]
    Full {
        /// Path on that disk.
        path: PathBuf,
        /// Free bytes.
        left: u64,
    },
    /// A file operation failed.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// The operation.
        what: &'static str,
        /// The path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl RuntimeDirError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

/// The directory of a lab of this process. On drop it is removed, after killing the processes
/// recorded in it.
#[derive(Debug)]
pub struct RuntimeDir {
    name: String,
    path: PathBuf,
    state_root: PathBuf,
    state: Mutex<LabState>,
    /// Released and unlinked last.
    lock: Option<Lock>,
}

impl RuntimeDir {
    /// Creates the directory of lab `name`, after sweeping what a dead owner of this name left.
    pub fn create(name: &str) -> Result<Self, RuntimeDirError> {
        Self::create_in(&Roots::from_env(), name)
    }

    /// Creates a directory for a run without a name: `<prefix>-<pid>`, with a number if this
    /// process has several.
    pub fn create_unique(prefix: &str) -> Result<Self, RuntimeDirError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let pid = std::process::id();
        match COUNT.fetch_add(1, Ordering::Relaxed) {
            0 => Self::create(&format!("{prefix}-{pid}")),
            more => Self::create(&format!("{prefix}-{pid}-{more}")),
        }
    }

    /// [`RuntimeDir::create`] below the given roots.
    pub fn create_in(roots: &Roots, name: &str) -> Result<Self, RuntimeDirError> {
        check_name(name)?;
        let root = roots.prepare()?;
        let path = root.join(name);
        let lock_path = lock::path(&root, name);
        let Some(lock) =
            Lock::try_take(&lock_path).map_err(RuntimeDirError::io("locking", &lock_path))?
        else {
            let owner = LabState::read(&path).ok().map(|state| state.owner.pid);
            return Err(RuntimeDirError::InUse {
                name: name.into(),
                owner,
            });
        };
        sweep::remove_lab(&path, &roots.state, name).map_err(RuntimeDirError::io(
            "removing what a dead lab left in",
            &path,
        ))?;
        roots::check_room(&root)?;
        let state = LabState::of_this_process(name).map_err(RuntimeDirError::io(
            "reading this process's start time for",
            &path,
        ))?;
        let dir = Self {
            name: name.into(),
            path,
            state_root: roots.state.clone(),
            state: Mutex::new(state),
            lock: Some(lock),
        };
        dir.fill()
            .map_err(RuntimeDirError::io("creating", &dir.path))?;
        Ok(dir)
    }

    fn fill(&self) -> io::Result<()> {
        let mut private = std::fs::DirBuilder::new();
        private.mode(0o700);
        private.create(&self.path)?;
        private.create(self.logs())?;
        self.state().write(&self.path)
    }

    /// Name of the lab.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Directory of the lab's logs, removed with it: see [`RuntimeDir::keep_logs`].
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// Path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file in it that only this user can read.
    pub fn write_private(&self, name: &str, content: &[u8]) -> io::Result<PathBuf> {
        let path = self.file(name);
        write_private(&path, content)?;
        Ok(path)
    }

    /// Records a process of the lab, replacing an earlier one of that name: others find its pid,
    /// the sweep kills it.
    pub fn record_process(&self, name: &str, pid: u32, started: StartTime) -> io::Result<()> {
        let mut state = self.state();
        state
            .processes
            .insert(name.into(), Process { pid, started });
        state.write(&self.path)
    }

    /// Removes the record of a process that has exited.
    pub fn remove_process(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.processes.remove(name);
        state.write(&self.path)
    }

    /// Records what the lab is about to create in a container engine, which the sweep removes.
    pub fn record_containers(&self, owned: OwnedContainers) -> io::Result<()> {
        let mut state = self.state();
        state.containers = Some(owned);
        state.write(&self.path)
    }

    /// Removes what the lab has in a container engine, and the record. Blocks.
    pub fn remove_containers(&self) -> io::Result<()> {
        let owned = self.state().containers.clone();
        let Some(owned) = owned else { return Ok(()) };
        owned.remove()?;
        let mut state = self.state();
        state.containers = None;
        state.write(&self.path)
    }

    /// Copies the logs to where they outlive the lab, and returns that path. Used after a failure.
    pub fn keep_logs(&self) -> io::Result<PathBuf> {
        kept_logs::keep(&self.logs(), &self.state_root, &self.name)
    }

    fn state(&self) -> MutexGuard<'_, LabState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RuntimeDir {
    fn drop(&mut self) {
        sweep::kill_processes(&self.state());
        if let Err(error) = self.remove_containers() {
            tracing::warn!(%error, "cannot remove the lab's containers; the next start will");
            return;
        }
        if let Err(error) = sweep::remove_all(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "cannot remove the lab's directory; the next start will");
            return;
        }
        if let Some(lock) = self.lock.take() {
            lock.remove();
        }
    }
}

/// A lab as another process sees it.
#[derive(Debug, Clone)]
pub struct Lab {
    /// Path of its directory.
    pub path: PathBuf,
    /// Its owner and processes.
    pub state: LabState,
    /// Whether its owner is alive; if not, the next start sweeps it.
    pub alive: bool,
}

/// The labs of this user, by name.
pub fn labs() -> Vec<Lab> {
    labs_in(&Roots::from_env())
}

/// [`labs`] below the given roots.
pub fn labs_in(roots: &Roots) -> Vec<Lab> {
    let mut labs: Vec<Lab> = roots
        .names()
        .into_iter()
        .filter_map(|(root, name)| lab(&root.join(name)))
        .collect();
    labs.sort_by(|a, b| a.state.name.cmp(&b.state.name));
    labs
}

/// Finds a lab by its name.
pub fn find(name: &str) -> Option<Lab> {
    labs().into_iter().find(|lab| lab.state.name == name)
}

fn lab(path: &Path) -> Option<Lab> {
    let state = LabState::read(path).ok()?;
    Some(Lab {
        path: path.into(),
        alive: state.owner.is_running(),
        state,
    })
}

/// Fails unless the name is valid.
pub fn check_name(name: &str) -> Result<(), RuntimeDirError> {
    let fits = (1..=MAX_NAME_LEN).contains(&name.len())
        && !name.starts_with('-')
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fits {
        Ok(())
    } else {
        Err(RuntimeDirError::BadName(name.into()))
    }
}

/// Replaces the file atomically.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_added_extension("new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(content)?;
    // Otherwise, after a crash of the machine, the new name may refer to an empty file.
    file.sync_all()?;
    std::fs::rename(&new, path)
}

impl LabState {
    fn of_this_process(name: &str) -> io::Result<Self> {
        let pid = std::process::id();
        let started = start_time(pid)?
            .ok_or_else(|| io::Error::other("this process is not in the process table"))?;
        Ok(Self {
            name: name.into(),
            owner: Process { pid, started },
            processes: Default::default(),
            containers: None,
        })
    }
}

#[cfg(test)]
mod tests;
