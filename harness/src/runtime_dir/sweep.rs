//! What dead labs left: ends their processes, removes their containers, keeps their logs, removes
//! their files.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Signal, kill_process_group};

use super::lock::{self, Lock};
use super::{LabState, Roots, kept};
use crate::platform::pid;

/// SIGKILL is not instant for a process in the middle of a disk write.
const END_LOOKS: u32 = 1000;
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A dead lab that was swept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swept {
    /// Its name.
    pub name: String,
    /// Processes that had outlived their owner and were killed.
    pub killed: Vec<String>,
    /// Where its logs now are, if it had any.
    pub logs: Option<PathBuf>,
}

/// Sweeps what dead labs of this user left. What can't be swept is warned of and left for the next
/// time.
pub fn sweep() -> Vec<Swept> {
    sweep_in(&Roots::from_env())
}

/// [`sweep`] below other roots than the environment's.
pub fn sweep_in(roots: &Roots) -> Vec<Swept> {
    let swept = roots.names().into_iter().filter_map(|(root, name)| {
        sweep_one(&root, &roots.state, &name).unwrap_or_else(|error| {
            tracing::warn!(%error, lab = name, "cannot sweep what a dead lab left");
            None
        })
    });
    swept.collect()
}

fn sweep_one(root: &Path, state: &Path, name: &str) -> io::Result<Option<Swept>> {
    let Some(lock) = Lock::try_take(&lock::path(root, name))? else {
        return Ok(None);
    };
    let swept = remove_lab(&root.join(name), state, name)?;
    lock.remove();
    Ok(swept)
}

/// Removes the lab in `path`, whose lock the caller holds.
pub(super) fn remove_lab(path: &Path, state: &Path, name: &str) -> io::Result<Option<Swept>> {
    if std::fs::symlink_metadata(path).is_err() {
        return Ok(None);
    }
    // Without a readable state its owner died while it made the directory, before any process.
    let state_of_it = LabState::read(path).ok();
    let killed = state_of_it.as_ref().map(end_processes).unwrap_or_default();
    if let Some(owned) = state_of_it.and_then(|state| state.containers) {
        owned.remove()?;
    }
    let logs = kept::keep(&path.join("logs"), state, name).ok();
    remove_all(path)?;
    Ok(Some(Swept {
        name: name.into(),
        killed,
        logs,
    }))
}

/// Kills the processes of a lab that still run, and waits until they are gone; returns their names.
pub(super) fn end_processes(state: &LabState) -> Vec<String> {
    let running = || {
        state
            .processes
            .iter()
            .filter(|(_, process)| process.is_running())
    };
    let mut killed = Vec::new();
    for (name, process) in running() {
        // A pid alone would not do: it may be another program's by now.
        if let Some(group) = pid(process.pid) {
            match kill_process_group(group, Signal::KILL) {
                Ok(()) => killed.push(name.clone()),
                Err(error) => {
                    tracing::warn!(%error, name, pid = process.pid, "cannot end a process of a lab")
                }
            }
        }
    }
    for _ in 0..END_LOOKS {
        if running().next().is_none() {
            break;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    killed
}

/// Removes a directory with all that is in it; one that is not there is no error.
pub(super) fn remove_all(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
