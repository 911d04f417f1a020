//! Plays one scenario on a world: step by step, with pauses, and a failure that names its step.

use std::path::PathBuf;
use std::time::Duration;

use super::{Figures, Play, Scenario, Unmet};
use crate::exit::say;
use crate::world::World;

/// Where to wait for a person.
#[derive(Debug, Clone)]
pub struct Pause {
    /// The step before which the run waits.
    pub step: String,
    /// A file whose appearance ends the wait; without it, Enter on standard input does.
    pub file: Option<PathBuf>,
}

/// Why a scenario did not pass.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StepFailure {
    /// The step that failed.
    pub step: String,
    /// What it does.
    pub does: String,
    /// What was expected, where a check failed.
    pub expected: Option<String>,
    /// What was seen, or the error.
    pub seen: String,
    /// What the plugin says is wrong, where it says so: often the cause.
    pub plugin: Option<String>,
    /// Where the logs are.
    pub logs: Option<PathBuf>,
}

impl StepFailure {
    /// The calls of a scenario whose checks all held did not go the whole way from the API server
    /// to the cloud.
    pub fn of_traffic(seen: String) -> Self {
        Self {
            step: "traffic".into(),
            does: "compare what the plugin answered and sent with what the emulator saw".into(),
            expected: Some(
                "every call to go the whole way from the API server to the emulator".into(),
            ),
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

/// What came of one scenario.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its name.
    pub scenario: &'static str,
    /// What it counted.
    pub figures: Figures,
    /// Why it failed, if it did.
    pub failure: Option<StepFailure>,
    /// How long it took, in real time.
    pub took: Duration,
}

/// Plays `scenario` to its end or to its first failure.
pub async fn run(scenario: &'static Scenario, world: &World, pause: Option<&Pause>) -> Outcome {
    let started = tokio::time::Instant::now();
    let mut play = Play::new(world.clone());
    let mut failure = None;
    for step in scenario.steps {
        if let Some(pause) = pause.filter(|p| p.step == step.name) {
            wait_for_person(scenario, pause).await;
        }
        tracing::info!(target: "kmslab::step", scenario = scenario.name, step = step.name, "{}", step.does);
        if let Err(error) = (step.run)(&mut play).await {
            let unmet = error.downcast_ref::<Unmet>();
            failure = Some(StepFailure {
                step: step.name.into(),
                does: step.does.into(),
                expected: unmet.map(|u| u.expected.clone()),
                seen: unmet.map_or_else(|| format!("{error:#}"), |u| u.seen.clone()),
                plugin: world
                    .plugin
                    .key_id()
                    .await
                    .err()
                    .map(|error| format!("{error:#}")),
                logs: world.cluster.logs().await,
            });
            break;
        }
    }
    // What a failed playing wrote stays, for a look at it; in a world that ends there is nothing to
    // tidy.
    if failure.is_none()
        && world.stays()
        && let Err(error) = play.tidy().await
    {
        say!(
            "warning: what {} wrote is left in the lab: {error:#}",
            scenario.name
        );
    }
    Outcome {
        scenario: scenario.name,
        figures: play.figures,
        failure,
        took: started.elapsed(),
    }
}

/// Waits for Enter or for the file. Standard input that is at its end (CI) does not count as Enter.
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
            // A thread of its own: a read of a terminal cannot be cancelled, and must not hold the
            // runtime's end up.
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
