//! A model of kube-apiserver's encryption at rest, in this process and on a virtual clock.
//!
//! It re-implements what Kubernetes 1.36 does between its API, a KMS v2 plugin and etcd: the status
//! probe and its key_id state machine (`state`, `poll`), the envelope and the provider list
//! (`transformer`, `cache`), the rule for no-op writes (`api`), the stored bytes (`objects`), and
//! the health checks (`health`). The plugin is a real one, called by gRPC on its unix socket
//! (`client`); the store is an MVCC map (`store`). Each file names the Go sources that it follows.

mod active_config;
mod api;
mod cache;
mod client;
mod config;
mod errors;
mod health;
mod objects;
mod poll;
mod random;
mod reload;
mod server;
mod state;
mod store;
mod transformer;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;

use super::{Api, ApiError, Cluster, ClusterKind, Encryption, Health, ObjectRef};
use crate::etcd::Etcd;
pub use config::{Config, Sabotage};
use random::Random;
use server::Server;
use store::Store;

/// The Kubernetes version whose behaviour is modelled.
const KUBERNETES_VERSION: &str = "v1.36.3";

/// A model cluster: one API server that can be killed and restarted, on a persistent store.
#[derive(Debug)]
pub struct EmbeddedCluster {
    shared: Arc<Shared>,
}

/// What outlives a server, and the current server.
#[derive(Debug)]
pub(crate) struct Shared {
    config: Config,
    /// The configuration file; a running server reloads it.
    file: Arc<RwLock<Encryption>>,
    store: Arc<Store>,
    random: Arc<Random>,
    running: RwLock<Option<Arc<Server>>>,
}

impl Shared {
    /// The running server, or the error that clients get without one.
    fn server(&self) -> Result<Arc<Server>, ApiError> {
        let server = self
            .running
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let server = server.ok_or_else(|| {
            ApiError::no_answer("connection refused: the API server is not running")
        })?;
        server.create_system_namespaces();
        Ok(server)
    }

    fn set(&self, server: Option<Arc<Server>>) -> Option<Arc<Server>> {
        std::mem::replace(
            &mut *self.running.write().unwrap_or_else(PoisonError::into_inner),
            server,
        )
    }
}

/// State of a stored value for the running server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadOutcome {
    /// It decrypts, and a no-op update does not write it.
    Fresh,
    /// It decrypts, and a no-op update rewrites it.
    Stale,
    /// It does not decrypt; contains the API server's message.
    Unreadable(String),
}

impl EmbeddedCluster {
    /// Starts a model API server on an empty store. As with kube-apiserver, it starts without a
    /// responding plugin.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        anyhow::ensure!(
            !config.timeout.is_zero(),
            "the plugin's timeout is 0; kube-apiserver wants a positive one, such as 3s"
        );
        config::validate(&config.encryption)?;
        let file = Arc::new(RwLock::new(config.encryption.clone()));
        let random = Arc::new(Random::new(config.seed));
        let shared = Arc::new(Shared {
            config,
            file,
            store: Arc::default(),
            random,
            running: RwLock::default(),
        });
        let cluster = Self { shared };
        cluster.start_server().await?;
        Ok(cluster)
    }

    /// Reads an object's value with the server's transformer, without an update.
    pub async fn read_outcome(&self, at: &ObjectRef) -> Result<ReadOutcome, ApiError> {
        let server = self.shared.server()?;
        let key = at.etcd_key();
        let live = self
            .shared
            .store
            .live(&key)
            .ok_or_else(|| errors::not_found(&at.resource, &at.name))?;
        Ok(match server.decrypt(&at.resource, &key, &live).await {
            Ok(decrypted) if decrypted.stale => ReadOutcome::Stale,
            Ok(_) => ReadOutcome::Fresh,
            Err(why) => ReadOutcome::Unreadable(why),
        })
    }

    /// Whether a write of an encrypted resource would succeed now; the inner error is the
    /// transformer's, such as an expired seed.
    pub fn write_outcome(&self) -> Result<Result<(), String>, ApiError> {
        Ok(self
            .shared
            .server()?
            .loaded()
            .writer()
            .map_or(Ok(()), |kms| kms.check_write()))
    }

    /// The key id that the running server encrypts with, if it has one.
    pub fn write_key_id(&self) -> Option<String> {
        let server = self.shared.server().ok()?;
        server
            .loaded()
            .writer()?
            .probe
            .state()
            .ok()
            .map(|state| state.key_id.clone())
    }

    /// Number of decrypted DEK sources in the running server: upstream's metric
    /// `dek_source_cache_size`.
    pub fn dek_source_cache_size(&self) -> usize {
        let server = self.shared.server().ok();
        server.map_or(0, |server| {
            server.loaded().kms().map(|kms| kms.cache_size()).sum()
        })
    }
}

#[async_trait]
impl Cluster for EmbeddedCluster {
    fn kind(&self) -> ClusterKind {
        ClusterKind::Embedded
    }

    fn kubernetes(&self) -> String {
        KUBERNETES_VERSION.to_owned()
    }

    fn api(&self) -> Arc<dyn Api> {
        Arc::new(api::ModelApi(self.shared.clone()))
    }

    fn etcd(&self) -> Arc<dyn Etcd> {
        self.shared.store.clone()
    }

    async fn health(&self, path: &str) -> Result<Health, ApiError> {
        let server = self.shared.server()?;
        Ok(health::respond(&server, path).await)
    }

    async fn wait_until_ready(&self) -> anyhow::Result<()> {
        self.readiness().await.map_err(anyhow::Error::msg)
    }

    async fn kill_server(&self) -> anyhow::Result<()> {
        if let Some(server) = self.shared.set(None) {
            server.stop().await;
        }
        Ok(())
    }

    async fn start_server(&self) -> anyhow::Result<()> {
        self.kill_server().await?;
        let Shared {
            config,
            file,
            store,
            random,
            ..
        } = &*self.shared;
        let server =
            Server::start(config.clone(), file.clone(), store.clone(), random.clone()).await;
        if let Some(other) = self.shared.set(Some(server)) {
            other.stop().await;
        }
        Ok(())
    }

    async fn reconfigure(&self, encryption: Encryption) -> anyhow::Result<()> {
        config::validate(&encryption)?;
        *self
            .shared
            .file
            .write()
            .unwrap_or_else(PoisonError::into_inner) = encryption.clone();
        self.advance_time(reload::POLL_INTERVAL).await;
        let Ok(server) = self.shared.server() else {
            return Ok(());
        };
        if server.loaded().encryption == encryption {
            return Ok(());
        }
        // Called again for the error.
        reload::Reload::reload(&*server).await.map_err(|why| {
            anyhow::anyhow!("the API server goes on with the providers before: {why}")
        })
    }

    async fn advance_time(&self, time: Duration) {
        self.shared.config.clock.advance(time).await;
    }

    async fn logs(&self) -> Option<PathBuf> {
        None
    }

    async fn shutdown(&self) -> anyhow::Result<()> {
        self.kill_server().await
    }
}

#[cfg(test)]
mod tests;
