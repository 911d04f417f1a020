//! After a rotation in the cloud, new writes use the new version, and old values can still be read.

use anyhow::Context;
use futures::FutureExt;

use crate::cluster::{ClusterKind, ObjectRef};
use crate::scenario::decode_kms_v2;
use crate::scenario::{Scenario, ScenarioRun, Step, expect, start};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "rotate",
    shows: "after a rotation of the cloud key, new writes use it without a restart, and old values can be read",
    source: "KEP-3299, KMS v2 improvements: rotation by key_id",
    clusters: &[
        ClusterKind::Embedded,
        ClusterKind::Apiserver,
        ClusterKind::Kind,
    ],
    second_cloud: false,
    start: || start(STEPS),
};

const STEPS: &[Step<Rotate>] = &[
    Step {
        name: "write",
        does: "write objects under the current version",
        run: |_, run| write(run).boxed(),
    },
    Step {
        name: "rotate",
        does: "rotate the key through the vendor's API",
        run: |state, run| state.rotate(run).boxed(),
    },
    Step {
        name: "notice",
        does: "wait until the API server writes under the new version",
        run: |state, run| state.wait(run).boxed(),
    },
    Step {
        name: "compare",
        does: "check which version encrypted each value",
        run: |state, run| state.compare(run).boxed(),
    },
    Step {
        name: "read-back",
        does: "read everything through the API",
        run: |_, run| run.ensure_all_readable().boxed(),
    },
];

async fn write(run: &mut ScenarioRun) -> anyhow::Result<()> {
    run.prepare("rotate").await?;
    run.write_sample_objects().await?;
    run.figures.objects = Some(run.written.len() as u64);
    Ok(())
}

/// Rotates the key; returns the key_id before.
pub(super) async fn rotate(run: &mut ScenarioRun) -> anyhow::Result<String> {
    let old_key_id = run.environment.plugin.key_id().await?;
    let before = versions(run).await?;
    run.environment.cloud.rotate().await?;
    let after = versions(run).await?;
    expect(
        after == before + 1,
        || format!("{} versions of the key", before + 1),
        || after.to_string(),
    )?;
    Ok(old_key_id)
}

async fn versions(run: &mut ScenarioRun) -> anyhow::Result<u64> {
    run.key_table().await?;
    run.figures.key_versions.context("the key has no versions")
}

#[derive(Default)]
struct Rotate {
    /// The key_id before the rotation.
    old_key_id: String,
}

impl Rotate {
    async fn rotate(&mut self, run: &mut ScenarioRun) -> anyhow::Result<()> {
        self.old_key_id = rotate(run).await?;
        Ok(())
    }

    async fn wait(&self, run: &mut ScenarioRun) -> anyhow::Result<()> {
        run.wait_for_new_key_id(&self.old_key_id).await
    }

    /// The last object was written after the rotation.
    async fn compare(&self, run: &mut ScenarioRun) -> anyhow::Result<()> {
        let (table, current) = (
            run.key_table().await?,
            run.environment.plugin.key_id().await?,
        );
        let primary = table
            .rows
            .first()
            .map(|row| row.primary)
            .unwrap_or_default();
        let last = run.written.len().saturating_sub(1);
        for (n, written) in run.written.iter().enumerate() {
            let (key_id, version) = encrypting_version(run, &written.at, &table).await?;
            let (wanted_id, expected) = if n == last {
                (&current, primary)
            } else {
                (&self.old_key_id, primary - 1)
            };
            expect(
                version == expected && key_id == *wanted_id,
                || {
                    format!(
                        "{} encrypted by version {expected} under {wanted_id}",
                        written.at
                    )
                },
                || format!("version {version} under {key_id}"),
            )?;
        }
        expect(
            current != self.old_key_id,
            || "another key_id in the plugin's Status".into(),
            || current.clone(),
        )
    }
}

/// The key_id of a value, and the key version that its ciphertext shows.
async fn encrypting_version(
    run: &ScenarioRun,
    at: &ObjectRef,
    table: &kmslab_emulator_api::KeyTable,
) -> anyhow::Result<(String, u32)> {
    let stored = run.stored(at).await?;
    let object = decode_kms_v2(&stored)?;
    let row = table
        .rows
        .first()
        .context("the key table has no row of the lab's key")?;
    let version = run
        .environment
        .cloud
        .encrypting_version(&object.encrypted_dek_source, row)
        .await?;
    let version = version
        .with_context(|| format!("no version of the lab's key encrypted the DEK source of {at}"))?;
    Ok((object.key_id, version))
}
