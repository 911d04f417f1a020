//! `kmslab down`: ends a lab, and what a dead one has left.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use rustix::process::{Signal, kill_process};
use tokio::time::{sleep, timeout};

use crate::exit::{environment, say, usage};
use crate::lab::{DEFAULT_NAME, Description};
use crate::platform::pid;
use crate::runtime_dir::{Lab, check_name, find, labs, sweep};

/// A lab ends in about a second; kube-apiserver and the plugin may use up their grace first.
const PATIENCE: Duration = Duration::from_secs(60);
/// A killed owner's threads may outlive its first by some milliseconds.
const SWEEP_PATIENCE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Flags of `kmslab down`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  kmslab down\n  kmslab down ci\n  kmslab down --all      # and whatever dead labs have left"
)]
pub struct DownArgs {
    /// The lab's name
    #[arg(value_name = "NAME", default_value = DEFAULT_NAME, conflicts_with = "all")]
    pub name: String,
    /// Every lab of this user
    #[arg(long)]
    pub all: bool,
}

/// Ends it and waits until nothing of it is left. A lab that is not there is no error.
pub async fn run(args: DownArgs) -> anyhow::Result<ExitCode> {
    let ending: Vec<Lab> = if args.all {
        // Those that stay: a `kmslab run` that is under way ends by itself.
        labs()
            .into_iter()
            .filter(|lab| !lab.alive || Description::of(lab).is_some())
            .collect()
    } else {
        check_name(&args.name).map_err(|error| usage(error.to_string()))?;
        find(&args.name).into_iter().collect()
    };
    if ending.is_empty() {
        say!(
            "{}",
            if args.all {
                "no lab is up".to_owned()
            } else {
                format!("no lab {} is up", args.name)
            }
        );
    }
    for lab in &ending {
        if lab.alive {
            end(lab).await?;
        }
        timeout(SWEEP_PATIENCE, removed(lab)).await.map_err(|_| {
            environment(format!(
                "{} is left over: see what holds it, and remove it",
                lab.path.display()
            ))
        })?;
        say!("the lab {} is down", lab.state.name);
    }
    Ok(ExitCode::SUCCESS)
}

/// What the owner did not remove is swept: at once, or as soon as the kernel has let go of a killed
/// owner's lock.
async fn removed(lab: &Lab) {
    loop {
        sweep();
        if !lab.path.exists() {
            return;
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn end(lab: &Lab) -> anyhow::Result<()> {
    signal(lab, Signal::TERM)?;
    if timeout(PATIENCE, gone(lab)).await.is_err() {
        say!(
            "the lab {} has not ended in {} s: killing it",
            lab.state.name,
            PATIENCE.as_secs()
        );
        signal(lab, Signal::KILL)?;
        gone(lab).await;
    }
    Ok(())
}

async fn gone(lab: &Lab) {
    while lab.state.owner.is_running() {
        sleep(LOOK_EVERY).await;
    }
}

/// To the owner alone, which ends the others in order. One that has just ended needs none.
fn signal(lab: &Lab, signal: Signal) -> anyhow::Result<()> {
    if !lab.state.owner.is_running() {
        return Ok(());
    }
    let owner = lab.state.owner.pid;
    match pid(owner).map(|owner| kill_process(owner, signal)) {
        Some(Err(error)) if error != rustix::io::Errno::SRCH => {
            Err(anyhow::Error::new(error).context(format!("signalling process {owner}")))
        }
        _ => Ok(()),
    }
}
