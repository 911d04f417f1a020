//! A model of kube-apiserver's encryption at rest, in this process and on a virtual clock.
//!
//! It re-implements what Kubernetes 1.36 does between its API, a KMS v2 plugin and etcd: the status
//! probe and its key_id state machine (`state`, `poll`), the envelope and the provider list
//! (`transformer`, `cache`), the no-op write rule (`api`), the stored bytes (`objects`), the health
//! checks (`health`). The plugin is a real one, reached over gRPC on its unix socket (`client`);
//! the store is an MVCC map (`store`). The Go sources it follows are named file by file.

mod api;
mod cache;
mod client;
mod config;
mod errors;
mod health;
mod loaded;
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

/// The version whose behaviour is modelled.
const FOLLOWS: &str = "v1.36.3";

/// A model cluster: one API server that can be killed and started again, on one store that stays.
#[derive(Debug)]
pub struct EmbeddedCluster {
    shared: Arc<Shared>,
}

/// What outlives a server, and the server that runs at the moment.
#[derive(Debug)]
pub(crate) struct Shared {
    config: Config,
    /// The configuration as it is to be; a server that runs takes a change over by itself.
    file: Arc<RwLock<Encryption>>,
    store: Arc<Store>,
    random: Arc<Random>,
    running: RwLock<Option<Arc<Server>>>,
}

impl Shared {
    /// The running server, or what a client sees without one.
    fn server(&self) -> Result<Arc<Server>, ApiError> {
        let server = self
            .running
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let server = server.ok_or_else(|| {
            ApiError::no_answer("connection refused: the API server is not running")
        })?;
        server.settle();
        Ok(server)
    }

    fn set(&self, server: Option<Arc<Server>>) -> Option<Arc<Server>> {
        std::mem::replace(
            &mut *self.running.write().unwrap_or_else(PoisonError::into_inner),
            server,
        )
    }
}

/// How a stored value is to the running server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadOutcome {
    /// It opens, and a no-op update leaves it alone.
    Fresh,
    /// It opens, and a no-op update writes it anew.
    Stale,
    /// It does not open; the API server's reason.
    Unreadable(String),
}

impl EmbeddedCluster {
    /// Starts a model API server on an empty store. As with the real one, a plugin that does not
    /// answer is no obstacle.
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

    /// How the value of an object is to the running server: what its transformer says, without an
    /// update.
    pub async fn read_outcome(&self, at: &ObjectRef) -> Result<ReadOutcome, ApiError> {
        let server = self.shared.server()?;
        let key = at.etcd_key();
        let live = self
            .shared
            .store
            .live(&key)
            .ok_or_else(|| errors::not_found(&at.resource, &at.name))?;
        Ok(match server.open(&at.resource, &key, &live).await {
            Ok(opened) if opened.stale => ReadOutcome::Stale,
            Ok(_) => ReadOutcome::Fresh,
            Err(why) => ReadOutcome::Unreadable(why),
        })
    }

    /// Whether a write of an encrypted resource would go through now; the inner error is the
    /// transformer's reason, such as that the seed has expired.
    pub fn write_outcome(&self) -> Result<Result<(), String>, ApiError> {
        Ok(self
            .shared
            .server()?
            .loaded()
            .writer()
            .map_or(Ok(()), |kms| kms.check_write()))
    }

    /// The key id that the running server writes under, if it ever heard of one.
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

    /// How many decrypted DEK sources the running server holds: upstream's metric
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
        FOLLOWS.to_owned()
    }

    fn api(&self) -> Arc<dyn Api> {
        Arc::new(api::ModelApi(self.shared.clone()))
    }

    fn etcd(&self) -> Arc<dyn Etcd> {
        self.shared.store.clone()
    }

    async fn health(&self, path: &str) -> Result<Health, ApiError> {
        let server = self.shared.server()?;
        Ok(health::answer(&server, path).await)
    }

    async fn until_ready(&self) -> anyhow::Result<()> {
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
        self.pass(reload::LOOK_EVERY).await;
        let Ok(server) = self.shared.server() else {
            return Ok(());
        };
        if server.loaded().encryption == encryption {
            return Ok(());
        }
        // Asked once more for its reason.
        server.reload().await.map_err(|why| {
            anyhow::anyhow!("the API server goes on with the providers before: {why}")
        })
    }

    async fn pass(&self, time: Duration) {
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
