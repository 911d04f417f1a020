//! `state.json` in a lab's directory: its owner and its processes.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::engine::OwnedContainers;
use crate::platform::{self, StartTime};

const FILE: &str = "state.json";

/// A process, identified even if its pid is reused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its pid, also of its process group.
    pub pid: u32,
    /// Its start time.
    pub started: StartTime,
}

impl Process {
    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        platform::is_running(self.pid, &self.started)
    }
}

/// Owner and processes of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabState {
    /// Name of the lab.
    pub name: String,
    /// The kmslab process that owns it.
    pub owner: Process,
    /// Its processes, by the names of the programs in the lab.
    pub processes: BTreeMap<String, Process>,
    /// What it has in a container engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containers: Option<OwnedContainers>,
}

impl LabState {
    /// Reads the state of the lab in `dir`.
    pub fn read(dir: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(dir.join(FILE))?)?)
    }

    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        super::write_private(&dir.join(FILE), &serde_json::to_vec_pretty(self)?)
    }
}
