//! After a rotation in the cloud, new writes use the new version, and old values can still be read.

use anyhow::Context;
use futures::FutureExt;

use super::context::decode_kms_v2;
use super::{Scenario, ScenarioRun, Step, expect};
use crate::cluster::{ClusterKind, ObjectRef};

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
    steps: &[
        Step {
            name: "write",
            does: "write objects under the current version",
            run: |run| write(run).boxed(),
        },
        Step {
            name: "rotate",
            does: "rotate the key through the vendor's API",
            run: |run| rotate(run).boxed(),
        },
        Step {
            name: "notice",
            does: "wait until the API server writes under the new version",
            run: |run| wait_for_rotation(run).boxed(),
        },
        Step {
            name: "compare",
            does: "check which version encrypted each value",
            run: |run| compare(run).boxed(),
        },
        Step {
            name: "read-back",
            does: "read everything through the API",
            run: |run| run.ensure_all_readable().boxed(),
        },
    ],
};

pub(super) async fn write(run: &mut ScenarioRun) -> anyhow::Result<()> {
    run.prepare("rotate").await?;
    run.write_sample_objects().await?;
    run.figures.objects = Some(run.written.len() as u64);
    Ok(())
}

pub(super) async fn rotate(run: &mut ScenarioRun) -> anyhow::Result<()> {
    run.old_key_id = run.environment.plugin.key_id().await?;
    let before = versions(run).await?;
    run.environment.cloud.rotate().await?;
    let after = versions(run).await?;
    expect(
        after == before + 1,
        || format!("{} versions of the key", before + 1),
        || after.to_string(),
    )
}

async fn versions(run: &mut ScenarioRun) -> anyhow::Result<u64> {
    run.key_table().await?;
    run.figures.key_versions.context("the key has no versions")
}

pub(super) async fn wait_for_rotation(run: &mut ScenarioRun) -> anyhow::Result<()> {
    let old = run.old_key_id.clone();
    run.wait_for_new_key_id(&old).await
}

/// The last object was written after the rotation.
async fn compare(run: &mut ScenarioRun) -> anyhow::Result<()> {
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
            (&run.old_key_id, primary - 1)
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
        current != run.old_key_id,
        || "another key_id in the plugin's Status".into(),
        || current.clone(),
    )
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
