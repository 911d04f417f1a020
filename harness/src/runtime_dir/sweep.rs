//! Sweeps dead labs: kills their processes, removes their containers, keeps their logs, removes
//! their files.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Signal, kill_process_group};

use super::lock::{self, Lock};
use super::{LabState, Roots, kept_logs};
use crate::platform::pid;

/// SIGKILL takes time while a process writes to disk.
const MAX_EXIT_POLLS: u32 = 1000;
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A dead lab that was swept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweptLab {
    /// Its name.
    pub name: String,
    /// Processes that outlived their owner and were killed.
    pub killed: Vec<String>,
    /// Where its logs are kept, if it had any.
    pub logs: Option<PathBuf>,
}

/// Sweeps the dead labs of this user. What cannot be swept causes a warning and is left for the
/// next time.
pub fn sweep() -> Vec<SweptLab> {
    sweep_in(&Roots::from_env())
}

/// [`sweep`] below the given roots.
pub fn sweep_in(roots: &Roots) -> Vec<SweptLab> {
    let swept = roots.names().into_iter().filter_map(|(root, name)| {
        sweep_one(&root, &roots.state, &name).unwrap_or_else(|error| {
            tracing::warn!(%error, lab = name, "cannot sweep what a dead lab left");
            None
        })
    });
    swept.collect()
}

fn sweep_one(root: &Path, state: &Path, name: &str) -> io::Result<Option<SweptLab>> {
    let Some(lock) = Lock::try_take(&lock::path(root, name))? else {
        return Ok(None);
    };
    let swept = remove_lab(&root.join(name), state, name)?;
    lock.remove();
    Ok(swept)
}

/// Removes the lab in `path`, whose lock the caller holds.
pub(super) fn remove_lab(path: &Path, state: &Path, name: &str) -> io::Result<Option<SweptLab>> {
    if std::fs::symlink_metadata(path).is_err() {
        return Ok(None);
    }
    // Without a readable state its owner died while creating the directory, before any process.
    let state_of_it = LabState::read(path).ok();
    let killed = state_of_it.as_ref().map(kill_processes).unwrap_or_default();
    if let Some(owned) = state_of_it.and_then(|state| state.containers) {
        owned.remove()?;
    }
    let logs = kept_logs::keep(&path.join("logs"), state, name).ok();
    remove_all(path)?;
    Ok(Some(SweptLab {
        name: name.into(),
        killed,
        logs,
    }))
}

/// Kills the running processes of a lab and waits for their exit; returns their names.
pub(super) fn kill_processes(state: &LabState) -> Vec<String> {
    let running = || {
        state
            .processes
            .iter()
            .filter(|(_, process)| process.is_running())
    };
    let mut killed = Vec::new();
    for (name, process) in running() {
        // The pid alone may belong to another program by now.
        if let Some(group) = pid(process.pid) {
            match kill_process_group(group, Signal::KILL) {
                Ok(()) => killed.push(name.clone()),
                Err(error) => {
                    tracing::warn!(%error, name, pid = process.pid, "cannot end a process of a lab")
                }
            }
        }
    }
    for _ in 0..MAX_EXIT_POLLS {
        if running().next().is_none() {
            break;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    killed
}

/// Removes a directory tree; it is not an error if it does not exist.
pub(super) fn remove_all(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
