//! The scenarios, each a value in a file of its own.

mod encrypt;
mod migrate;
mod rewrite;
mod rotate;
mod snapshot_theft;

use crate::cluster::ClusterKind;
use crate::scenario::Scenario;

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
            let steps = scenario.steps().list();
            let names: BTreeSet<_> = steps.iter().map(|step| step.name).collect();
            assert!(
                !steps.is_empty() && names.len() == steps.len(),
                "{}",
                scenario.name
            );
            assert!(!scenario.clusters.is_empty());
        }
    }
}
