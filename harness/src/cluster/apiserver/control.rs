//! Kills and starts the processes of a cluster: children of this process, or, in a lab that another
//! process keeps up, by the pids in its state.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Signal, kill_process_group};
use tokio::sync::Mutex;

use super::launch::server_name;
use super::ready::Run;
use crate::cluster::Description;
use crate::platform::{PortReservation, pid};
use crate::process::{Hold, Service};
use crate::runtime_dir::{LabState, Process};

/// kube-apiserver ends in about 0.2 s when asked to, etcd in less; the data goes with the lab, so
/// there is nothing to wait for.
const GRACE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a supervisor may take to start a server again: its longest pause is 10 s.
const SUPERVISOR_PATIENCE: Duration = Duration::from_secs(20);
/// How long another command may hold a server down.
const HOLD_PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) enum Control {
    Owned(Owned),
    Attached(Attached),
}

/// Ours. Servers are dropped, and so killed, before their etcd.
#[derive(Debug)]
pub(super) struct Owned {
    pub(super) servers: Vec<(Service, PortReservation)>,
    pub(super) etcd: Service,
}

/// Another process's.
#[derive(Debug)]
pub(super) struct Attached {
    lab: String,
    dir: PathBuf,
    logs: PathBuf,
    killed: Mutex<BTreeMap<usize, Killed>>,
}

/// A server that was killed here, and the claim that keeps it down.
#[derive(Debug)]
struct Killed {
    process: Process,
    _hold: Hold,
}

impl Control {
    pub(super) fn attached(description: &Description) -> Self {
        Self::Attached(Attached {
            lab: description.lab.clone(),
            dir: description.dir.clone(),
            logs: description.logs.clone(),
            killed: Mutex::default(),
        })
    }

    pub(super) fn pid(&self, server: usize) -> Option<u32> {
        match self {
            Self::Owned(owned) => owned.servers.get(server)?.0.pid(),
            Self::Attached(attached) => {
                let process = attached.process(server).ok()?;
                process.is_running().then_some(process.pid)
            }
        }
    }

    pub(super) async fn kill(&self, server: usize) -> anyhow::Result<()> {
        match self {
            Self::Owned(owned) => owned.service(server)?.kill().await.map(drop)?,
            Self::Attached(attached) => attached.kill(server).await?,
        }
        Ok(())
    }

    /// Starts a server, and gives what is to be waited for.
    pub(super) async fn start(&self, server: usize) -> anyhow::Result<Run> {
        match self {
            Self::Owned(owned) => {
                let service = owned.service(server)?;
                service.start_again().await?;
                Ok(Run::of(service.child()))
            }
            Self::Attached(attached) => attached.start(server).await,
        }
    }

    /// What is to be waited for: the current run of a server.
    pub(super) fn run_of(&self, description: &Description, server: usize) -> Run {
        let owned = match self {
            Self::Owned(owned) => owned
                .service(server)
                .ok()
                .map(|service| Run::of(service.child())),
            Self::Attached(_) => None,
        };
        owned.unwrap_or_else(|| Run::of_another(&description.logs, server_name(server)))
    }

    pub(super) async fn shutdown(&self) -> anyhow::Result<()> {
        match self {
            Self::Owned(owned) => {
                let servers = owned.servers.iter().map(|(service, _)| service.stop(GRACE));
                for stopped in futures::future::join_all(servers).await {
                    stopped?;
                }
                owned.etcd.stop(GRACE).await?;
            }
            // Not ours to end; but nothing stays held down.
            Self::Attached(attached) => attached.killed.lock().await.clear(),
        }
        Ok(())
    }
}

impl Owned {
    fn service(&self, server: usize) -> anyhow::Result<&Service> {
        let found = self.servers.get(server).map(|(service, _)| service);
        found.with_context(|| {
            format!(
                "there is no API server {server}: the cluster has {}",
                self.servers.len()
            )
        })
    }
}

impl Attached {
    fn process(&self, server: usize) -> anyhow::Result<Process> {
        let state = LabState::read(&self.dir).with_context(|| self.gone())?;
        anyhow::ensure!(state.owner.is_running(), self.gone());
        let name = server_name(server);
        let process = state.processes.get(&name).cloned();
        process.with_context(|| format!("the lab {} has no {name}", self.lab))
    }

    fn gone(&self) -> String {
        format!("the lab {} is gone: `kmslab up` starts one", self.lab)
    }

    async fn kill(&self, server: usize) -> anyhow::Result<()> {
        let mut killed = self.killed.lock().await;
        if killed.contains_key(&server) {
            return Ok(());
        }
        let name = server_name(server);
        let hold = tokio::time::timeout(HOLD_PATIENCE, Hold::take(&self.dir, &name)).await;
        let hold = hold.with_context(|| {
            format!("another command keeps {name} of the lab {} down", self.lab)
        })?;
        let hold = hold.with_context(|| self.gone())?;
        let process = self.process(server)?;
        if let Some(group) = pid(process.pid).filter(|_| process.is_running()) {
            kill_process_group(group, Signal::KILL)
                .with_context(|| format!("killing {name} (pid {})", process.pid))?;
        }
        while process.is_running() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        killed.insert(
            server,
            Killed {
                process,
                _hold: hold,
            },
        );
        Ok(())
    }

    async fn start(&self, server: usize) -> anyhow::Result<Run> {
        // Letting go of the claim is what lets the supervisor start it.
        let killed = self
            .killed
            .lock()
            .await
            .remove(&server)
            .map(|killed| killed.process);
        let name = server_name(server);
        let started = async {
            loop {
                let process = self.process(server)?;
                if killed.as_ref() != Some(&process) && process.is_running() {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(SUPERVISOR_PATIENCE, started)
            .await
            .with_context(|| format!("the lab {} has not started {name} again", self.lab))??;
        Ok(Run::of_another(&self.logs, name))
    }
}
