//! An EncryptionConfiguration in use: its provider list and the probes of its plugins, until it is
//! replaced.

use std::sync::{Arc, Mutex, PoisonError};

use kmslab_plugin::time::Timer;
use tokio::task::JoinHandle;

use super::super::{Encryption, Provider, Resource};
use super::config::{Config, covers};
use super::poll;
use super::random::Random;
use super::transformer::{ChainProvider, Kms, ProviderChain};

/// A provider list whose plugins are polled.
#[derive(Debug)]
pub(crate) struct ActiveConfig {
    pub(crate) encryption: Encryption,
    layers: Vec<ChainProvider>,
    polls: Mutex<Vec<JoinHandle<()>>>,
}

impl ActiveConfig {
    /// Calls each plugin once, ignoring failures, then starts polling.
    pub(crate) async fn start(
        encryption: Encryption,
        config: &Config,
        random: &Arc<Random>,
    ) -> Self {
        let (mut layers, mut polls) = (Vec::new(), Vec::new());
        for provider in &encryption.providers {
            let Provider::Kms { name, socket } = provider else {
                layers.push(ChainProvider::Identity);
                continue;
            };
            let kms = Arc::new(Kms::new(name, socket, config, random.clone()));
            let timer: Arc<dyn Timer> = config.clock.clone();
            let primed = kms.probe.check().await.is_ok();
            let ticker = timer.ticker();
            polls.push(tokio::spawn(poll::run(kms.clone(), timer, ticker, primed)));
            layers.push(ChainProvider::Kms(kms));
        }
        Self {
            encryption,
            layers,
            polls: Mutex::new(polls),
        }
    }

    /// The plugins in the order of the list.
    pub(crate) fn kms(&self) -> impl Iterator<Item = &Arc<Kms>> {
        self.layers.iter().filter_map(|layer| match layer {
            ChainProvider::Kms(kms) => Some(kms),
            ChainProvider::Identity => None,
        })
    }

    /// The plugin that encrypts, if the first provider is one.
    pub(crate) fn writer(&self) -> Option<&Arc<Kms>> {
        match self.layers.first() {
            Some(ChainProvider::Kms(kms)) => Some(kms),
            _ => None,
        }
    }

    /// The check `kms-providers`: all plugins in the order of the list.
    pub(crate) async fn health(&self) -> Result<(), String> {
        let mut faults = Vec::new();
        for (number, kms) in self.kms().enumerate() {
            if let Err(error) = kms.probe.check().await {
                faults.push(format!("kms-provider-{number}: {error}"));
            }
        }
        match faults.as_slice() {
            [] => Ok(()),
            [one] => Err(one.clone()),
            several => Err(format!("[{}]", several.join(", "))),
        }
    }

    /// The provider list of a resource.
    pub(crate) fn chain(&self, resource: &Resource) -> ProviderChain {
        if covers(&self.encryption, resource) {
            ProviderChain::Configured(self.layers.clone())
        } else {
            ProviderChain::NotConfigured
        }
    }

    /// Stops polling and waits until the tickers are dropped.
    pub(crate) async fn stop(&self) {
        let polls = std::mem::take(&mut *self.polls.lock().unwrap_or_else(PoisonError::into_inner));
        for poll in polls {
            poll.abort();
            // An error means that it was aborted.
            let _ = poll.await;
        }
    }
}

impl Drop for ActiveConfig {
    fn drop(&mut self) {
        for poll in self
            .polls
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            poll.abort();
        }
    }
}
