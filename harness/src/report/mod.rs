//! Reports of runs: a table for people, JSON for programs.

mod human;

use serde::Serialize;

pub use human::table;

use crate::cloud::CloudKind;
use crate::cluster::ClusterKind;
use crate::environment::Traffic;
use crate::scenario::{Figures, Outcome, StepFailure};
use kmslab_emulator_api::FaultTable;

/// The report of a run: `{"passed": …, "results": […]}`.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Whether all scenarios passed.
    pub passed: bool,
    /// One result per scenario, cloud and cluster.
    pub results: Vec<ScenarioResult>,
}

/// Result of a scenario in an environment.
#[derive(Debug, Clone, Serialize)]
pub struct ScenarioResult {
    /// Name of the scenario.
    pub scenario: &'static str,
    /// The cloud.
    pub cloud: CloudKind,
    /// The target cloud of a migration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<CloudKind>,
    /// The cluster.
    pub cluster: ClusterKind,
    /// Kubernetes version, such as `v1.36.3`.
    pub kubernetes: String,
    /// Whether the scenario passed.
    pub passed: bool,
    /// Duration in seconds of real time.
    pub seconds: f64,
    /// What the scenario counted.
    #[serde(flatten)]
    pub figures: Figures,
    /// Calls from the start of the environment to the end of the scenario.
    pub traffic: Option<Traffic>,
    /// Faults of the run, with the number of requests that each hit and the seed of their random
    /// decisions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub faults: Option<FaultTable>,
    /// Why the scenario failed.
    pub failure: Option<StepFailure>,
}

impl ScenarioResult {
    /// Creates a result. A scenario whose calls did not reach the cloud has not passed, nor has one
    /// with a fault that hit no request.
    pub fn new(
        outcome: Outcome,
        (cloud, to): (CloudKind, Option<CloudKind>),
        cluster: ClusterKind,
        kubernetes: String,
        traffic: anyhow::Result<Traffic>,
        faults: anyhow::Result<Option<FaultTable>>,
    ) -> Self {
        let (traffic, broken) = match traffic {
            Ok(traffic) if matches!(faults, Ok(Some(_))) => {
                (Some(traffic), traffic.broken_with_faults())
            }
            Ok(traffic) => (Some(traffic), traffic.broken()),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        let (faults, not_applied) = match faults {
            Ok(faults) => {
                let unused = faults.as_ref().and_then(unused_faults);
                (faults, unused)
            }
            Err(error) => {
                let expected = "the emulator to accept the faults".to_owned();
                let failure = StepFailure::of_faults(expected, format!("{error:#}"));
                (None, Some(failure))
            }
        };
        let failure = outcome
            .failure
            .or_else(|| broken.map(StepFailure::of_traffic))
            .or(not_applied);
        Self {
            scenario: outcome.scenario,
            cloud,
            to,
            cluster,
            kubernetes,
            passed: failure.is_none(),
            seconds: (outcome.took.as_secs_f64() * 1000.0).round() / 1000.0,
            figures: outcome.figures,
            traffic,
            faults,
            failure,
        }
    }
}

fn unused_faults(table: &FaultTable) -> Option<StepFailure> {
    let unused: Vec<String> = table
        .never_hit()
        .map(|status| {
            let (name, fault) = (status.name(), &status.fault);
            format!("{name} ({fault}) selected {} requests", status.selected)
        })
        .collect();
    let expected = "each fault to hit a request".to_owned();
    (!unused.is_empty()).then(|| StepFailure::of_faults(expected, unused.join("; ")))
}

impl ScenarioResult {
    /// `aws`, or `aws → gcp`.
    pub fn clouds(&self) -> String {
        self.to.map_or_else(
            || self.cloud.to_string(),
            |to| format!("{} → {to}", self.cloud),
        )
    }
}

impl Report {
    /// Creates a report.
    pub fn new(results: Vec<ScenarioResult>) -> Self {
        Self {
            passed: results.iter().all(|row| row.passed),
            results,
        }
    }
}
