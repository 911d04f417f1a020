//! kind: a Kubernetes cluster whose nodes are containers of this machine's engine, with the plugin
//! on each control-plane node as a systemd unit that starts before the API server.
//!
//! `files` contains what is mounted into a node, `config` the configuration of kind; `launch`
//! starts the cluster, `node` runs commands on a node.

pub mod balancer;
pub mod balancer_image;
pub mod bundle;
pub mod config;
pub mod files;
mod launch;
mod node;
mod remedies;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use tokio::time::Instant;

pub use launch::Config;
pub use remedies::{Machine, Remedies};

use super::apiserver::{HttpApi, kubeconfig, ready, render, replace};
use super::{
    Api, ApiError, Cluster, ClusterKind, Description, Encryption, Health, Nodes, ObjectRef,
    Resource,
};
use crate::engine::Engine;
use crate::etcd::Etcd;
use crate::etcd::client::EtcdClient;
use crate::runtime_dir::RuntimeDir;

const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// A static pod takes 10 s to return, or a minute if its plugin keeps the caches from filling.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// A kind cluster.
#[derive(Debug)]
pub struct KindCluster {
    description: Description,
    nodes: Nodes,
    engine: Engine,
    apis: Vec<Arc<HttpApi>>,
    etcd: Arc<EtcdClient>,
    /// Set if this process started the cluster.
    dir: Option<Arc<RuntimeDir>>,
}

impl KindCluster {
    /// Starts a cluster and waits until it is ready. It is removed with the directory in `config`.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        launch::cluster(config).await
    }

    /// Attaches to a running cluster; with `dir`, one that this process started.
    pub(crate) async fn attach(
        mut description: Description,
        dir: Option<Arc<RuntimeDir>>,
    ) -> anyhow::Result<Self> {
        let access = kubeconfig::read(&description.kubeconfig)?;
        let apis = description
            .servers
            .iter()
            .map(|url| Ok(Arc::new(HttpApi::new(url, &access)?.with_controllers())));
        let apis = apis.collect::<anyhow::Result<Vec<_>>>()?;
        let first = apis.first().context("the cluster has no API server")?;
        let tls = description.etcd_tls.clone().unwrap_or_default();
        let etcd = Arc::new(EtcdClient::connect_with(&description.etcd, &tls).await?);
        let nodes = description
            .kind
            .clone()
            .context("the cluster is not a kind cluster")?;
        if description.kubernetes.is_empty() {
            description.kubernetes = first.version().await?;
        }
        let engine = Engine::at(&nodes.engine);
        Ok(Self {
            description,
            nodes,
            engine,
            apis,
            etcd,
            dir,
        })
    }

    /// What another process needs to attach to the cluster.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The API by new connections to the kubeconfig's server: with several control planes, kind's
    /// load balancer.
    pub fn balanced(&self) -> anyhow::Result<HttpApi> {
        let path = &self.description.kubeconfig;
        Ok(HttpApi::new(&kubeconfig::server(path)?, &kubeconfig::read(path)?)?.with_controllers())
    }

    /// The API of one server, counted from 0.
    pub fn api_of(&self, server: usize) -> Option<Arc<HttpApi>> {
        self.apis.get(server).cloned()
    }

    /// Its containers.
    pub fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// Container engine of its nodes.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    async fn enable_plugin(&self) -> anyhow::Result<()> {
        for node in &self.nodes.control_planes {
            node::enable_plugin(&self.engine, &node.container).await?;
        }
        Ok(())
    }

    /// The container of a control-plane node, counted from 0.
    pub fn node(&self, number: usize) -> anyhow::Result<&str> {
        let node = self
            .nodes
            .control_planes
            .get(number)
            .map(|node| node.container.as_str());
        node.with_context(|| format!("there is no control-plane node {number}"))
    }

    /// Polls until `probe` is `Ok`; a timeout reports what was seen last and the node's logs.
    async fn poll_until<F>(&self, what: &str, probe: impl Fn() -> F) -> anyhow::Result<()>
    where
        F: Future<Output = Result<(), String>>,
    {
        let since = Instant::now();
        loop {
            let Err(seen) = probe().await else {
                return Ok(());
            };
            if since.elapsed() > READY_TIMEOUT {
                let node = self.node(0)?;
                node::save_logs(&self.engine, node, &self.description.logs).await;
                let told = node::diagnose(&self.engine, node).await;
                anyhow::bail!(
                    "the API server of {node} is not {what} after {} s: {seen}{told}",
                    READY_TIMEOUT.as_secs()
                );
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

#[async_trait]
impl Cluster for KindCluster {
    fn kind(&self) -> ClusterKind {
        ClusterKind::Kind
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
        self.poll_until("ready", || self.readiness()).await?;
        let default = ObjectRef::new(Resource::namespaces(), None, "default");
        let there = || async {
            self.apis[0]
                .get(&default)
                .await
                .map(drop)
                .map_err(|error| error.to_string())
        };
        self.poll_until("serving the namespace default", there)
            .await
    }

    async fn kill_server(&self) -> anyhow::Result<()> {
        node::kill_server(&self.engine, self.node(0)?).await?;
        let down = || async {
            match self.apis[0].health("/livez").await {
                Err(_) => Ok(()),
                Ok(_) => Err("it still answers".into()),
            }
        };
        self.poll_until("down", down).await
    }

    async fn start_server(&self) -> anyhow::Result<()> {
        node::release_server(&self.engine, self.node(0)?).await?;
        self.poll_until("alive", || {
            ready::ensure_healthy(&self.apis[0], ready::ALIVE)
        })
        .await
    }

    async fn reconfigure(&self, encryption: Encryption) -> anyhow::Result<()> {
        // The nodes mount the directory, so that a replaced file is visible.
        let dir = self.description.dir.join("node/etc/kubernetes/enc");
        let hash = replace(&dir, &render(&encryption)?)
            .with_context(|| format!("writing in {}", dir.display()))?;
        for api in &self.apis {
            self.poll_until("using the new EncryptionConfiguration", || {
                ready::ensure_config_hash(api, &hash)
            })
            .await?;
        }
        Ok(())
    }

    async fn advance_time(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    async fn logs(&self) -> Option<PathBuf> {
        for node in &self.nodes.control_planes {
            node::save_logs(&self.engine, &node.container, &self.description.logs).await;
        }
        match &self.dir {
            // Logs are kept after the nodes are removed.
            Some(dir) => dir.keep_logs().ok(),
            None => Some(self.description.logs.clone()),
        }
    }

    async fn shutdown(&self) -> anyhow::Result<()> {
        let Some(dir) = self.dir.clone() else {
            return Ok(());
        };
        tokio::task::spawn_blocking(move || dir.remove_containers()).await??;
        Ok(())
    }
}
