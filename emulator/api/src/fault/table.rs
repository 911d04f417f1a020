//! Lists of faults: a file of them, and those of an emulator with their hits.

use serde::{Deserialize, Serialize};

use super::Fault;

/// A file of faults, in YAML or JSON.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultFile {
    /// Seed of the random decisions of these faults and those added later. By default that of the
    /// emulator goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The faults, in the order in which they are applied.
    pub faults: Vec<Fault>,
}

/// The response to `POST /faults`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultsAdded {
    /// Names of the faults, in the order of the request.
    pub names: Vec<String>,
}

/// The response to `DELETE /faults`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultsRemoved {
    /// Number of faults that are removed.
    pub removed: usize,
}

/// A fault of an emulator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultStatus {
    /// The fault, with its name.
    pub fault: Fault,
    /// Number of requests that its fields selected.
    pub selected: u64,
    /// Number of requests that it was applied to.
    pub hits: u64,
}

impl FaultStatus {
    /// Name of the fault.
    pub fn name(&self) -> &str {
        self.fault.name.as_deref().unwrap_or_default()
    }
}

/// The faults of an emulator: the response of `GET /faults`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultTable {
    /// Seed of the random decisions. The same seed, faults and order of requests give the same
    /// hits.
    pub seed: u64,
    /// The faults, in the order in which they are applied.
    pub faults: Vec<FaultStatus>,
}

impl FaultTable {
    /// Faults that were applied to no request.
    pub fn never_hit(&self) -> impl Iterator<Item = &FaultStatus> {
        self.faults.iter().filter(|status| status.hits == 0)
    }
}
