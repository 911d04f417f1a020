//! An EncryptionConfiguration in use: its provider list with a probe for each plugin, until it is
//! replaced.

use std::sync::{Arc, Mutex, PoisonError};

use kmslab_plugin::time::Timer;
use tokio::task::JoinHandle;

use super::super::{Encryption, Provider, Resource};
use super::config::{Config, covers};
use super::poll;
use super::random::Random;
use super::transformer::{Chain, Kms, Layer};

/// A provider list with its plugins polled.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) encryption: Encryption,
    layers: Vec<Layer>,
    polls: Mutex<Vec<JoinHandle<()>>>,
}

impl Loaded {
    /// Asks each plugin once, without insisting on an answer, then begins to poll it.
    pub(crate) async fn start(
        encryption: Encryption,
        config: &Config,
        random: &Arc<Random>,
    ) -> Self {
        let (mut layers, mut polls) = (Vec::new(), Vec::new());
        for provider in &encryption.providers {
            let Provider::Kms { name, socket } = provider else {
                layers.push(Layer::Identity);
                continue;
            };
            let kms = Arc::new(Kms::new(name, socket, config, random.clone()));
            let timer: Arc<dyn Timer> = config.clock.clone();
            let primed = kms.probe.check().await.is_ok();
            let ticker = timer.ticker();
            polls.push(tokio::spawn(poll::run(kms.clone(), timer, ticker, primed)));
            layers.push(Layer::Kms(kms));
        }
        Self {
            encryption,
            layers,
            polls: Mutex::new(polls),
        }
    }

    /// The plugins, in the order of the list.
    pub(crate) fn kms(&self) -> impl Iterator<Item = &Arc<Kms>> {
        self.layers.iter().filter_map(|layer| match layer {
            Layer::Kms(kms) => Some(kms),
            Layer::Identity => None,
        })
    }

    /// The plugin that writes, where one does.
    pub(crate) fn writer(&self) -> Option<&Arc<Kms>> {
        match self.layers.first() {
            Some(Layer::Kms(kms)) => Some(kms),
            _ => None,
        }
    }

    /// The check `kms-providers`: every plugin's own, in the order of the list.
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
    pub(crate) fn chain(&self, resource: &Resource) -> Chain {
        if covers(&self.encryption, resource) {
            Chain::Configured(self.layers.clone())
        } else {
            Chain::NotConfigured
        }
    }

    /// Ends the polls, and waits until their tickers are gone.
    pub(crate) async fn stop(&self) {
        let polls = std::mem::take(&mut *self.polls.lock().unwrap_or_else(PoisonError::into_inner));
        for poll in polls {
            poll.abort();
            // An error says that it was aborted.
            let _ = poll.await;
        }
    }
}

impl Drop for Loaded {
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
