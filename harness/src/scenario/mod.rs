//! Scenarios are values: a name, what it shows, and named steps. One file each; the runner plays
//! them on any world.

mod canary;
mod check;
mod encrypt;
mod migrate;
pub mod objects;
mod play;
mod rewrite;
mod rotate;
mod runner;
mod snapshot_theft;

use futures::future::BoxFuture;

pub use canary::{Canary, Search};
pub use check::{Unmet, expect, unmet};
pub use play::{Figures, Play, key_id_of};
pub use runner::{Outcome, Pause, StepFailure, run};

use crate::cluster::ClusterKind;

/// One experiment with a promise.
#[derive(Debug)]
pub struct Scenario {
    /// What `run` calls it.
    pub name: &'static str,
    /// What holds when it passes.
    pub shows: &'static str,
    /// Where the requirement comes from.
    pub source: &'static str,
    /// Clusters that it runs on.
    pub clusters: &'static [ClusterKind],
    /// Whether it needs a key in a second cloud. Such a scenario is played only when it is named.
    pub second_cloud: bool,
    /// What is done, in order.
    pub steps: &'static [Step],
}

/// One named step of a scenario: what `--pause-at` takes and what a failure names.
pub struct Step {
    /// Lower case, unique in its scenario.
    pub name: &'static str,
    /// What it does, for progress and `list`.
    pub does: &'static str,
    /// How.
    pub run: for<'a> fn(&'a mut Play) -> BoxFuture<'a, anyhow::Result<()>>,
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Step")
            .field("name", &self.name)
            .field("does", &self.does)
            .finish_non_exhaustive()
    }
}

/// Every scenario, in the order in which `run` plays them.
pub const ALL: &[&Scenario] = &[
    &encrypt::SCENARIO,
    &rotate::SCENARIO,
    &rewrite::SCENARIO,
    &snapshot_theft::SCENARIO,
    &migrate::SCENARIO,
];

/// Those that `run` plays when none is named, on a cluster that they run on.
pub fn by_default(on: ClusterKind) -> impl Iterator<Item = &'static Scenario> {
    ALL.iter()
        .copied()
        .filter(move |scenario| !scenario.second_cloud && scenario.clusters.contains(&on))
}

/// The scenario of that name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().copied().find(|s| s.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<_> = ALL.iter().map(|s| s.name).collect();
        assert_eq!(names.len(), ALL.len());
        for scenario in ALL {
            let steps: BTreeSet<_> = scenario.steps.iter().map(|s| s.name).collect();
            assert_eq!(steps.len(), scenario.steps.len(), "{}", scenario.name);
            assert!(!scenario.clusters.is_empty());
        }
    }
}
