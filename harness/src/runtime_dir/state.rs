//! `state.json` in a lab's directory: who owns it, and which processes are its.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::engine::Owned;
use crate::platform::{self, StartTime};

const FILE: &str = "state.json";

/// A process that is surely this one, however often its pid was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its pid, and its process group's.
    pub pid: u32,
    /// When it was started.
    pub started: StartTime,
}

impl Process {
    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        platform::is_running(self.pid, &self.started)
    }
}

/// Who owns a lab, and which processes are its.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabState {
    /// The lab's name.
    pub name: String,
    /// The kmslab process that owns it.
    pub owner: Process,
    /// What it started, by the names of the programs in the lab.
    pub processes: BTreeMap<String, Process>,
    /// What it has in a container engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containers: Option<Owned>,
}

impl LabState {
    /// The state of the lab in `dir`.
    pub fn read(dir: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(dir.join(FILE))?)?)
    }

    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        super::write_private(&dir.join(FILE), &serde_json::to_vec_pretty(self)?)
    }
}
