//! After a rotation in the cloud, new writes are under the new version, and old values still read.

use anyhow::Context;
use futures::FutureExt;

use super::play::encrypted;
use super::{Play, Scenario, Step, expect};
use crate::cluster::{ClusterKind, ObjectRef};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "rotate",
    shows: "a rotation of the cloud key reaches new writes without a restart, and old values still read",
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
            run: |play| write(play).boxed(),
        },
        Step {
            name: "rotate",
            does: "rotate the key through the vendor's API",
            run: |play| rotate(play).boxed(),
        },
        Step {
            name: "notice",
            does: "wait until the API server writes under the new version",
            run: |play| notice(play).boxed(),
        },
        Step {
            name: "compare",
            does: "look at which version sealed each value",
            run: |play| compare(play).boxed(),
        },
        Step {
            name: "read-back",
            does: "read all of it through the API",
            run: |play| play.all_read_back().boxed(),
        },
    ],
};

pub(super) async fn write(play: &mut Play) -> anyhow::Result<()> {
    play.prepare("rotate").await?;
    play.plant_some().await?;
    play.figures.objects = Some(play.planted.len() as u64);
    Ok(())
}

pub(super) async fn rotate(play: &mut Play) -> anyhow::Result<()> {
    play.old_key_id = play.world.plugin.key_id().await?;
    let before = versions(play).await?;
    play.world.cloud.rotate().await?;
    let after = versions(play).await?;
    expect(
        after == before + 1,
        || format!("{} versions of the key", before + 1),
        || after.to_string(),
    )
}

async fn versions(play: &mut Play) -> anyhow::Result<u64> {
    play.key_table().await?;
    play.figures.key_versions.context("the key has no versions")
}

pub(super) async fn notice(play: &mut Play) -> anyhow::Result<()> {
    let old = play.old_key_id.clone();
    play.until_written_under_another(&old).await
}

/// The last object is the one written after the rotation.
async fn compare(play: &mut Play) -> anyhow::Result<()> {
    let (table, current) = (play.key_table().await?, play.world.plugin.key_id().await?);
    let primary = table
        .rows
        .first()
        .map(|row| row.primary)
        .unwrap_or_default();
    let last = play.planted.len().saturating_sub(1);
    for (n, planted) in play.planted.iter().enumerate() {
        let (key_id, version) = sealed_by(play, &planted.at, &table).await?;
        let (wanted_id, wanted) = if n == last {
            (&current, primary)
        } else {
            (&play.old_key_id, primary - 1)
        };
        expect(
            version == wanted && key_id == *wanted_id,
            || {
                format!(
                    "{} sealed by version {wanted} under {wanted_id}",
                    planted.at
                )
            },
            || format!("version {version} under {key_id}"),
        )?;
    }
    expect(
        current != play.old_key_id,
        || "another key_id in the plugin's Status".into(),
        || current.clone(),
    )
}

/// The key_id that a value has, and the version of the key that its bytes show.
async fn sealed_by(
    play: &Play,
    at: &ObjectRef,
    table: &crate::etcd::keytable::KeyTable,
) -> anyhow::Result<(String, u64)> {
    let stored = play.stored(at).await?;
    let object = encrypted(&stored)?;
    let row = table
        .rows
        .first()
        .context("the key table has no row of the lab's key")?;
    let version = play
        .world
        .cloud
        .sealed_by(&object.encrypted_dek_source, row)
        .await?;
    let version = version.with_context(|| {
        format!("the DEK source of {at} was sealed by no version of the lab's key")
    })?;
    Ok((object.key_id, version))
}
