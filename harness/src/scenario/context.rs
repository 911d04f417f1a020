//! A run of a scenario: its environment, what it has written, and what it has counted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kmslab_keycore::{Entropy, SystemEntropy};
use kmslab_kmsv2::stored::EncryptedObject;
use serde_json::{Value, json};

use super::objects::{self, TestObject};
use super::{Canary, expect, failed_check};
use crate::cloud::Cloud;
use crate::cluster::{Api, ApiError, ObjectRef};
use crate::environment::{Deployment, Environment};
use crate::etcd::Stored;
use crate::etcd::stale::CurrentKey;
use crate::etcd::value::{Value as StoredValue, recognise};
use crate::inspect::decryptor::Decryptors;
use kmslab_emulator_api::{KeyRow, KeyTable};

/// The plugin notices a rotation within its probe interval of 10 s, the API server within another
/// minute.
const ROTATION_TIMEOUT: Duration = Duration::from_secs(90);
const TICK: Duration = Duration::from_secs(1);

/// Counts of a scenario.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Figures {
    /// Values in etcd that were checked.
    pub objects: Option<u64>,
    /// How many of them the scenario did not write.
    pub others: Option<u64>,
    /// Number of versions of the key.
    pub key_versions: Option<u64>,
    /// Number of values not encrypted with the current key when the rewrite started.
    pub stale_before: Option<u64>,
    /// The same when it ended.
    pub stale_after: Option<u64>,
}

/// A run of a scenario.
#[derive(Debug)]
pub struct ScenarioRun {
    /// The environment.
    pub environment: Environment,
    /// The counts.
    pub figures: Figures,
    /// Objects that it has written, in order.
    pub written: Vec<TestObject>,
    /// A canary in an unencrypted resource, which a search must find.
    pub plaintext_canary: Option<Canary>,
    namespaces: Vec<String>,
    entropy: Arc<dyn Entropy>,
}

impl ScenarioRun {
    /// Creates a run.
    pub fn new(environment: Environment) -> Self {
        Self {
            environment,
            figures: Figures::default(),
            written: Vec::new(),
            plaintext_canary: None,
            namespaces: Vec::new(),
            entropy: Arc::new(SystemEntropy),
        }
    }

    /// Generates a canary.
    pub fn canary(&self) -> Canary {
        let mut bytes = [0; 24];
        self.entropy.fill(&mut bytes);
        Canary::new(bytes)
    }

    /// Creates two namespaces for this run, and the custom resource definition if it is missing.
    pub async fn prepare(&mut self, scenario: &str) -> anyhow::Result<()> {
        let mut suffix = [0; 3];
        self.entropy.fill(&mut suffix);
        let api = self.environment.cluster.api();
        let canary = self.canary();
        for letter in ["a", "b"] {
            let name = format!("kmslab-{scenario}-{}-{letter}", hex::encode(suffix));
            api.create(&objects::namespace(&name, &canary))
                .await
                .with_context(|| format!("making namespace {name}"))?;
            self.namespaces.push(name);
        }
        self.plaintext_canary = Some(canary);
        match api.create(&objects::widget_definition()).await {
            Ok(_) => Ok(()),
            Err(ApiError { status: 409, .. }) => Ok(()),
            Err(error) => Err(error).context("making the custom resource widgets.example.com"),
        }
    }

    /// The namespaces of this run.
    pub fn namespaces(&self) -> Vec<String> {
        self.namespaces.clone()
    }

    /// Writes an object through the API.
    pub async fn write(&mut self, object: Value, canary: Canary) -> anyhow::Result<()> {
        let kind = object["kind"].as_str().unwrap_or_default();
        let resource = Environment::resources()
            .into_iter()
            .find(|resource| resource.kind == kind);
        let resource =
            resource.with_context(|| format!("{kind} is none of the encrypted resources"))?;
        let at = ObjectRef::from_object(&resource, &object).context("an object without a name")?;
        let created = self
            .environment
            .cluster
            .api()
            .create(&object)
            .await
            .with_context(|| format!("creating {at}"))?;
        self.written.push(TestObject {
            at,
            canary,
            created,
        });
        Ok(())
    }

    /// Writes a few objects of each resource in each namespace.
    pub async fn write_sample_objects(&mut self) -> anyhow::Result<()> {
        for namespace in self.namespaces() {
            for n in 0..3 {
                let (one, two, three) = (self.canary(), self.canary(), self.canary());
                self.write(
                    objects::secret(&namespace, &format!("secret-{n}"), 32 + n, &one),
                    one,
                )
                .await?;
                self.write(
                    objects::config_map(&namespace, &format!("config-{n}"), 300, &two),
                    two,
                )
                .await?;
                self.write(
                    objects::widget(&namespace, &format!("widget-{n}"), &three),
                    three,
                )
                .await?;
            }
        }
        Ok(())
    }

    /// Returns the stored value of an object.
    pub async fn stored(&self, at: &ObjectRef) -> anyhow::Result<Stored> {
        let key = at.etcd_key();
        self.environment
            .cluster
            .etcd()
            .get(&key)
            .await?
            .with_context(|| format!("etcd has no {key}"))
    }

    /// Returns the stored values of all encrypted resources, whoever wrote them.
    pub async fn values(&self) -> anyhow::Result<Vec<Stored>> {
        let etcd = self.environment.cluster.etcd();
        let mut all = Vec::new();
        for resource in Environment::resources() {
            all.extend(etcd.range(&resource.etcd_prefix()).await?.items);
        }
        Ok(all)
    }

    /// Lists all objects of the encrypted resources through the API.
    pub async fn list_objects(&self) -> anyhow::Result<Vec<(ObjectRef, Value)>> {
        let api = self.environment.cluster.api();
        let mut all = Vec::new();
        for resource in Environment::resources() {
            let items = api
                .list(&resource, None)
                .await
                .with_context(|| format!("listing {}", resource.plural))?;
            all.extend(
                items.into_iter().filter_map(|object| {
                    Some((ObjectRef::from_object(&resource, &object)?, object))
                }),
            );
        }
        Ok(all)
    }

    /// Returns the emulator's key table and updates the counts.
    pub async fn key_table(&mut self) -> anyhow::Result<KeyTable> {
        let mut table = self.environment.cloud.key_table().await?;
        table
            .rows
            .retain(|row| row.key == self.environment.cloud.key());
        let row = table
            .rows
            .first()
            .context("the emulator does not know the lab's key any more")?;
        self.figures.key_versions = Some(row.versions.len() as u64);
        Ok(table)
    }

    /// Returns what values must have to be current, by the plugin's Status and by the cloud. The
    /// cloud tells which DEK sources of `values` its current version encrypted.
    pub async fn current_key(&mut self, values: &[Stored]) -> anyhow::Result<CurrentKey> {
        self.key_table().await?;
        current_key_of(&self.environment.source(), values).await
    }

    /// Lets time pass until every API server encrypts with another key_id than `old`.
    pub async fn wait_for_new_key_id(&mut self, old: &str) -> anyhow::Result<()> {
        let namespace = self
            .namespaces
            .first()
            .cloned()
            .context("the scenario was not prepared")?;
        let canary = self.canary();
        self.write(
            objects::secret(&namespace, "under-the-new-key", 32, &canary),
            canary,
        )
        .await?;
        let cluster = Arc::clone(&self.environment.cluster);
        let mut waited = Duration::ZERO;
        for (server, api) in cluster.apis().iter().enumerate() {
            self.wait_for_new_key_id_on(old, server, &**api, &mut waited)
                .await?;
        }
        Ok(())
    }

    /// Rewrites the latest object through one API server until it has another key_id.
    async fn wait_for_new_key_id_on(
        &mut self,
        old: &str,
        server: usize,
        api: &dyn Api,
        waited: &mut Duration,
    ) -> anyhow::Result<()> {
        let cluster = Arc::clone(&self.environment.cluster);
        let at = self
            .written
            .last()
            .map(|object| object.at.clone())
            .context("the object was not written")?;
        loop {
            let mut object = api
                .get(&at)
                .await
                .with_context(|| format!("reading {at}"))?;
            // A different label each time: a write that changes nothing keeps the value of the last
            // server.
            object["metadata"]["labels"] =
                json!({ "written-after": format!("{}s-by-{server}", waited.as_secs()) });
            let replaced = api
                .replace(&object)
                .await
                .with_context(|| format!("rewriting {at}"))?;
            if let Some(object) = self.written.last_mut() {
                object.created = replaced;
            }
            let written = kms_v2_key_id(&self.stored(&at).await?);
            if written.as_deref().is_some_and(|id| id != old) {
                return Ok(());
            }
            if *waited >= ROTATION_TIMEOUT {
                let expected = format!(
                    "a write under another key_id than {old} within {} s",
                    ROTATION_TIMEOUT.as_secs()
                );
                return Err(failed_check(
                    expected,
                    format!("the latest write is under {}", written.unwrap_or_default()),
                ));
            }
            // The check calls the plugin's Status, as a load balancer's probe of /readyz does.
            let _ = cluster.health("/readyz/kms-providers").await;
            cluster.advance_time(TICK).await;
            *waited += TICK;
        }
    }

    /// Fails unless every object of this run reads as it was written.
    pub async fn ensure_all_readable(&self) -> anyhow::Result<()> {
        let api = self.environment.cluster.api();
        for TestObject { at, created, .. } in &self.written {
            let read = api.get(at).await.with_context(|| format!("reading {at}"))?;
            if objects::content(&read) != objects::content(created) {
                return Err(failed_check(
                    format!("{at} as it was written"),
                    "another content",
                ));
            }
        }
        Ok(())
    }

    /// Deletes what it wrote, in a lab that stays. Missing objects are ignored.
    pub async fn clean_up(&mut self) -> anyhow::Result<()> {
        let api = self.environment.cluster.api();
        let namespaces = self
            .namespaces
            .drain(..)
            .map(|name| ObjectRef::new(crate::cluster::Resource::namespaces(), None, &name));
        for at in self
            .written
            .drain(..)
            .map(|object| object.at)
            .chain(namespaces)
        {
            match api.delete(&at).await {
                Ok(()) | Err(ApiError { status: 404, .. }) => {}
                Err(error) => return Err(error).with_context(|| format!("deleting {at}")),
            }
        }
        Ok(())
    }
}

/// The same for one of two keys.
pub(crate) async fn current_key_of(
    deployment: &Deployment,
    values: &[Stored],
) -> anyhow::Result<CurrentKey> {
    let Deployment {
        cloud,
        plugin,
        provider,
    } = deployment;
    let table = cloud.key_table().await?;
    let row = table.rows.iter().find(|row| row.key == cloud.key());
    let row =
        row.with_context(|| format!("the emulator does not know {} any more", cloud.key()))?;
    let sources = Some(current_dek_sources(&**cloud, row, values).await?);
    Ok(CurrentKey {
        provider: provider.clone(),
        key_id: Some(plugin.key_id().await?),
        blob_id: None,
        sources,
    })
}

/// The DEK sources in `values` that a key's current version encrypted.
async fn current_dek_sources(
    cloud: &dyn Cloud,
    row: &KeyRow,
    values: &[Stored],
) -> anyhow::Result<BTreeSet<Vec<u8>>> {
    let sources: BTreeSet<Vec<u8>> = values
        .iter()
        .filter_map(|stored| match recognise(&stored.value) {
            StoredValue::KmsV2 { object, .. } => Some(object.encrypted_dek_source),
            _ => None,
        })
        .collect();
    let mut current = BTreeSet::new();
    for source in sources {
        if cloud.encrypting_version(&source, row).await? == Some(row.primary) {
            current.insert(source);
        }
    }
    Ok(current)
}

/// Decodes a value that a KMS v2 plugin must have encrypted.
pub(crate) fn decode_kms_v2(stored: &Stored) -> anyhow::Result<EncryptedObject> {
    match recognise(&stored.value) {
        StoredValue::KmsV2 { object, .. } => Ok(*object),
        other => Err(failed_check(
            format!("{} encrypted by KMS v2", stored.key),
            other.format().to_string(),
        )),
    }
}

/// Decrypts a value with a cloud's SDK only and checks its content.
pub(crate) async fn ensure_decrypts(
    decryptors: &mut Decryptors,
    stored: &Stored,
    object: &TestObject,
) -> anyhow::Result<()> {
    let encrypted = decode_kms_v2(stored)?;
    let plaintext = decryptors
        .decrypt(&encrypted, stored.key.as_bytes())
        .await
        .map_err(anyhow::Error::msg);
    let plaintext =
        plaintext.with_context(|| format!("decrypting {} with the SDK alone", stored.key))?;
    let found = object.canary.find_in(&plaintext).is_some();
    expect(
        found,
        || format!("the content of {} in its plaintext", object.at),
        || "none of it".into(),
    )
}

/// The key_id of a KMS v2 value.
pub fn kms_v2_key_id(stored: &Stored) -> Option<String> {
    match recognise(&stored.value) {
        StoredValue::KmsV2 { object, .. } => Some(object.key_id),
        _ => None,
    }
}
