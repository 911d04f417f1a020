//! `kmslab down`: stops a lab, or sweeps a dead one.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use rustix::process::{Signal, kill_process};
use tokio::time::{sleep, timeout};

use crate::exit::{environment, say, usage};
use crate::lab::{DEFAULT_NAME, Description};
use crate::platform::pid;
use crate::runtime_dir::{Lab, check_name, find, labs, sweep};

/// A lab stops in about a second; kube-apiserver and the plugin may use their grace periods first.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// The threads of a killed owner may outlive its first one by some milliseconds.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Flags of `kmslab down`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  kmslab down\n  kmslab down ci\n  kmslab down --all      # and sweep dead labs"
)]
pub struct DownArgs {
    /// Name of the lab
    #[arg(value_name = "NAME", default_value = DEFAULT_NAME, conflicts_with = "all")]
    pub name: String,
    /// Stop all labs of this user
    #[arg(long)]
    pub all: bool,
}

/// Stops the lab and waits until nothing of it is left. It is not an error if there is none.
pub async fn run(args: DownArgs) -> anyhow::Result<ExitCode> {
    let ending: Vec<Lab> = if args.all {
        // Labs that stay: a running `kmslab run` ends by itself.
        labs()
            .into_iter()
            .filter(|lab| !lab.alive || Description::read(lab).is_some())
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
            stop(lab).await?;
        }
        timeout(SWEEP_TIMEOUT, wait_until_removed(lab))
            .await
            .map_err(|_| {
                environment(format!(
                    "{} is left over: find out what uses it, and remove it",
                    lab.path.display()
                ))
            })?;
        say!("the lab {} is down", lab.state.name);
    }
    Ok(ExitCode::SUCCESS)
}

/// Sweeps what the owner did not remove, as soon as the kernel has released its lock.
async fn wait_until_removed(lab: &Lab) {
    loop {
        sweep();
        if !lab.path.exists() {
            return;
        }
        sleep(POLL_INTERVAL).await;
    }
}

async fn stop(lab: &Lab) -> anyhow::Result<()> {
    signal(lab, Signal::TERM)?;
    if timeout(STOP_TIMEOUT, is_gone(lab)).await.is_err() {
        say!(
            "the lab {} has not ended in {} s: killing it",
            lab.state.name,
            STOP_TIMEOUT.as_secs()
        );
        signal(lab, Signal::KILL)?;
        is_gone(lab).await;
    }
    Ok(())
}

async fn is_gone(lab: &Lab) {
    while lab.state.owner.is_running() {
        sleep(POLL_INTERVAL).await;
    }
}

/// Signals the owner only, which stops the others in order; ignored if it has just exited.
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
