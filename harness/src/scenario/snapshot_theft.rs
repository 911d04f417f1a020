//! Whoever takes a snapshot of etcd has every value and their history, and nothing of what is in
//! them without the cloud's key.

use std::collections::BTreeMap;

use anyhow::Context;
use futures::FutureExt;

use super::encrypt::search_for;
use super::objects::{self, Planted};
use super::play::{encrypted, key_id_of};
use super::{Play, Scenario, Step, expect};
use crate::cluster::{ClusterKind, ObjectRef};
use crate::etcd::Stored;
use crate::inspect::opener::Openers;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "snapshot-theft",
    shows: "a stolen snapshot of etcd yields nothing without the cloud's key, of old and deleted values either, and everything with it",
    source: "Kubernetes docs, Encrypting Confidential Data at Rest: a compromised etcd or its backups",
    clusters: &[
        ClusterKind::Embedded,
        ClusterKind::Apiserver,
        ClusterKind::Kind,
    ],
    second_cloud: false,
    steps: &[
        Step {
            name: "write",
            does: "write objects, overwrite one, delete one",
            run: |play| write(play).boxed(),
        },
        Step {
            name: "steal",
            does: "take a snapshot of etcd with its history",
            run: |play| steal(play).boxed(),
        },
        Step {
            name: "search",
            does: "search it for the plaintext",
            run: |play| search(play).boxed(),
        },
        Step {
            name: "as-a-stranger",
            does: "try to decrypt it with the vendor's SDK, as somebody whom the key's policy does not name",
            run: |play| as_a_stranger(play).boxed(),
        },
        Step {
            name: "with-the-key-disabled",
            does: "disable the key, and try as its operator",
            run: |play| with_the_key_disabled(play).boxed(),
        },
        Step {
            name: "with-the-key",
            does: "decrypt all of it, old and deleted values too, as the key's operator",
            run: |play| with_the_key(play).boxed(),
        },
    ],
};

async fn write(play: &mut Play) -> anyhow::Result<()> {
    play.prepare("theft").await?;
    play.plant_some().await?;
    let namespace = play
        .namespaces()
        .into_iter()
        .next()
        .context("the scenario was not prepared")?;
    for name in ["overwritten", "deleted"] {
        let canary = play.canary();
        play.plant(objects::secret(&namespace, name, 64, &canary), canary)
            .await?;
    }
    let api = play.world.cluster.api();
    let deleted = play.planted.pop().context("nothing was written")?;
    api.delete(&deleted.at)
        .await
        .with_context(|| format!("deleting {}", deleted.at))?;
    let old = play.planted.pop().context("nothing was written")?;
    let canary = play.canary();
    let object = objects::secret(&namespace, "overwritten", 64, &canary);
    let created = api
        .replace(&object)
        .await
        .with_context(|| format!("overwriting {}", old.at))?;
    play.planted.push(Planted {
        at: old.at.clone(),
        canary,
        created,
    });
    play.gone = vec![old, deleted];
    Ok(())
}

async fn steal(play: &mut Play) -> anyhow::Result<()> {
    play.stolen = play.world.cluster.etcd().snapshot().await?;
    let written: BTreeMap<&ObjectRef, usize> =
        play.planted
            .iter()
            .chain(&play.gone)
            .fold(BTreeMap::new(), |mut counts, planted| {
                *counts.entry(&planted.at).or_default() += 1;
                counts
            });
    for (at, times) in written {
        let found = stolen(play, at).len();
        expect(
            found >= times,
            || format!("{times} values of {at} in the snapshot"),
            || found.to_string(),
        )?;
    }
    let current = play.world.plugin.key_id().await?;
    for planted in &play.planted {
        let key_id = stolen(play, &planted.at)
            .last()
            .copied()
            .and_then(key_id_of)
            .unwrap_or_default();
        expect(
            key_id == current,
            || format!("{} under the plugin's key_id {current}", planted.at),
            || key_id.clone(),
        )?;
    }
    Ok(())
}

/// All that the snapshot has of an object, the oldest first.
fn stolen<'a>(play: &'a Play, at: &ObjectRef) -> Vec<&'a Stored> {
    let key = at.etcd_key();
    let records = play
        .stolen
        .history
        .records
        .iter()
        .filter(|record| !record.deleted && record.stored.key == key);
    records.map(|record| &record.stored).collect()
}

async fn search(play: &mut Play) -> anyhow::Result<()> {
    let all: Vec<&Planted> = play.planted.iter().chain(&play.gone).collect();
    search_for(play, &play.stolen.database, &all)
}

async fn as_a_stranger(play: &mut Play) -> anyhow::Result<()> {
    let mut stranger = play.world.cloud.stranger().await?;
    nothing_opens(play, &mut stranger).await
}

async fn with_the_key_disabled(play: &mut Play) -> anyhow::Result<()> {
    play.world.cloud.disable().await?;
    let tried = nothing_opens(play, &mut play.world.cloud.openers()).await;
    // In a lab that stays, the key must come back whatever was seen.
    play.world.cloud.enable().await?;
    tried?;
    play.world.cluster.until_ready().await
}

async fn nothing_opens(play: &Play, openers: &mut Openers) -> anyhow::Result<()> {
    for planted in play.planted.iter().chain(&play.gone) {
        for stored in stolen(play, &planted.at) {
            let opened = open(stored, openers).await?;
            expect(
                opened.is_err(),
                || format!("{} to stay closed", stored.key),
                || "it opened".into(),
            )?;
        }
    }
    Ok(())
}

async fn with_the_key(play: &mut Play) -> anyhow::Result<()> {
    let mut openers = play.world.cloud.openers();
    let mut opened = 0;
    for planted in play.planted.iter().chain(&play.gone) {
        let mut found = false;
        for stored in stolen(play, &planted.at) {
            let plaintext = open(stored, &mut openers)
                .await?
                .map_err(anyhow::Error::msg);
            let plaintext = plaintext.with_context(|| format!("decrypting {}", stored.key))?;
            found |= planted.canary.find_in(&plaintext).is_some();
            opened += 1;
        }
        expect(
            found,
            || format!("the content of {} in the snapshot", planted.at),
            || "none of it".into(),
        )?;
    }
    play.figures.objects = Some(opened);
    play.key_table().await?;
    Ok(())
}

/// The plaintext, or the cloud's refusal.
async fn open(stored: &Stored, openers: &mut Openers) -> anyhow::Result<Result<Vec<u8>, String>> {
    let object = encrypted(stored)?;
    Ok(openers
        .open(&object, stored.key.as_bytes())
        .await
        .map(|plaintext| plaintext.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assets::Quiet;
    use crate::cloud::CloudKind;
    use crate::world::{Plan, World};

    #[tokio::test]
    async fn a_key_that_anybody_may_use_would_be_noticed() {
        let world = World::start(&Plan::new(CloudKind::Aws, ClusterKind::Embedded), &Quiet)
            .await
            .unwrap();
        let mut play = Play::new(world.clone());
        write(&mut play).await.unwrap();
        steal(&mut play).await.unwrap();
        let opened = nothing_opens(&play, &mut world.cloud.openers())
            .await
            .unwrap_err()
            .to_string();
        assert!(opened.contains("to stay closed; saw it opened"), "{opened}");
        // What was deleted is in the snapshot, and nowhere else.
        let deleted = play.gone.pop().unwrap().at;
        assert_eq!(stolen(&play, &deleted).len(), 1);
        assert!(play.stored(&deleted).await.is_err());
        world.shutdown().await.unwrap();
    }
}
