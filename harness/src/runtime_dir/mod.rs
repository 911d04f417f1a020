//! The directory of one lab: sockets, data, logs, and who owns it, so that nothing is left behind
//! even by a SIGKILL.
//!
//! `<root>/<name>.lock` is flock'ed by the owner as long as it lives; `<root>/<name>/` is the lab.
//! The kernel frees the lock of whoever dies, and the next start sweeps what then belongs to
//! nobody.

mod kept;
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
pub use sweep::{Swept, sweep, sweep_in};

use crate::engine::Owned;
use crate::platform::{StartTime, start_time};
use lock::Lock;

/// What a lab needs at most: etcd allocates two write-ahead segments of 64 MB at start, and its
/// database grows beside them.
const ROOM: u64 = 256 << 20;
/// Longest name of a lab, so that socket paths stay within what the system takes.
const LONGEST_NAME: usize = 32;

/// Why there is no directory for a lab.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeDirError {
    /// The name doesn't fit a path.
    #[error("{0:?} is no name for a lab: use 1 to 32 of a-z, 0-9 and '-', the first not '-'")]
    BadName(String),
    /// Another process has it.
    #[error("the lab {name} is already up{}: `kmslab down {name}` ends it, or choose another name", owner.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    InUse {
        /// The lab.
        name: String,
        /// The process that owns it.
        owner: Option<u32>,
    },
    /// The root is another's, or open to others.
    #[error("{} {why}: remove it, or set XDG_RUNTIME_DIR to a directory of yours", path.display())]
    Root {
        /// The root.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The disk is full.
    #[error("{} has {} MiB left, and a lab takes up to {}: free some, or set XDG_RUNTIME_DIR to a directory with more room", path.display(), left >> 20, ROOM >> 20)]
    Full {
        /// Where.
        path: PathBuf,
        /// Bytes left.
        left: u64,
    },
    /// The system refused.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl RuntimeDirError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

/// A lab's directory, of this process. Dropped, it is removed, after an end was made of the
/// processes noted in it.
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
    /// The directory of the lab `name`. What a dead owner of this name left is swept first.
    pub fn create(name: &str) -> Result<Self, RuntimeDirError> {
        Self::create_in(&Roots::from_env(), name)
    }

    /// A directory for a run that needs no name: `<prefix>-<pid>`, with a number where this process
    /// has several.
    pub fn create_unique(prefix: &str) -> Result<Self, RuntimeDirError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let pid = std::process::id();
        match COUNT.fetch_add(1, Ordering::Relaxed) {
            0 => Self::create(&format!("{prefix}-{pid}")),
            more => Self::create(&format!("{prefix}-{pid}-{more}")),
        }
    }

    /// [`RuntimeDir::create`] below other roots than the environment's.
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

    /// The lab's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of the lab's logs, removed with it: see [`RuntimeDir::keep_logs`].
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file in it that only this user can read.
    pub fn write_private(&self, name: &str, content: &[u8]) -> io::Result<PathBuf> {
        let path = self.file(name);
        write_private(&path, content)?;
        Ok(path)
    }

    /// Notes a process of the lab, instead of an earlier one of that name: others find its pid, the
    /// sweep ends it.
    pub fn note(&self, name: &str, pid: u32, started: StartTime) -> io::Result<()> {
        let mut state = self.state();
        state
            .processes
            .insert(name.into(), Process { pid, started });
        state.write(&self.path)
    }

    /// Takes back the note of a process that has ended.
    pub fn forget(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.processes.remove(name);
        state.write(&self.path)
    }

    /// Notes what the lab is about to make in a container engine: the sweep removes it.
    pub fn note_containers(&self, owned: Owned) -> io::Result<()> {
        let mut state = self.state();
        state.containers = Some(owned);
        state.write(&self.path)
    }

    /// Removes what the lab has in a container engine, and takes the note back. Blocks.
    pub fn remove_containers(&self) -> io::Result<()> {
        let owned = self.state().containers.clone();
        let Some(owned) = owned else { return Ok(()) };
        owned.remove()?;
        let mut state = self.state();
        state.containers = None;
        state.write(&self.path)
    }

    /// Copies the logs to where they outlast the lab, and says where that is: after a failure.
    pub fn keep_logs(&self) -> io::Result<PathBuf> {
        kept::keep(&self.logs(), &self.state_root, &self.name)
    }

    fn state(&self) -> MutexGuard<'_, LabState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RuntimeDir {
    fn drop(&mut self) {
        sweep::end_processes(&self.state());
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
    /// Its directory.
    pub path: PathBuf,
    /// Its owner and processes.
    pub state: LabState,
    /// Whether its owner lives; if not, the next start sweeps it.
    pub alive: bool,
}

/// The labs of this user, by name.
pub fn labs() -> Vec<Lab> {
    labs_in(&Roots::from_env())
}

/// [`labs`] below other roots than the environment's.
pub fn labs_in(roots: &Roots) -> Vec<Lab> {
    let mut labs: Vec<Lab> = roots
        .names()
        .into_iter()
        .filter_map(|(root, name)| lab(&root.join(name)))
        .collect();
    labs.sort_by(|a, b| a.state.name.cmp(&b.state.name));
    labs
}

/// The lab of that name, if there is one.
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

/// Whether a lab may be called so.
pub fn check_name(name: &str) -> Result<(), RuntimeDirError> {
    let fits = (1..=LONGEST_NAME).contains(&name.len())
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

/// Replaces the file as a whole, so that a reader sees the old one or the new one.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_added_extension("new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(content)?;
    // Or after a crash of the machine the new name may stand for an empty file.
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
