//! Accounts for every use of the key: what the plugins counted, what the emulator's audit trail has
//! of it, and the DEK sources in etcd.

use std::collections::BTreeSet;

use kmslab_emulator_api::{AuditEvent, AuditQuery, KeyUse};

use super::plugin::Counts;
use super::{Deployment, Environment};
use crate::cloud::{Cloud, CloudKind};
use crate::etcd::value::{Value as StoredValue, recognise};

/// Successful uses of the keys of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct KeyUses {
    /// Successful requests to encrypt that the plugins counted, their probes included.
    pub encrypts: u64,
    /// Successful requests to decrypt that the plugins counted, their probes included.
    pub decrypts: u64,
    /// Requests to encrypt in the audit trail.
    pub audited_encrypts: u64,
    /// Requests to decrypt in the audit trail.
    pub audited_decrypts: u64,
    /// Decrypted ciphertexts that no request of the plugins in the audit trail made.
    pub foreign_decrypts: u64,
    /// Different DEK sources in etcd.
    pub dek_sources: u64,
    /// DEK sources in etcd that no request of the plugins in the audit trail made.
    pub foreign_dek_sources: u64,
    /// Events that the emulator does not keep any more.
    #[serde(skip)]
    pub lost: u64,
}

impl KeyUses {
    /// What is not accounted for; `None` if everything is. With `may_exceed` the trail may have more
    /// than the plugins counted: they count responses, which faults cut off, and a lab's plugin may
    /// have been restarted.
    pub(super) fn missing(&self, may_exceed: bool) -> Option<String> {
        let Self {
            encrypts,
            decrypts,
            audited_encrypts,
            audited_decrypts,
            foreign_decrypts,
            dek_sources,
            foreign_dek_sources,
            lost,
        } = *self;
        if lost > 0 {
            return Some(format!(
                "the emulator's audit trail does not keep {lost} events of this run any more: start the emulator with a larger --audit-events"
            ));
        }
        let differs = |counted: u64, audited: u64| match may_exceed {
            true => counted > audited,
            false => counted != audited,
        };
        if differs(encrypts, audited_encrypts) || differs(decrypts, audited_decrypts) {
            return Some(format!(
                "the plugin counted {encrypts} encrypts and {decrypts} decrypts, and the emulator's audit trail has {audited_encrypts} and {audited_decrypts}"
            ));
        }
        if foreign_decrypts > 0 {
            return Some(format!(
                "{foreign_decrypts} of {decrypts} decrypts were of ciphertexts that the plugin did not make"
            ));
        }
        (foreign_dek_sources > 0).then(|| {
            format!(
                "{foreign_dek_sources} of {dek_sources} DEK sources in etcd were not made by the plugin, as the emulator's audit trail has it"
            )
        })
    }
}

/// A plugin's successful uses of its key in the audit trail.
#[derive(Debug, Default)]
struct Audited {
    encrypts: u64,
    decrypts: u64,
    /// Fingerprints of the ciphertexts that it made and decrypted.
    made: BTreeSet<String>,
    decrypted: Vec<String>,
    lost: u64,
}

impl Environment {
    /// Compares the uses of the keys since the environment began.
    pub(super) async fn key_uses(&self, counted: Counts) -> anyhow::Result<KeyUses> {
        let mut audited = Audited::default();
        audited.read(&*self.cloud, self.baseline.sequence).await?;
        if let Some(Deployment { cloud, .. }) = &self.target {
            audited.read(&**cloud, self.baseline.sequence).await?;
        }
        let sources = self.dek_sources().await?;
        // What was made before this run may be known to an earlier one only.
        let is_foreign = |made: &String| !self.stays() && !audited.made.contains(made);
        Ok(KeyUses {
            encrypts: counted.encrypts,
            decrypts: counted.decrypts,
            audited_encrypts: audited.encrypts,
            audited_decrypts: audited.decrypts,
            foreign_decrypts: count(audited.decrypted.iter().filter(|made| is_foreign(made))),
            dek_sources: sources.len() as u64,
            foreign_dek_sources: count(sources.iter().filter(|made| is_foreign(made))),
            lost: audited.lost,
        })
    }

    /// Fingerprints of the DEK sources in etcd, as the audit trail has those of ciphertexts.
    async fn dek_sources(&self) -> anyhow::Result<BTreeSet<String>> {
        let etcd = self.cluster.etcd();
        let mut sources = BTreeSet::new();
        for resource in Self::resources() {
            for stored in etcd.range(&resource.etcd_prefix()).await?.items {
                if let StoredValue::KmsV2 { object, .. } = recognise(&stored.value) {
                    sources.insert(KeyUse::fingerprint(&object.encrypted_dek_source));
                }
            }
        }
        Ok(sources)
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u64 {
    items.count() as u64
}

impl Audited {
    async fn read(&mut self, cloud: &dyn Cloud, since: u64) -> anyhow::Result<()> {
        let mut query = AuditQuery {
            since,
            limit: Some(10_000),
            cloud: Some(cloud.kind().emulated()),
            caller: Some(cloud.plugin_caller().to_owned()),
            code: Some("OK".to_owned()),
            ..AuditQuery::default()
        };
        loop {
            let page = cloud.admin().audit(&query).await?;
            self.lost += page.lost;
            for event in &page.events {
                self.add(cloud.kind(), event);
            }
            if !page.more {
                return Ok(());
            }
            query.since = page.next;
        }
    }

    fn add(&mut self, cloud: CloudKind, event: &AuditEvent) {
        let (encrypts, decrypts): (&[&str], &[&str]) = match cloud {
            CloudKind::Aws | CloudKind::Gcp => (&["Encrypt"], &["Decrypt"]),
            CloudKind::Azure => (&["KeyEncrypt", "KeyWrap"], &["KeyDecrypt", "KeyUnwrap"]),
        };
        let ciphertexts = event.keys.iter().filter_map(|used| used.ciphertext.clone());
        if encrypts.contains(&event.operation.as_str()) {
            self.encrypts += 1;
            self.made.extend(ciphertexts);
        } else if decrypts.contains(&event.operation.as_str()) {
            self.decrypts += 1;
            self.decrypted.extend(ciphertexts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unaccounted_uses_are_described() {
        let fine = KeyUses {
            encrypts: 3,
            decrypts: 2,
            audited_encrypts: 3,
            audited_decrypts: 2,
            dek_sources: 1,
            ..KeyUses::default()
        };
        assert_eq!(fine.missing(false), None);
        for (uses, part) in [
            (KeyUses { lost: 7, ..fine }, "does not keep 7 events"),
            (
                KeyUses {
                    audited_encrypts: 4,
                    ..fine
                },
                "counted 3 encrypts and 2 decrypts, and the emulator's audit trail has 4 and 2",
            ),
            (
                KeyUses {
                    foreign_decrypts: 1,
                    ..fine
                },
                "1 of 2 decrypts were of ciphertexts that the plugin did not make",
            ),
            (
                KeyUses {
                    foreign_dek_sources: 1,
                    ..fine
                },
                "1 of 1 DEK sources in etcd were not made by the plugin",
            ),
        ] {
            let missing = uses.missing(false).unwrap();
            assert!(missing.contains(part), "{missing}");
        }
        let more = KeyUses {
            audited_decrypts: 3,
            ..fine
        };
        assert_eq!(more.missing(true), None);
        let less = KeyUses {
            audited_decrypts: 1,
            ..fine
        };
        assert!(less.missing(true).is_some());
    }
}
