//! Reports of runs: a table for people, JSON for programs.

mod human;

use serde::Serialize;

pub use human::table;

use crate::cloud::CloudKind;
use crate::cluster::ClusterKind;
use crate::environment::Traffic;
use crate::scenario::{Figures, Outcome, StepFailure};

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
    /// Why the scenario failed.
    pub failure: Option<StepFailure>,
}

impl ScenarioResult {
    /// Creates a result. A scenario whose calls did not reach the cloud has not passed.
    pub fn new(
        outcome: Outcome,
        (cloud, to): (CloudKind, Option<CloudKind>),
        cluster: ClusterKind,
        kubernetes: String,
        traffic: anyhow::Result<Traffic>,
    ) -> Self {
        let (traffic, broken) = match traffic {
            Ok(traffic) => (Some(traffic), traffic.broken()),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        let failure = outcome
            .failure
            .or_else(|| broken.map(StepFailure::of_traffic));
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
            failure,
        }
    }
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
