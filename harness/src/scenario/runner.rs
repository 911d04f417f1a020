//! Runs a scenario in an environment, step by step, with pauses; a failure names its step.

use std::path::PathBuf;
use std::time::Duration;

use super::{FailedCheck, Figures, Scenario, ScenarioRun};
use crate::environment::Environment;
use crate::exit::say;

/// Where to wait for a person.
#[derive(Debug, Clone)]
pub struct Pause {
    /// The step before which the run waits.
    pub step: String,
    /// A file whose appearance ends the wait; without it, Enter on standard input does.
    pub file: Option<PathBuf>,
}

/// Why a scenario failed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StepFailure {
    /// The step that failed.
    pub step: String,
    /// What the step does.
    pub does: String,
    /// The expected result of a failed check.
    pub expected: Option<String>,
    /// The actual result, or the error.
    pub seen: String,
    /// The plugin's own error, if it reports one: often the cause.
    pub plugin: Option<String>,
    /// Directory of the logs.
    pub logs: Option<PathBuf>,
}

impl StepFailure {
    /// All checks passed, but calls did not go all the way from the API server to the cloud.
    pub fn of_traffic(seen: String) -> Self {
        Self {
            step: "traffic".into(),
            does: "compare the plugin's calls and requests with the emulator's counts".into(),
            expected: Some(
                "every call to go all the way from the API server to the emulator".into(),
            ),
            seen,
            plugin: None,
            logs: None,
        }
    }

    /// All checks passed, but the faults of the run were not applied.
    pub fn of_faults(expected: String, seen: String) -> Self {
        Self {
            step: "faults".into(),
            does: "apply the faults of the run to the emulator".into(),
            expected: Some(expected),
            seen,
            plugin: None,
            logs: None,
        }
    }
}

impl std::fmt::Display for StepFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "step `{}` failed ({})", self.step, self.does)?;
        if let Some(expected) = &self.expected {
            writeln!(f, "  expected: {expected}")?;
        }
        write!(f, "  saw:      {}", self.seen)?;
        if let Some(plugin) = &self.plugin {
            write!(f, "\n  cause:    {plugin}")?;
        }
        if let Some(logs) = &self.logs {
            write!(f, "\n  logs:     {}", logs.display())?;
        }
        Ok(())
    }
}

/// Result of a scenario.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its name.
    pub scenario: &'static str,
    /// Its counts.
    pub figures: Figures,
    /// Why it failed, if it did.
    pub failure: Option<StepFailure>,
    /// Duration in real time.
    pub took: Duration,
}

/// Runs `scenario` to its end or its first failure.
pub async fn run(
    scenario: &'static Scenario,
    environment: &Environment,
    pause: Option<&Pause>,
) -> Outcome {
    let started = tokio::time::Instant::now();
    let mut run = ScenarioRun::new(environment.clone());
    let mut failure = None;
    let mut steps = scenario.steps();
    for (index, step) in steps.list().into_iter().enumerate() {
        if let Some(pause) = pause.filter(|p| p.step == step.name) {
            wait_for_person(scenario, pause).await;
        }
        tracing::info!(target: "kmslab::step", scenario = scenario.name, step = step.name, "{}", step.does);
        if let Err(error) = steps.run(index, &mut run).await {
            let unmet = error.downcast_ref::<FailedCheck>();
            failure = Some(StepFailure {
                step: step.name.into(),
                does: step.does.into(),
                expected: unmet.map(|u| u.expected.clone()),
                seen: unmet.map_or_else(|| format!("{error:#}"), |u| u.seen.clone()),
                plugin: environment
                    .plugin
                    .key_id()
                    .await
                    .err()
                    .map(|error| format!("{error:#}")),
                logs: environment.cluster.logs().await,
            });
            break;
        }
    }
    // After a failure the objects stay for inspection; an environment that ends needs no clean-up.
    if failure.is_none()
        && environment.stays()
        && let Err(error) = run.clean_up().await
    {
        say!(
            "warning: what {} wrote is left in the lab: {error:#}",
            scenario.name
        );
    }
    Outcome {
        scenario: scenario.name,
        figures: run.figures,
        failure,
        took: started.elapsed(),
    }
}

/// Waits for Enter or for the file. End of file on standard input, as in CI, does not count as
/// Enter.
async fn wait_for_person(scenario: &Scenario, pause: &Pause) {
    match &pause.file {
        Some(file) => {
            say!(
                "paused before {} / {}: goes on when {} exists",
                scenario.name,
                pause.step,
                file.display()
            );
            while !tokio::fs::try_exists(file).await.unwrap_or(false) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        None => {
            say!(
                "paused before {} / {}: press Enter to go on",
                scenario.name,
                pause.step
            );
            let (sender, pressed) = tokio::sync::oneshot::channel();
            // On a thread of its own: reading a terminal cannot be cancelled and must not delay the
            // runtime's shutdown.
            std::thread::spawn(move || {
                let mut line = String::new();
                if std::io::stdin().read_line(&mut line).is_ok_and(|n| n > 0) {
                    let _ = sender.send(());
                }
            });
            if pressed.await.is_err() {
                say!("standard input is closed; stop with Ctrl-C, or use --pause-file");
                std::future::pending::<()>().await;
            }
        }
    }
}
