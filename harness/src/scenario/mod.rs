//! Scenarios are values: a name, a claim, and named steps. Each has its own file; the runner runs
//! them in any environment.

mod canary;
mod check;
mod context;
mod encrypt;
mod migrate;
pub mod objects;
mod rewrite;
mod rotate;
mod runner;
mod snapshot_theft;

use futures::future::BoxFuture;

pub use canary::{Canary, Search};
pub use check::{FailedCheck, expect, failed_check};
pub use context::{Figures, ScenarioRun, kms_v2_key_id};
pub use runner::{Outcome, Pause, StepFailure, run};

use crate::cluster::ClusterKind;

/// An experiment that proves a claim.
#[derive(Debug)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// The claim that holds if it passes.
    pub shows: &'static str,
    /// Source of the requirement.
    pub source: &'static str,
    /// Clusters that it runs on.
    pub clusters: &'static [ClusterKind],
    /// Whether it needs a key in a second cloud. Such a scenario runs only when it is named.
    pub second_cloud: bool,
    /// Its steps, in order.
    pub steps: &'static [Step],
}

/// A named step of a scenario, as `--pause-at` and failures name it.
pub struct Step {
    /// Lower case, unique in its scenario.
    pub name: &'static str,
    /// What it does, for progress and `list`.
    pub does: &'static str,
    /// The step's function.
    pub run: for<'a> fn(&'a mut ScenarioRun) -> BoxFuture<'a, anyhow::Result<()>>,
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Step")
            .field("name", &self.name)
            .field("does", &self.does)
            .finish_non_exhaustive()
    }
}

/// All scenarios, in the order in which they run.
pub const ALL: &[&Scenario] = &[
    &encrypt::SCENARIO,
    &rotate::SCENARIO,
    &rewrite::SCENARIO,
    &snapshot_theft::SCENARIO,
    &migrate::SCENARIO,
];

/// The scenarios that run by default on a cluster.
pub fn by_default(on: ClusterKind) -> impl Iterator<Item = &'static Scenario> {
    ALL.iter()
        .copied()
        .filter(move |scenario| !scenario.second_cloud && scenario.clusters.contains(&on))
}

/// Finds a scenario by its name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().copied().find(|s| s.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn scenario_and_step_names_are_unique() {
        let names: BTreeSet<_> = ALL.iter().map(|s| s.name).collect();
        assert_eq!(names.len(), ALL.len());
        for scenario in ALL {
            let steps: BTreeSet<_> = scenario.steps.iter().map(|s| s.name).collect();
            assert_eq!(steps.len(), scenario.steps.len(), "{}", scenario.name);
            assert!(!scenario.clusters.is_empty());
        }
    }
}
