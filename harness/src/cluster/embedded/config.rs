//! Configuration of a model API server: the part of an EncryptionConfiguration that it supports,
//! its clock and its randomness.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::super::{Encryption, Provider, Resource};
use crate::clock::VirtualClock;

/// Configuration of a model API server.
#[derive(Debug, Clone)]
pub struct Config {
    /// Clock of everything but the plugin's responses.
    pub clock: Arc<VirtualClock>,
    /// Initial encryption configuration.
    pub encryption: Encryption,
    /// `kms.timeout`: timeout of a call to the plugin, in real time. Kubernetes' default is 3 s.
    pub timeout: Duration,
    /// Seed of DEK seeds, nonces, uids and generated names. Two clusters with one seed generate the
    /// same: never use it for real data.
    pub seed: u64,
    /// Deliberate faults of the model.
    #[doc(hidden)]
    pub sabotage: Sabotage,
}

impl Config {
    /// Secrets and ConfigMaps under `[kms, identity]` with timeout 3 s.
    pub fn new(
        clock: Arc<VirtualClock>,
        plugin_socket: impl Into<PathBuf>,
        provider: impl Into<String>,
    ) -> Self {
        Self {
            clock,
            encryption: Encryption::kms(
                provider,
                plugin_socket,
                vec!["secrets".into(), "configmaps".into()],
            ),
            timeout: Duration::from_secs(3),
            seed: 0,
            sabotage: Sabotage::default(),
        }
    }
}

/// Whether objects of `resource` are encrypted by the provider list.
pub(crate) fn covers(encryption: &Encryption, resource: &Resource) -> bool {
    let wildcard = format!("*.{}", resource.group);
    let exact = resource.group_resource();
    encryption
        .resources
        .iter()
        .any(|name| *name == exact || *name == wildcard || name == "*.*")
}

/// Rejects what kube-apiserver rejects at start, as far as this configuration can express it.
pub(crate) fn validate(encryption: &Encryption) -> anyhow::Result<()> {
    anyhow::ensure!(
        !encryption.providers.is_empty(),
        "the provider list is empty; give it at least `identity`"
    );
    let mut names = BTreeSet::new();
    for provider in &encryption.providers {
        let name = match provider {
            Provider::Kms { name, .. } => name,
            Provider::Identity => continue,
            Provider::KmsV1 { .. } | Provider::Local(_) => anyhow::bail!(
                "the embedded model has KMS v2 providers and `identity`; a kube-apiserver (--cluster apiserver) has the others"
            ),
        };
        anyhow::ensure!(
            !name.is_empty() && !name.contains(':'),
            "the provider's name {name:?} is empty or has a ':'; give `kms.name` a plain name",
        );
        anyhow::ensure!(
            names.insert(name),
            "two providers have the name {name:?}; `kms.name` must be unique"
        );
    }
    for name in &encryption.resources {
        anyhow::ensure!(
            name != "*" && !name.chars().any(|c| c.is_ascii_uppercase()),
            "resource {name:?}: use lower-case plurals with their group (`secrets`, `widgets.example.com`) or `*.<group>`, `*.*`"
        );
    }
    Ok(())
}

/// Faults that a differential test injects to show that it detects them.
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
    fn resources_match_by_name_or_wildcard() {
        let of = |resources: &[&str]| {
            Encryption::identity(resources.iter().map(|&name| name.to_owned()).collect())
        };
        let widgets = Resource::new("example.com", "v1", "widgets", "Widget", true);
        let some = of(&["secrets", "configmaps"]);
        assert!(covers(&some, &Resource::secrets()) && !covers(&some, &Resource::namespaces()));
        assert!(!covers(&some, &widgets));
        let core = of(&["*."]);
        assert!(covers(&core, &Resource::namespaces()) && !covers(&core, &widgets));
        let group = of(&["*.example.com"]);
        assert!(!covers(&group, &Resource::secrets()) && covers(&group, &widgets));
        let all = of(&["*.*"]);
        assert!(covers(&all, &Resource::crds()) && covers(&all, &widgets));
    }

    #[test]
    fn configs_that_kube_apiserver_rejects_are_rejected() {
        let with = |providers| Encryption {
            resources: vec!["secrets".into()],
            providers,
        };
        let kms = |name: &str| Provider::kms(name, "/nowhere");
        assert!(validate(&with(vec![kms("a"), kms("b"), Provider::Identity])).is_ok());
        for wrong in [
            with(vec![]),
            with(vec![kms("a:b")]),
            with(vec![kms("")]),
            with(vec![kms("a"), Provider::Identity, kms("a")]),
            Encryption {
                resources: vec!["Secrets".into()],
                ..with(vec![kms("a")])
            },
        ] {
            assert!(validate(&wrong).is_err(), "{wrong:?}");
        }
    }
}
