//! What a model API server is started with: the part of an EncryptionConfiguration that it follows, its clock and its randomness.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::super::Resource;
use crate::clock::VirtualClock;

/// The provider list of the one block in the EncryptionConfiguration; the first of a list writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Providers {
    /// `[kms, identity]`: encrypts, and still reads what was stored before encryption was switched on.
    #[default]
    KmsThenIdentity,
    /// `[kms]`: plaintext left in etcd is unreadable.
    Kms,
    /// `[identity, kms]`: the way back to plaintext.
    IdentityThenKms,
    /// `[identity]`: no encryption, no plugin.
    Identity,
}

impl Providers {
    /// Whether the list has the KMS plugin, and so its probe and its health check.
    pub fn uses_kms(self) -> bool {
        self != Self::Identity
    }
}

/// A model API server and its surroundings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Time of everything but the plugin's answers.
    pub clock: Arc<VirtualClock>,
    /// The plugin's unix socket.
    pub plugin_socket: PathBuf,
    /// `kms.name`: part of every stored value, without `:`.
    pub provider: String,
    /// What is encrypted: `secrets`, `widgets.example.com`, `*.example.com`, `*.` (the core group), `*.*`.
    pub resources: Vec<String>,
    /// The provider list.
    pub providers: Providers,
    /// `kms.timeout`: how long one call to the plugin may take, in real time. Kubernetes' default is 3 s.
    pub timeout: Duration,
    /// Where seeds, nonces, uids and generated names come from. Two clusters with one seed draw the same: never for real data.
    pub seed: u64,
    /// Deliberate faults of the model.
    #[doc(hidden)]
    pub sabotage: Sabotage,
}

impl Config {
    /// Secrets and ConfigMaps under `[kms, identity]`, timeout 3 s.
    pub fn new(clock: Arc<VirtualClock>, plugin_socket: impl Into<PathBuf>, provider: impl Into<String>) -> Self {
        Self {
            clock,
            plugin_socket: plugin_socket.into(),
            provider: provider.into(),
            resources: vec!["secrets".into(), "configmaps".into()],
            providers: Providers::default(),
            timeout: Duration::from_secs(3),
            seed: 0,
            sabotage: Sabotage::default(),
        }
    }

    /// Whether objects of `resource` go through the provider list.
    pub(crate) fn covers(&self, resource: &Resource) -> bool {
        let wildcard = format!("*.{}", resource.group);
        let exact = resource.group_resource();
        self.resources.iter().any(|name| *name == exact || *name == wildcard || name == "*.*")
    }

    /// What kube-apiserver refuses to start with, as far as this configuration can express it.
    pub(crate) fn validate(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            !self.provider.is_empty() && !self.provider.contains(':'),
            "the provider's name {:?} is empty or has a ':'; give `kms.name` a plain name",
            self.provider
        );
        anyhow::ensure!(
            !self.timeout.is_zero(),
            "the plugin's timeout is 0; kube-apiserver wants a positive one, such as 3s"
        );
        for name in &self.resources {
            anyhow::ensure!(
                name != "*" && !name.chars().any(|c| c.is_ascii_uppercase()),
                "resource {name:?}: use lower-case plurals with their group (`secrets`, `widgets.example.com`) or `*.<group>`, `*.*`"
            );
        }
        Ok(())
    }
}

/// Faults that a differential test switches on to show that it would notice them.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sabotage {
    /// The write seed never expires.
    pub expiry: bool,
    /// Nothing is ever stale.
    pub stale: bool,
    /// Values are not bound to their etcd key.
    pub aad: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_match_exactly_or_by_wildcard() {
        let mut config = Config::new(VirtualClock::at(jiff::Timestamp::UNIX_EPOCH), "/nowhere", "p");
        let widgets = Resource::new("example.com", "v1", "widgets", "Widget", true);
        assert!(
            config.covers(&Resource::secrets()) && !config.covers(&Resource::namespaces()) && !config.covers(&widgets)
        );
        config.resources = vec!["*.".into()];
        assert!(config.covers(&Resource::namespaces()) && !config.covers(&widgets));
        config.resources = vec!["*.example.com".into()];
        assert!(!config.covers(&Resource::secrets()) && config.covers(&widgets));
        config.resources = vec!["*.*".into()];
        assert!(config.covers(&Resource::crds()) && config.covers(&widgets));
        assert!(config.validate().is_ok());
        config.provider = "a:b".into();
        assert!(config.validate().is_err());
    }
}
