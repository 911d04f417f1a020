//! A running API server: everything that is lost when it is killed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use jiff::Timestamp;
use kmslab_keycore::Clock;
use kmslab_plugin::time::Timer as _;
use serde_json::json;
use tokio::task::JoinHandle;

use super::super::{ApiError, Encryption, Resource};
use super::active_config::ActiveConfig;
use super::config::Config;
use super::errors;
use super::objects;
use super::random::Random;
use super::reload::{self, Reload};
use super::state::rfc3339;
use super::store::{LiveValue, Store};
use super::transformer::{Decrypted, ProviderChain};

/// Namespaces that every API server creates.
const SYSTEM_NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// A server between its start and its end.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) config: Config,
    pub(crate) store: Arc<Store>,
    pub(crate) random: Arc<Random>,
    /// The configured encryption: a file for kube-apiserver.
    file: Arc<RwLock<Encryption>>,
    loaded: RwLock<Arc<ActiveConfig>>,
    pub(crate) started: Timestamp,
    /// Whether the informers have listed all objects once, which `/readyz` requires.
    synced: AtomicBool,
    /// Whether the system namespaces are known to exist.
    namespaces_created: AtomicBool,
    reloads: Mutex<Option<JoinHandle<()>>>,
}

impl Reload for Server {
    /// Applies the current configuration if it is not in use and all its plugins are healthy.
    async fn reload(&self) -> Result<(), String> {
        let expected = self
            .file
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if self.loaded().encryption == expected {
            return Ok(());
        }
        let new = Arc::new(ActiveConfig::start(expected, &self.config, &self.random).await);
        if let Err(why) = new.health().await {
            new.stop().await;
            return Err(format!("health check for new transformers failed: {why}"));
        }
        let old = std::mem::replace(
            &mut *self.loaded.write().unwrap_or_else(PoisonError::into_inner),
            new,
        );
        old.stop().await;
        Ok(())
    }
}

impl Server {
    /// Starts with the current configuration and reloads it from then on.
    pub(crate) async fn start(
        config: Config,
        file: Arc<RwLock<Encryption>>,
        store: Arc<Store>,
        random: Arc<Random>,
    ) -> Arc<Self> {
        let started = Clock::now(&*config.clock);
        let encryption = file.read().unwrap_or_else(PoisonError::into_inner).clone();
        let loaded = RwLock::new(Arc::new(
            ActiveConfig::start(encryption, &config, &random).await,
        ));
        let ticker = config.clock.ticker();
        let (synced, namespaces_created, reloads) = (
            AtomicBool::new(false),
            AtomicBool::new(false),
            Mutex::default(),
        );
        let server = Arc::new(Self {
            config,
            store,
            random,
            file,
            loaded,
            started,
            synced,
            namespaces_created,
            reloads,
        });
        let looking = tokio::spawn(reload::run(Arc::downgrade(&server), ticker));
        *server
            .reloads
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(looking);
        server.create_system_namespaces();
        server.sync().await;
        server
    }

    /// Stops the background tasks and waits until their tickers are dropped.
    pub(crate) async fn stop(&self) {
        let reloads = self
            .reloads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(reloads) = reloads {
            reloads.abort();
            // An error means that it was aborted.
            let _ = reloads.await;
        }
        self.loaded().stop().await;
    }

    /// The configuration in use.
    pub(crate) fn loaded(&self) -> Arc<ActiveConfig> {
        self.loaded
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn now(&self) -> Timestamp {
        Clock::now(&*self.config.clock)
    }

    /// The provider list of a resource.
    pub(crate) fn chain(&self, resource: &Resource) -> ProviderChain {
        self.loaded().chain(resource)
    }

    /// Decrypts a stored value; the error is the transformer's message.
    pub(crate) async fn decrypt(
        &self,
        resource: &Resource,
        key: &str,
        live: &LiveValue,
    ) -> Result<Decrypted, String> {
        self.chain(resource).read(key, &live.value).await
    }

    /// Creates missing system namespaces. If they cannot be encrypted now, they are created later.
    pub(crate) fn create_system_namespaces(&self) {
        if self.namespaces_created.load(Ordering::Acquire) {
            return;
        }
        let created = SYSTEM_NAMESPACES
            .iter()
            .all(|name| self.make_namespace(name).is_ok());
        self.namespaces_created.store(created, Ordering::Release);
    }

    fn make_namespace(&self, name: &str) -> Result<(), String> {
        let resource = Resource::namespaces();
        let key = format!("{}{name}", resource.etcd_prefix());
        if self.store.live(&key).is_some() {
            return Ok(());
        }
        let requested = json!({"metadata": {"name": name}});
        let object = objects::defaults::create(
            &resource,
            requested,
            self.random.uuid(),
            rfc3339(self.now()),
        );
        let plaintext = objects::encode(&resource, &object)?;
        let value = self.chain(&resource).write(&key, &plaintext)?;
        // Another writer may have created it meanwhile.
        let _ = self.store.put_if(&key, 0, value);
        Ok(())
    }

    /// Whether the informers have synced: each lists its objects once, and one unreadable object
    /// makes it fail.
    pub(crate) async fn sync(&self) -> bool {
        if self.synced.load(Ordering::Acquire) {
            return true;
        }
        let mut synced = true;
        for resource in [
            Resource::namespaces(),
            Resource::config_maps(),
            Resource::secrets(),
            Resource::crds(),
        ] {
            synced &= self.readable(&resource).await;
        }
        self.synced.store(synced, Ordering::Release);
        synced
    }

    async fn readable(&self, resource: &Resource) -> bool {
        let (_, items) = self.store.range_below(&resource.etcd_prefix());
        for (key, live) in items {
            let decrypted = self.decrypt(resource, &key, &live).await;
            if !decrypted.is_ok_and(|decrypted| objects::decode(&decrypted.plaintext).is_ok()) {
                return false;
            }
        }
        true
    }

    /// The current state of an object.
    pub(crate) async fn state(
        &self,
        resource: &Resource,
        key: &str,
        name: &str,
    ) -> Result<CurrentObject, ApiError> {
        let live = self
            .store
            .live(key)
            .ok_or_else(|| errors::not_found(resource, name))?;
        let decrypted = self
            .decrypt(resource, key, &live)
            .await
            .map_err(errors::internal)?;
        Ok(CurrentObject {
            revision: live.mod_revision,
            decrypted,
        })
    }
}

/// A stored object as an update finds it.
#[derive(Debug)]
pub(crate) struct CurrentObject {
    pub(crate) revision: i64,
    pub(crate) decrypted: Decrypted,
}

impl Drop for Server {
    fn drop(&mut self) {
        let reloads = self
            .reloads
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(reloads) = reloads {
            reloads.abort();
        }
    }
}
