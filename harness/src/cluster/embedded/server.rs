//! One running API server: everything that a kill loses.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use jiff::Timestamp;
use kmslab_keycore::Clock;
use kmslab_plugin::time::Timer as _;
use serde_json::json;
use tokio::task::JoinHandle;

use super::super::{ApiError, Encryption, Resource};
use super::config::Config;
use super::loaded::Loaded;
use super::objects;
use super::random::Random;
use super::state::rfc3339;
use super::store::{Live, Store};
use super::transformer::{Chain, Opened};
use super::{errors, reload};

/// Namespaces that every API server makes.
const SYSTEM_NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// A server between its start and its end.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) config: Config,
    pub(crate) store: Arc<Store>,
    pub(crate) random: Arc<Random>,
    /// What is configured: a file, to the real one.
    file: Arc<RwLock<Encryption>>,
    loaded: RwLock<Arc<Loaded>>,
    pub(crate) started: Timestamp,
    /// Whether the informers have seen all objects once, as `/readyz` wants it.
    synced: AtomicBool,
    /// Whether the system namespaces are known to be there.
    settled: AtomicBool,
    reloads: Mutex<Option<JoinHandle<()>>>,
}

impl Server {
    /// Starts with what is configured now, and looks for changes of it from then on.
    pub(crate) async fn start(
        config: Config,
        file: Arc<RwLock<Encryption>>,
        store: Arc<Store>,
        random: Arc<Random>,
    ) -> Arc<Self> {
        let started = Clock::now(&*config.clock);
        let encryption = file.read().unwrap_or_else(PoisonError::into_inner).clone();
        let loaded = RwLock::new(Arc::new(Loaded::start(encryption, &config, &random).await));
        let ticker = config.clock.ticker();
        let (synced, settled, reloads) = (
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
            settled,
            reloads,
        });
        let looking = tokio::spawn(reload::run(Arc::downgrade(&server), ticker));
        *server
            .reloads
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(looking);
        server.settle();
        server.sync().await;
        server
    }

    /// Ends what runs beside, and waits until its tickers are gone.
    pub(crate) async fn stop(&self) {
        let reloads = self
            .reloads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(reloads) = reloads {
            reloads.abort();
            // An error says that it was aborted.
            let _ = reloads.await;
        }
        self.loaded().stop().await;
    }

    /// What is in use.
    pub(crate) fn loaded(&self) -> Arc<Loaded> {
        self.loaded
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes over what is configured, if that is not in use and all its plugins are well.
    pub(crate) async fn reload(&self) -> Result<(), String> {
        let wanted = self
            .file
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if self.loaded().encryption == wanted {
            return Ok(());
        }
        let new = Arc::new(Loaded::start(wanted, &self.config, &self.random).await);
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

    pub(crate) fn now(&self) -> Timestamp {
        Clock::now(&*self.config.clock)
    }

    /// The provider list of a resource.
    pub(crate) fn chain(&self, resource: &Resource) -> Chain {
        self.loaded().chain(resource)
    }

    /// A stored value's plaintext. The error is a transformer's text.
    pub(crate) async fn open(
        &self,
        resource: &Resource,
        key: &str,
        live: &Live,
    ) -> Result<Opened, String> {
        self.chain(resource).read(key, &live.value).await
    }

    /// Makes the system namespaces that are missing. Where they are encrypted and nothing can be,
    /// that is for later.
    pub(crate) fn settle(&self) {
        if self.settled.load(Ordering::Acquire) {
            return;
        }
        let made = SYSTEM_NAMESPACES
            .iter()
            .all(|name| self.make_namespace(name).is_ok());
        self.settled.store(made, Ordering::Release);
    }

    fn make_namespace(&self, name: &str) -> Result<(), String> {
        let resource = Resource::namespaces();
        let key = format!("{}{name}", resource.etcd_prefix());
        if self.store.live(&key).is_some() {
            return Ok(());
        }
        let asked = json!({"metadata": {"name": name}});
        let object =
            objects::defaults::create(&resource, asked, self.random.uuid(), rfc3339(self.now()));
        let plaintext = objects::encode(&resource, &object)?;
        let value = self.chain(&resource).write(&key, &plaintext)?;
        // Somebody else may have made it meanwhile.
        let _ = self.store.put_if(&key, 0, value);
        Ok(())
    }

    /// Whether the informers have synced: each needs one look at all its objects, and one
    /// unreadable object fails it.
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
        let (_, items) = self.store.below(&resource.etcd_prefix());
        for (key, live) in items {
            let opened = self.open(resource, &key, &live).await;
            if !opened.is_ok_and(|opened| objects::decode(&opened.plaintext).is_ok()) {
                return false;
            }
        }
        true
    }

    /// An object's present state.
    pub(crate) async fn state(
        &self,
        resource: &Resource,
        key: &str,
        name: &str,
    ) -> Result<Current, ApiError> {
        let live = self
            .store
            .live(key)
            .ok_or_else(|| errors::not_found(resource, name))?;
        let opened = self
            .open(resource, key, &live)
            .await
            .map_err(errors::internal)?;
        Ok(Current {
            revision: live.mod_revision,
            opened,
        })
    }
}

/// A stored object as an update finds it.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) revision: i64,
    pub(crate) opened: Opened,
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
