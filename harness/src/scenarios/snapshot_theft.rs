//! A stolen etcd snapshot contains every value and its history, but reveals no plaintext without
//! the cloud's key.

use std::collections::BTreeMap;

use anyhow::Context;
use futures::FutureExt;

use super::encrypt::ensure_no_plaintext;
use crate::cluster::{ClusterKind, ObjectRef};
use crate::etcd::{Snapshot, Stored};
use crate::inspect::decryptor::Decryptors;
use crate::scenario::objects::{self, TestObject};
use crate::scenario::{Scenario, ScenarioRun, Step, expect, start};
use crate::scenario::{decode_kms_v2, kms_v2_key_id};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "snapshot-theft",
    shows: "a stolen snapshot of etcd reveals nothing without the cloud's key, not even old and deleted values, and everything with it",
    source: "Kubernetes docs, Encrypting Confidential Data at Rest: a compromised etcd or its backups",
    clusters: &[
        ClusterKind::Embedded,
        ClusterKind::Apiserver,
        ClusterKind::Kind,
    ],
    second_cloud: false,
    start: || start(STEPS),
};

const STEPS: &[Step<SnapshotTheft>] = &[
    Step {
        name: "write",
        does: "write objects, overwrite one, delete one",
        run: |state, run| state.write(run).boxed(),
    },
    Step {
        name: "steal",
        does: "take a snapshot of etcd with its history",
        run: |state, run| state.take_snapshot(run).boxed(),
    },
    Step {
        name: "search",
        does: "search it for plaintext",
        run: |state, run| state.search(run).boxed(),
    },
    Step {
        name: "as-a-stranger",
        does: "try to decrypt it with the vendor's SDK, as a caller without permission on the key",
        run: |state, run| state.decrypt_unauthorized(run).boxed(),
    },
    Step {
        name: "with-the-key-disabled",
        does: "disable the key, and try to decrypt as its operator",
        run: |state, run| state.decrypt_with_key_disabled(run).boxed(),
    },
    Step {
        name: "with-the-key",
        does: "enable the key, and decrypt everything as its operator, including old and deleted values",
        run: |state, run| state.decrypt_with_key(run).boxed(),
    },
];

#[derive(Default)]
struct SnapshotTheft {
    /// Objects that were overwritten or deleted: only the store's history still contains them.
    deleted: Vec<TestObject>,
    /// The store with its history.
    snapshot: Snapshot,
}

impl SnapshotTheft {
    async fn write(&mut self, run: &mut ScenarioRun) -> anyhow::Result<()> {
        run.prepare("theft").await?;
        run.write_sample_objects().await?;
        let namespace = run
            .namespaces()
            .into_iter()
            .next()
            .context("the scenario was not prepared")?;
        for name in ["overwritten", "deleted"] {
            let canary = run.canary();
            run.write(objects::secret(&namespace, name, 64, &canary), canary)
                .await?;
        }
        let api = run.environment.cluster.api();
        let deleted = run.written.pop().context("nothing was written")?;
        api.delete(&deleted.at)
            .await
            .with_context(|| format!("deleting {}", deleted.at))?;
        let old = run.written.pop().context("nothing was written")?;
        let canary = run.canary();
        let object = objects::secret(&namespace, "overwritten", 64, &canary);
        let created = api
            .replace(&object)
            .await
            .with_context(|| format!("overwriting {}", old.at))?;
        run.written.push(TestObject {
            at: old.at.clone(),
            canary,
            created,
        });
        self.deleted = vec![old, deleted];
        Ok(())
    }

    async fn take_snapshot(&mut self, run: &mut ScenarioRun) -> anyhow::Result<()> {
        self.snapshot = run.environment.cluster.etcd().snapshot().await?;
        let written: BTreeMap<&ObjectRef, usize> =
            run.written
                .iter()
                .chain(&self.deleted)
                .fold(BTreeMap::new(), |mut counts, object| {
                    *counts.entry(&object.at).or_default() += 1;
                    counts
                });
        for (at, times) in written {
            let found = self.values(at).len();
            expect(
                found >= times,
                || format!("{times} values of {at} in the snapshot"),
                || found.to_string(),
            )?;
        }
        let current = run.environment.plugin.key_id().await?;
        for object in &run.written {
            let key_id = self
                .values(&object.at)
                .last()
                .copied()
                .and_then(kms_v2_key_id)
                .unwrap_or_default();
            expect(
                key_id == current,
                || format!("{} under the plugin's key_id {current}", object.at),
                || key_id.clone(),
            )?;
        }
        Ok(())
    }

    /// All values of an object in the snapshot, oldest first.
    fn values(&self, at: &ObjectRef) -> Vec<&Stored> {
        let key = at.etcd_key();
        let records = self
            .snapshot
            .history
            .records
            .iter()
            .filter(|record| !record.deleted && record.stored.key == key);
        records.map(|record| &record.stored).collect()
    }

    async fn search(&self, run: &mut ScenarioRun) -> anyhow::Result<()> {
        let all: Vec<&TestObject> = run.written.iter().chain(&self.deleted).collect();
        ensure_no_plaintext(run, &self.snapshot.database, &all)
    }

    async fn decrypt_unauthorized(&self, run: &mut ScenarioRun) -> anyhow::Result<()> {
        let mut stranger = run.environment.cloud.unauthorized_decryptors().await?;
        self.ensure_nothing_decrypts(run, &mut stranger).await
    }

    async fn decrypt_with_key_disabled(&self, run: &mut ScenarioRun) -> anyhow::Result<()> {
        run.environment.cloud.disable().await?;
        let tried = self
            .ensure_nothing_decrypts(run, &mut run.environment.cloud.decryptors())
            .await;
        // In a lab that stays, the key must be enabled again whatever happened.
        run.environment.cloud.enable().await?;
        tried?;
        run.environment.cluster.wait_until_ready().await
    }

    async fn ensure_nothing_decrypts(
        &self,
        run: &ScenarioRun,
        decryptors: &mut Decryptors,
    ) -> anyhow::Result<()> {
        for object in run.written.iter().chain(&self.deleted) {
            for stored in self.values(&object.at) {
                let decrypted = try_decrypt(stored, decryptors).await?;
                expect(
                    decrypted.is_err(),
                    || format!("{} to stay encrypted", stored.key),
                    || "it was decrypted".into(),
                )?;
            }
        }
        Ok(())
    }

    async fn decrypt_with_key(&self, run: &mut ScenarioRun) -> anyhow::Result<()> {
        let mut decryptors = run.environment.cloud.decryptors();
        let mut decrypted = 0;
        for object in run.written.iter().chain(&self.deleted) {
            let mut found = false;
            for stored in self.values(&object.at) {
                let plaintext = try_decrypt(stored, &mut decryptors)
                    .await?
                    .map_err(anyhow::Error::msg);
                let plaintext = plaintext.with_context(|| format!("decrypting {}", stored.key))?;
                found |= object.canary.find_in(&plaintext).is_some();
                decrypted += 1;
            }
            expect(
                found,
                || format!("the content of {} in the snapshot", object.at),
                || "none of it".into(),
            )?;
        }
        run.figures.objects = Some(decrypted);
        run.key_table().await?;
        Ok(())
    }
}

/// The plaintext, or the cloud's error.
async fn try_decrypt(
    stored: &Stored,
    decryptors: &mut Decryptors,
) -> anyhow::Result<Result<Vec<u8>, String>> {
    let object = decode_kms_v2(stored)?;
    Ok(decryptors
        .decrypt(&object, stored.key.as_bytes())
        .await
        .map(|plaintext| plaintext.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assets::NoProgress;
    use crate::cloud::CloudKind;
    use crate::environment::{Environment, EnvironmentSpec};

    #[tokio::test]
    async fn publicly_usable_key_is_detected() {
        let environment = Environment::start(
            &EnvironmentSpec::new(CloudKind::Aws, ClusterKind::Embedded),
            &NoProgress,
        )
        .await
        .unwrap();
        let mut run = ScenarioRun::new(environment.clone());
        let mut theft = SnapshotTheft::default();
        theft.write(&mut run).await.unwrap();
        theft.take_snapshot(&mut run).await.unwrap();
        let error = theft
            .ensure_nothing_decrypts(&run, &mut environment.cloud.decryptors())
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("to stay encrypted; saw it was decrypted"),
            "{error}"
        );
        // Deleted objects are only in the snapshot.
        let deleted = theft.deleted.pop().unwrap().at;
        assert_eq!(theft.values(&deleted).len(), 1);
        assert!(run.stored(&deleted).await.is_err());
        environment.shutdown().await.unwrap();
    }
}
