//! The stock kube-apiserver and etcd as processes of this machine.
//!
//! `launch` starts them, `ready` waits for them, `diagnose` explains failures, and `client` is the
//! API. [`ApiServerCluster`] is used for a lab of this process and, by its [`Description`], for one
//! that another process supervises.

mod certs;
mod client;
mod config;
mod control;
mod diagnose;
mod error;
mod fragment;
pub(super) mod kubeconfig;
mod launch;
pub(super) mod ready;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;

pub use client::HttpApi;
pub use config::default_resources;
pub(in crate::cluster) use config::{render, replace};
pub use error::StartError;

use super::{Api, ApiError, Cluster, ClusterKind, Description, Encryption, Health};
use crate::etcd::Etcd;
use crate::etcd::client::EtcdClient;
use crate::runtime_dir::RuntimeDir;
use crate::service::RestartPolicy;
use control::Control;

/// Paths of the programs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// kube-apiserver, 1.32 or later.
    pub kube_apiserver: PathBuf,
    /// etcd, 3.5 or later.
    pub etcd: PathBuf,
}

/// When a starting cluster counts as started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadyCondition {
    /// `/readyz` is 200 and the namespace `default` exists, so the plugin works.
    Readyz,
    /// The server is alive, whatever the state of the plugin.
    Alive,
}

/// Configuration of a cluster.
#[derive(Debug, Clone)]
pub struct Config {
    /// The programs.
    pub tools: Programs,
    /// Directory of sockets, data and logs.
    pub dir: Arc<RuntimeDir>,
    /// What is encrypted and by whom.
    pub encryption: Encryption,
    /// Number of API servers on one etcd, at least 1.
    pub api_servers: usize,
    /// Whether processes are restarted when they exit, as in a lab that stays.
    pub keep: RestartPolicy,
    /// What [`ApiServerCluster::start`] waits for.
    pub ready: ReadyCondition,
    /// The kmslab binary that spawns children, by default [`crate::process::own_binary`].
    pub kmslab: Option<PathBuf>,
}

impl Config {
    /// A cluster with one API server that is not restarted and is waited for until ready.
    pub fn new(tools: Programs, dir: Arc<RuntimeDir>, encryption: Encryption) -> Self {
        Self {
            tools,
            dir,
            encryption,
            api_servers: 1,
            keep: RestartPolicy::Never,
            ready: ReadyCondition::Readyz,
            kmslab: None,
        }
    }
}

/// API servers on an etcd. On drop, those that this value started are killed.
#[derive(Debug)]
pub struct ApiServerCluster {
    description: Description,
    apis: Vec<Arc<HttpApi>>,
    etcd: Arc<EtcdClient>,
    control: Control,
    /// Set if this process started the cluster.
    dir: Option<Arc<RuntimeDir>>,
}

impl ApiServerCluster {
    /// Starts etcd and the API servers and waits until they are ready.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        launch::cluster(config).await
    }

    /// Attaches to a cluster that another process supervises.
    pub async fn attach(description: Description) -> Result<Self, StartError> {
        let access = kubeconfig::read(&description.kubeconfig)?;
        let apis = description
            .servers
            .iter()
            .map(|url| Ok(Arc::new(HttpApi::new(url, &access)?)));
        let apis = apis.collect::<Result<Vec<_>, StartError>>()?;
        let etcd = Arc::new(
            EtcdClient::connect(&description.etcd)
                .await
                .map_err(StartError::etcd)?,
        );
        Ok(Self {
            control: Control::attached(&description),
            description,
            apis,
            etcd,
            dir: None,
        })
    }

    /// What another process needs to attach to the cluster.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Path of the kubeconfig for kubectl.
    pub fn kubeconfig(&self) -> &Path {
        &self.description.kubeconfig
    }

    /// Number of API servers.
    pub fn api_servers(&self) -> usize {
        self.apis.len()
    }

    /// The API of one server, counted from 0.
    pub fn api_of(&self, server: usize) -> Option<Arc<HttpApi>> {
        self.apis.get(server).cloned()
    }

    /// The pid of one server, while it runs.
    pub fn server_pid(&self, server: usize) -> Option<u32> {
        self.control.pid(server)
    }

    /// [`Cluster::kill_server`] for one server, counted from 0.
    pub async fn kill_server_at(&self, server: usize) -> anyhow::Result<()> {
        self.control.kill(server).await
    }

    /// [`Cluster::start_server`] for one server, counted from 0.
    pub async fn start_server_at(&self, server: usize) -> anyhow::Result<()> {
        let api = self
            .api_of(server)
            .ok_or_else(|| anyhow::anyhow!("there is no API server {server}"))?;
        let run = self.control.start(server).await?;
        Ok(ready::wait_until_alive(&run, &api).await?)
    }
}

#[async_trait]
impl Cluster for ApiServerCluster {
    fn kind(&self) -> ClusterKind {
        ClusterKind::Apiserver
    }

    fn kubernetes(&self) -> String {
        self.description.kubernetes.clone()
    }

    fn api(&self) -> Arc<dyn Api> {
        Arc::clone(&self.apis[0]) as _
    }

    fn apis(&self) -> Vec<Arc<dyn Api>> {
        self.apis.iter().map(|api| Arc::clone(api) as _).collect()
    }

    fn etcd(&self) -> Arc<dyn Etcd> {
        Arc::clone(&self.etcd) as _
    }

    async fn health(&self, path: &str) -> Result<Health, ApiError> {
        self.apis[0].health(path).await
    }

    async fn wait_until_ready(&self) -> anyhow::Result<()> {
        Ok(ready::wait_until_ready(
            &self.control.current_run(&self.description, 0),
            &self.apis[0],
        )
        .await?)
    }

    async fn kill_server(&self) -> anyhow::Result<()> {
        self.kill_server_at(0).await
    }

    async fn start_server(&self) -> anyhow::Result<()> {
        self.start_server_at(0).await
    }

    async fn reconfigure(&self, encryption: Encryption) -> anyhow::Result<()> {
        let hash = replace(&self.description.dir, &render(&encryption)?)
            .with_context(|| format!("writing in {}", self.description.dir.display()))?;
        for (number, api) in self.apis.iter().enumerate() {
            ready::wait_until_reloaded(
                &self.control.current_run(&self.description, number),
                api,
                &hash,
            )
            .await?;
        }
        Ok(())
    }

    async fn advance_time(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    async fn logs(&self) -> Option<PathBuf> {
        match &self.dir {
            // Logs are kept after the processes end.
            Some(dir) => dir.keep_logs().ok(),
            None => Some(self.description.logs.clone()),
        }
    }

    async fn shutdown(&self) -> anyhow::Result<()> {
        self.control.shutdown().await
    }
}

#[cfg(test)]
mod tests;
