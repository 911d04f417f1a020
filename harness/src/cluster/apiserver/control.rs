//! Stops and starts the processes of a cluster: children of this process, or, in a lab that another
//! process supervises, by the pids in its state.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Signal, kill_process_group};
use tokio::sync::Mutex;

use super::ready::Run;
use crate::cluster::Description;
use crate::platform::{PortReservation, pid};
use crate::process::Hold;
use crate::runtime_dir::{LabState, Process};
use crate::service::Service;

/// kube-apiserver ends within 0.2 s after SIGTERM, etcd sooner; the data is deleted with the lab,
/// so nothing needs to be flushed.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long a supervisor may take to restart a server: its longest pause is 10 s.
const RESTART_TIMEOUT: Duration = Duration::from_secs(20);
/// How long another command may hold a server down.
const HOLD_TIMEOUT: Duration = Duration::from_secs(60);

/// Name of a process, in the state and as its log file.
pub(super) fn server_name(number: usize) -> String {
    if number == 0 {
        "kube-apiserver".into()
    } else {
        format!("kube-apiserver-{}", number + 1)
    }
}

#[derive(Debug)]
pub(super) enum Control {
    Owned(OwnedProcesses),
    Attached(AttachedProcesses),
}

/// Children of this process. Servers are dropped, and so killed, before their etcd.
#[derive(Debug)]
pub(super) struct OwnedProcesses {
    pub(super) servers: Vec<(Service, PortReservation)>,
    pub(super) etcd: Service,
}

/// Processes of another process.
#[derive(Debug)]
pub(super) struct AttachedProcesses {
    lab: String,
    dir: PathBuf,
    logs: PathBuf,
    killed: Mutex<BTreeMap<usize, HeldServer>>,
}

/// A server that was killed, and the lock that keeps it down.
#[derive(Debug)]
struct HeldServer {
    process: Process,
    _hold: Hold,
}

impl Control {
    pub(super) fn attached(description: &Description) -> Self {
        Self::Attached(AttachedProcesses {
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

    /// Starts a server and returns the run to wait for.
    pub(super) async fn start(&self, server: usize) -> anyhow::Result<Run> {
        match self {
            Self::Owned(owned) => {
                let service = owned.service(server)?;
                service.restart().await?;
                Ok(Run::of(service.child()))
            }
            Self::Attached(attached) => attached.start(server).await,
        }
    }

    /// The current run of a server.
    pub(super) fn current_run(&self, description: &Description, server: usize) -> Run {
        let owned = match self {
            Self::Owned(owned) => owned
                .service(server)
                .ok()
                .map(|service| Run::of(service.child())),
            Self::Attached(_) => None,
        };
        owned.unwrap_or_else(|| Run::of_other_process(&description.logs, server_name(server)))
    }

    pub(super) async fn shutdown(&self) -> anyhow::Result<()> {
        match self {
            Self::Owned(owned) => {
                let servers = owned
                    .servers
                    .iter()
                    .map(|(service, _)| service.stop(STOP_TIMEOUT));
                for stopped in futures::future::join_all(servers).await {
                    stopped?;
                }
                owned.etcd.stop(STOP_TIMEOUT).await?;
            }
            // Another process's cluster is not shut down, but nothing stays held.
            Self::Attached(attached) => attached.killed.lock().await.clear(),
        }
        Ok(())
    }
}

impl OwnedProcesses {
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

impl AttachedProcesses {
    fn process(&self, server: usize) -> anyhow::Result<Process> {
        let state = LabState::read(&self.dir).with_context(|| self.no_such_server())?;
        anyhow::ensure!(state.owner.is_running(), self.no_such_server());
        let name = server_name(server);
        let process = state.processes.get(&name).cloned();
        process.with_context(|| format!("the lab {} has no {name}", self.lab))
    }

    fn no_such_server(&self) -> String {
        format!("the lab {} is gone: `kmslab up` starts one", self.lab)
    }

    async fn kill(&self, server: usize) -> anyhow::Result<()> {
        let mut killed = self.killed.lock().await;
        if killed.contains_key(&server) {
            return Ok(());
        }
        let name = server_name(server);
        let hold = tokio::time::timeout(HOLD_TIMEOUT, Hold::take(&self.dir, &name)).await;
        let hold = hold.with_context(|| {
            format!("another command keeps {name} of the lab {} down", self.lab)
        })?;
        let hold = hold.with_context(|| self.no_such_server())?;
        let process = self.process(server)?;
        if let Some(group) = pid(process.pid).filter(|_| process.is_running()) {
            kill_process_group(group, Signal::KILL)
                .with_context(|| format!("killing {name} (pid {})", process.pid))?;
        }
        while process.is_running() {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        killed.insert(
            server,
            HeldServer {
                process,
                _hold: hold,
            },
        );
        Ok(())
    }

    async fn start(&self, server: usize) -> anyhow::Result<Run> {
        // Releasing the lock lets the supervisor start it.
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
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        tokio::time::timeout(RESTART_TIMEOUT, started)
            .await
            .with_context(|| format!("the lab {} has not started {name} again", self.lab))??;
        Ok(Run::of_other_process(&self.logs, name))
    }
}
