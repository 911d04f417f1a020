//! What a run says when it is done: a table for people, JSON for programs.

mod human;

use serde::Serialize;

pub use human::table;

use crate::cloud::CloudKind;
use crate::cluster::ClusterKind;
use crate::scenario::{Figures, Outcome, StepFailure};
use crate::world::Traffic;

/// One run: `{"passed": …, "results": […]}`.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Whether all held.
    pub passed: bool,
    /// One per scenario, cloud and cluster.
    pub results: Vec<Row>,
}

/// One scenario on one world.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Its name.
    pub scenario: &'static str,
    /// Whose KMS.
    pub cloud: CloudKind,
    /// Whose it was at the end, where a scenario migrates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<CloudKind>,
    /// Which cluster.
    pub cluster: ClusterKind,
    /// `v1.36.3`.
    pub kubernetes: String,
    /// Whether it held.
    pub passed: bool,
    /// How long it took, in real time.
    pub seconds: f64,
    /// What it counted.
    #[serde(flatten)]
    pub figures: Figures,
    /// What was called from the start of the world to the end of this scenario.
    pub traffic: Option<Traffic>,
    /// Why it did not hold.
    pub failure: Option<StepFailure>,
}

impl Row {
    /// What came of a scenario, on which world. A scenario whose calls did not go the whole way has
    /// not passed.
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

impl Row {
    /// `aws`, or `aws → gcp`.
    pub fn clouds(&self) -> String {
        self.to.map_or_else(
            || self.cloud.to_string(),
            |to| format!("{} → {to}", self.cloud),
        )
    }
}

impl Report {
    /// Of these results.
    pub fn new(results: Vec<Row>) -> Self {
        Self {
            passed: results.iter().all(|row| row.passed),
            results,
        }
    }
}
