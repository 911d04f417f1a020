//! One playing of a scenario: its world, what it has written so far, what it has counted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kmslab_keycore::{Entropy, SystemEntropy};
use kmslab_kmsv2::stored::EncryptedObject;
use serde_json::{Value, json};

use super::objects::{self, Planted};
use super::{Canary, expect, unmet};
use crate::cloud::Cloud;
use crate::cluster::{Api, ApiError, ObjectRef};
use crate::etcd::keytable::{KeyRow, KeyTable};
use crate::etcd::stale::CurrentKey;
use crate::etcd::value::{Value as StoredValue, recognise};
use crate::etcd::{Snapshot, Stored};
use crate::inspect::opener::Openers;
use crate::world::{Side, World};

/// A rotation is noticed by the plugin within its probe interval, 10 s, and by the API server
/// within a minute of that.
const NOTICED_WITHIN: Duration = Duration::from_secs(90);
const TICK: Duration = Duration::from_secs(1);

/// What a scenario counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Figures {
    /// Values in etcd that were looked at.
    pub objects: Option<u64>,
    /// Those of them that the scenario did not write: what the cluster or its users had there
    /// before.
    pub others: Option<u64>,
    /// Versions that the key has had.
    pub key_versions: Option<u64>,
    /// Values that were not under the current key when the rewrite began.
    pub stale_before: Option<u64>,
    /// And when it had ended.
    pub stale_after: Option<u64>,
}

/// One playing of a scenario.
#[derive(Debug)]
pub struct Play {
    /// Where it plays.
    pub world: World,
    /// What it counted.
    pub figures: Figures,
    /// What it has written, in order.
    pub planted: Vec<Planted>,
    /// What it has overwritten or deleted: only the history of the store still has it.
    pub gone: Vec<Planted>,
    /// A copy of the store, history included.
    pub stolen: Snapshot,
    /// A canary in a resource that is not encrypted, which a search must find.
    pub in_clear: Option<Canary>,
    /// The key_id before the rotation.
    pub old_key_id: String,
    /// What is still to be re-encrypted.
    pub todo: Vec<ObjectRef>,
    /// Objects and their content before a rewrite.
    pub before: Vec<(ObjectRef, String)>,
    namespaces: Vec<String>,
    entropy: Arc<dyn Entropy>,
}

impl Play {
    /// A new one.
    pub fn new(world: World) -> Self {
        Self {
            world,
            figures: Figures::default(),
            planted: Vec::new(),
            gone: Vec::new(),
            stolen: Snapshot::default(),
            in_clear: None,
            old_key_id: String::new(),
            todo: Vec::new(),
            before: Vec::new(),
            namespaces: Vec::new(),
            entropy: Arc::new(SystemEntropy),
        }
    }

    /// A canary that nobody has seen.
    pub fn canary(&self) -> Canary {
        let mut bytes = [0; 24];
        self.entropy.fill(&mut bytes);
        Canary::new(bytes)
    }

    /// Makes two namespaces of this playing's own, and the custom resource where it is missing.
    pub async fn prepare(&mut self, scenario: &str) -> anyhow::Result<()> {
        let mut suffix = [0; 3];
        self.entropy.fill(&mut suffix);
        let api = self.world.cluster.api();
        let canary = self.canary();
        for letter in ["a", "b"] {
            let name = format!("kmslab-{scenario}-{}-{letter}", hex::encode(suffix));
            api.create(&objects::namespace(&name, &canary))
                .await
                .with_context(|| format!("making namespace {name}"))?;
            self.namespaces.push(name);
        }
        self.in_clear = Some(canary);
        match api.create(&objects::widget_definition()).await {
            Ok(_) => Ok(()),
            Err(ApiError { status: 409, .. }) => Ok(()),
            Err(error) => Err(error).context("making the custom resource widgets.example.com"),
        }
    }

    /// The namespaces of this playing.
    pub fn namespaces(&self) -> Vec<String> {
        self.namespaces.clone()
    }

    /// Writes an object through the API.
    pub async fn plant(&mut self, object: Value, canary: Canary) -> anyhow::Result<()> {
        let kind = object["kind"].as_str().unwrap_or_default();
        let resource = World::resources()
            .into_iter()
            .find(|resource| resource.kind == kind);
        let resource =
            resource.with_context(|| format!("{kind} is none of the encrypted resources"))?;
        let at = ObjectRef::of(&resource, &object).context("an object without a name")?;
        let created = self
            .world
            .cluster
            .api()
            .create(&object)
            .await
            .with_context(|| format!("creating {at}"))?;
        self.planted.push(Planted {
            at,
            canary,
            created,
        });
        Ok(())
    }

    /// A few objects of each resource in each namespace.
    pub async fn plant_some(&mut self) -> anyhow::Result<()> {
        for namespace in self.namespaces() {
            for n in 0..3 {
                let (one, two, three) = (self.canary(), self.canary(), self.canary());
                self.plant(
                    objects::secret(&namespace, &format!("secret-{n}"), 32 + n, &one),
                    one,
                )
                .await?;
                self.plant(
                    objects::config_map(&namespace, &format!("config-{n}"), 300, &two),
                    two,
                )
                .await?;
                self.plant(
                    objects::widget(&namespace, &format!("widget-{n}"), &three),
                    three,
                )
                .await?;
            }
        }
        Ok(())
    }

    /// What etcd holds of an object.
    pub async fn stored(&self, at: &ObjectRef) -> anyhow::Result<Stored> {
        let key = at.etcd_key();
        self.world
            .cluster
            .etcd()
            .get(&key)
            .await?
            .with_context(|| format!("etcd has no {key}"))
    }

    /// What etcd holds of all encrypted resources, of whomever.
    pub async fn values(&self) -> anyhow::Result<Vec<Stored>> {
        let etcd = self.world.cluster.etcd();
        let mut all = Vec::new();
        for resource in World::resources() {
            all.extend(etcd.range(&resource.etcd_prefix()).await?.items);
        }
        Ok(all)
    }

    /// All objects of the encrypted resources, as the API lists them.
    pub async fn listed(&self) -> anyhow::Result<Vec<(ObjectRef, Value)>> {
        let api = self.world.cluster.api();
        let mut all = Vec::new();
        for resource in World::resources() {
            let items = api
                .list(&resource, None)
                .await
                .with_context(|| format!("listing {}", resource.plural))?;
            all.extend(
                items
                    .into_iter()
                    .filter_map(|object| Some((ObjectRef::of(&resource, &object)?, object))),
            );
        }
        Ok(all)
    }

    /// The row of our key in the emulator's table, and the figure that comes of it.
    pub async fn key_table(&mut self) -> anyhow::Result<KeyTable> {
        let mut table = self.world.cloud.key_table().await?;
        table.rows.retain(|row| row.key == self.world.cloud.key());
        let row = table
            .rows
            .first()
            .context("the emulator does not know the lab's key any more")?;
        self.figures.key_versions = Some(row.versions.len() as u64);
        Ok(table)
    }

    /// What a value must show to be under the current key: by the plugin's word and by the cloud's.
    /// The cloud says which of the DEK sources of `values` it sealed with the current version.
    pub async fn current(&mut self, values: &[Stored]) -> anyhow::Result<CurrentKey> {
        self.key_table().await?;
        current_of(&self.world.source(), values).await
    }

    /// Lets time pass until every API server writes under another key_id than `old`.
    pub async fn until_written_under_another(&mut self, old: &str) -> anyhow::Result<()> {
        let namespace = self
            .namespaces
            .first()
            .cloned()
            .context("the scenario was not prepared")?;
        let canary = self.canary();
        self.plant(
            objects::secret(&namespace, "under-the-new-key", 32, &canary),
            canary,
        )
        .await?;
        let cluster = Arc::clone(&self.world.cluster);
        let mut waited = Duration::ZERO;
        for (server, api) in cluster.apis().iter().enumerate() {
            self.until_one_writes_under_another(old, server, &**api, &mut waited)
                .await?;
        }
        Ok(())
    }

    /// Writes the latest object through one API server until it is under another key_id.
    async fn until_one_writes_under_another(
        &mut self,
        old: &str,
        server: usize,
        api: &dyn Api,
        waited: &mut Duration,
    ) -> anyhow::Result<()> {
        let cluster = Arc::clone(&self.world.cluster);
        let at = self
            .planted
            .last()
            .map(|planted| planted.at.clone())
            .context("the object was not written")?;
        loop {
            let mut object = api
                .get(&at)
                .await
                .with_context(|| format!("reading {at}"))?;
            // Another text each time: a write that changes nothing leaves what the last server
            // wrote.
            object["metadata"]["labels"] =
                json!({ "written-after": format!("{}s-by-{server}", waited.as_secs()) });
            let replaced = api
                .replace(&object)
                .await
                .with_context(|| format!("writing {at} anew"))?;
            if let Some(planted) = self.planted.last_mut() {
                planted.created = replaced;
            }
            let written = key_id_of(&self.stored(&at).await?);
            if written.as_deref().is_some_and(|id| id != old) {
                return Ok(());
            }
            if *waited >= NOTICED_WITHIN {
                let expected = format!(
                    "a write under another key_id than {old} within {} s",
                    NOTICED_WITHIN.as_secs()
                );
                return Err(unmet(
                    expected,
                    format!("the latest write is under {}", written.unwrap_or_default()),
                ));
            }
            // The check asks the plugin for its Status, as a load balancer's probe of /readyz does.
            let _ = cluster.health("/readyz/kms-providers").await;
            cluster.pass(TICK).await;
            *waited += TICK;
        }
    }

    /// Every object that this playing wrote still reads as it was written.
    pub async fn all_read_back(&self) -> anyhow::Result<()> {
        let api = self.world.cluster.api();
        for Planted { at, created, .. } in &self.planted {
            let read = api.get(at).await.with_context(|| format!("reading {at}"))?;
            if objects::content(&read) != objects::content(created) {
                return Err(unmet(format!("{at} as it was written"), "another content"));
            }
        }
        Ok(())
    }

    /// Deletes what it wrote, in a lab that stays. What is already gone is no error.
    pub async fn tidy(&mut self) -> anyhow::Result<()> {
        let api = self.world.cluster.api();
        let namespaces = self
            .namespaces
            .drain(..)
            .map(|name| ObjectRef::new(crate::cluster::Resource::namespaces(), None, &name));
        for at in self
            .planted
            .drain(..)
            .map(|planted| planted.at)
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
pub(super) async fn current_of(side: &Side, values: &[Stored]) -> anyhow::Result<CurrentKey> {
    let Side {
        cloud,
        plugin,
        provider,
    } = side;
    let table = cloud.key_table().await?;
    let row = table.rows.iter().find(|row| row.key == cloud.key());
    let row =
        row.with_context(|| format!("the emulator does not know {} any more", cloud.key()))?;
    let sources = Some(sealed_by(&**cloud, row, values).await?);
    Ok(CurrentKey {
        provider: provider.clone(),
        key_id: Some(plugin.key_id().await?),
        blob_id: None,
        sources,
    })
}

/// The DEK sources among `values` that the current version of a key has sealed.
async fn sealed_by(
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
        if cloud.sealed_by(&source, row).await? == Some(row.primary) {
            current.insert(source);
        }
    }
    Ok(current)
}

/// What a value holds that must be encrypted by a KMS v2 plugin.
pub(super) fn encrypted(stored: &Stored) -> anyhow::Result<EncryptedObject> {
    match recognise(&stored.value) {
        StoredValue::KmsV2 { object, .. } => Ok(*object),
        other => Err(unmet(
            format!("{} encrypted by KMS v2", stored.key),
            other.format().to_string(),
        )),
    }
}

/// Decrypts a value with a cloud's SDK alone, and finds in it what was written.
pub(super) async fn opens(
    openers: &mut Openers,
    stored: &Stored,
    planted: &Planted,
) -> anyhow::Result<()> {
    let object = encrypted(stored)?;
    let plaintext = openers
        .open(&object, stored.key.as_bytes())
        .await
        .map_err(anyhow::Error::msg);
    let plaintext =
        plaintext.with_context(|| format!("decrypting {} with the SDK alone", stored.key))?;
    let found = planted.canary.find_in(&plaintext).is_some();
    expect(
        found,
        || format!("the content of {} in its plaintext", planted.at),
        || "none of it".into(),
    )
}

/// The key_id of a value that a KMS v2 plugin's key sealed.
pub fn key_id_of(stored: &Stored) -> Option<String> {
    match recognise(&stored.value) {
        StoredValue::KmsV2 { object, .. } => Some(object.key_id),
        _ => None,
    }
}
