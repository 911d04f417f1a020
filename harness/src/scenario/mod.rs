//! What a scenario is: a value with a name, a claim and named steps, which the runner runs in any
//! environment. The scenarios themselves are in [`crate::scenarios`].

mod canary;
mod check;
mod context;
pub mod objects;
mod runner;

use futures::future::BoxFuture;

pub use canary::{Canary, Search};
pub use check::{FailedCheck, expect, failed_check};
pub use context::{Figures, ScenarioRun, kms_v2_key_id};
pub(crate) use context::{current_key_of, decode_kms_v2, ensure_decrypts};
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
    /// Creates its steps with the state that they share.
    pub(crate) start: fn() -> Box<dyn Steps>,
}

impl Scenario {
    /// Its steps, at the beginning of a run.
    pub fn steps(&self) -> Box<dyn Steps> {
        (self.start)()
    }
}

/// The steps of a run, with the state of the scenario.
pub trait Steps: Send {
    /// The steps, in order.
    fn list(&self) -> Vec<StepInfo>;
    /// Runs a step by its index.
    fn run<'a>(
        &'a mut self,
        index: usize,
        run: &'a mut ScenarioRun,
    ) -> BoxFuture<'a, anyhow::Result<()>>;
}

/// A named step of a scenario, as `--pause-at` and failures name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepInfo {
    /// Lower case, unique in its scenario.
    pub name: &'static str,
    /// What it does, for progress and `list`.
    pub does: &'static str,
}

/// A step of a scenario with the state `S`.
pub(crate) struct Step<S: 'static> {
    pub(crate) name: &'static str,
    pub(crate) does: &'static str,
    pub(crate) run: for<'a> fn(&'a mut S, &'a mut ScenarioRun) -> BoxFuture<'a, anyhow::Result<()>>,
}

struct StepsWithState<S: 'static> {
    steps: &'static [Step<S>],
    state: S,
}

/// Steps with their initial state.
pub(crate) fn start<S: Default + Send>(steps: &'static [Step<S>]) -> Box<dyn Steps> {
    Box::new(StepsWithState {
        steps,
        state: S::default(),
    })
}

impl<S: Send> Steps for StepsWithState<S> {
    fn list(&self) -> Vec<StepInfo> {
        let info = |step: &Step<S>| StepInfo {
            name: step.name,
            does: step.does,
        };
        self.steps.iter().map(info).collect()
    }

    fn run<'a>(
        &'a mut self,
        index: usize,
        run: &'a mut ScenarioRun,
    ) -> BoxFuture<'a, anyhow::Result<()>> {
        match self.steps.get(index) {
            Some(step) => (step.run)(&mut self.state, run),
            None => {
                Box::pin(async move { Err(anyhow::anyhow!("the scenario has no step {index}")) })
            }
        }
    }
}
