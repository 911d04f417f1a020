//! One running API server: everything that a kill loses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use kmslab_keycore::Clock;
use kmslab_plugin::time::Timer;
use serde_json::json;
use tokio::task::JoinHandle;

use super::super::{ApiError, Resource};
use super::config::Config;
use super::objects;
use super::random::Random;
use super::state::rfc3339;
use super::store::{Live, Store};
use super::transformer::{Chain, Kms, Opened};
use super::{errors, poll};

/// Namespaces that every API server makes.
const SYSTEM_NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// A server between its start and its end.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) config: Config,
    pub(crate) store: Arc<Store>,
    pub(crate) random: Arc<Random>,
    pub(crate) kms: Option<Arc<Kms>>,
    pub(crate) started: Timestamp,
    /// Whether the informers have seen all objects once, as `/readyz` wants it.
    synced: AtomicBool,
    /// Whether the system namespaces are known to be there.
    settled: AtomicBool,
    poll: std::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Server {
    /// Starts: asks the plugin once, without insisting on an answer, then begins to poll it.
    pub(crate) async fn start(config: Config, store: Arc<Store>, random: Arc<Random>) -> Arc<Self> {
        let kms = config.providers.uses_kms().then(|| Arc::new(Kms::new(&config, random.clone())));
        let started = Clock::now(&*config.clock);
        let mut poll = None;
        if let Some(kms) = &kms {
            let timer: Arc<dyn Timer> = config.clock.clone();
            let primed = kms.probe.check().await.is_ok();
            let ticker = timer.ticker();
            poll = Some(tokio::spawn(poll::run(kms.clone(), timer, ticker, primed)));
        }
        let (synced, settled, poll) = (AtomicBool::new(false), AtomicBool::new(false), std::sync::Mutex::new(poll));
        let server = Arc::new(Self { config, store, random, kms, started, synced, settled, poll });
        server.settle();
        server.sync().await;
        server
    }

    /// Ends the poll loop, and waits until its ticker is gone.
    pub(crate) async fn stop(&self) {
        let poll = self.poll.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(poll) = poll {
            poll.abort();
            // An error says that it was aborted.
            let _ = poll.await;
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Clock::now(&*self.config.clock)
    }

    /// The provider list of a resource.
    pub(crate) fn chain(&self, resource: &Resource) -> Chain {
        if self.config.covers(resource) {
            Chain::configured(self.config.providers, self.kms.clone())
        } else {
            Chain::NotConfigured
        }
    }

    /// A stored value's plaintext. The error is a transformer's text.
    pub(crate) async fn open(&self, resource: &Resource, key: &str, live: &Live) -> Result<Opened, String> {
        self.chain(resource).read(key, &live.value).await
    }

    /// Makes the system namespaces that are missing. Where they are encrypted and nothing can be, that is for later.
    pub(crate) fn settle(&self) {
        if self.settled.load(Ordering::Acquire) {
            return;
        }
        let made = SYSTEM_NAMESPACES.iter().all(|name| self.make_namespace(name).is_ok());
        self.settled.store(made, Ordering::Release);
    }

    fn make_namespace(&self, name: &str) -> Result<(), String> {
        let resource = Resource::namespaces();
        let key = format!("{}{name}", resource.etcd_prefix());
        if self.store.live(&key).is_some() {
            return Ok(());
        }
        let asked = json!({"metadata": {"name": name}});
        let object = objects::defaults::create(&resource, asked, self.random.uuid(), rfc3339(self.now()));
        let plaintext = objects::encode(&resource, &object)?;
        let value = self.chain(&resource).write(&key, &plaintext)?;
        // Somebody else may have made it meanwhile.
        let _ = self.store.put_if(&key, 0, value);
        Ok(())
    }

    /// Whether the informers have synced: each needs one look at all its objects, and one unreadable object fails it.
    pub(crate) async fn sync(&self) -> bool {
        if self.synced.load(Ordering::Acquire) {
            return true;
        }
        let mut synced = true;
        for resource in [Resource::namespaces(), Resource::config_maps(), Resource::secrets(), Resource::crds()] {
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
    pub(crate) async fn state(&self, resource: &Resource, key: &str, name: &str) -> Result<Current, ApiError> {
        let live = self.store.live(key).ok_or_else(|| errors::not_found(resource, name))?;
        let opened = self.open(resource, key, &live).await.map_err(errors::internal)?;
        Ok(Current { revision: live.mod_revision, opened })
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
        let poll = self.poll.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(poll) = poll {
            poll.abort();
        }
    }
}
