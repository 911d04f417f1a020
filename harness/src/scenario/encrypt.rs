//! What is written is encrypted: in etcd's bytes, by the cloud's key, and nowhere in clear.

use anyhow::Context;
use futures::FutureExt;

use super::canary::Search;
use super::objects::{self, Planted, SIZES};
use super::play::{encrypted, key_id_of, opens};
use super::{Play, Scenario, Step, expect, unmet};
use crate::cluster::ClusterKind;
use crate::etcd::value::recognise;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "encrypt",
    shows: "Secrets, ConfigMaps and custom objects of 1 B to 1 MiB are encrypted in etcd, open with the cloud's key, and read back",
    source: "Kubernetes docs, Encrypting Confidential Data at Rest: \"Verify that newly written data is encrypted\"",
    clusters: &[
        ClusterKind::Embedded,
        ClusterKind::Apiserver,
        ClusterKind::Kind,
    ],
    second_cloud: false,
    steps: &[
        Step {
            name: "write",
            does: "write objects of every size in two namespaces",
            run: |play| write(play).boxed(),
        },
        Step {
            name: "stored",
            does: "look at the prefix and the key_id of what etcd holds",
            run: |play| stored(play).boxed(),
        },
        Step {
            name: "open",
            does: "decrypt it with the vendor's SDK alone",
            run: |play| open(play).boxed(),
        },
        Step {
            name: "search",
            does: "search etcd's database for the plaintext",
            run: |play| search(play).boxed(),
        },
        Step {
            name: "read-back",
            does: "read all of it through the API",
            run: |play| play.all_read_back().boxed(),
        },
    ],
};

async fn write(play: &mut Play) -> anyhow::Result<()> {
    play.prepare("encrypt").await?;
    for namespace in play.namespaces() {
        for size in SIZES {
            let canary = play.canary();
            play.plant(
                objects::secret(&namespace, &format!("secret-of-{size}"), *size, &canary),
                canary,
            )
            .await?;
        }
        for size in [1, 50_000] {
            let canary = play.canary();
            play.plant(
                objects::config_map(&namespace, &format!("config-of-{size}"), size, &canary),
                canary,
            )
            .await?;
        }
        let canary = play.canary();
        play.plant(objects::widget(&namespace, "widget", &canary), canary)
            .await?;
    }
    play.figures.objects = Some(play.planted.len() as u64);
    Ok(())
}

async fn stored(play: &mut Play) -> anyhow::Result<()> {
    let prefix = format!("k8s:enc:kms:v2:{}:", play.world.provider);
    let current = play.world.plugin.key_id().await?;
    for planted in &play.planted {
        let value = play.stored(&planted.at).await?;
        expect(
            value.value.starts_with(prefix.as_bytes()),
            || format!("{} to begin with {prefix}", value.key),
            || recognise(&value.value).format().to_string(),
        )?;
        let key_id = key_id_of(&value).unwrap_or_default();
        expect(
            key_id == current,
            || format!("{} under the plugin's key_id {current}", value.key),
            || key_id.clone(),
        )?;
    }
    play.key_table().await?;
    Ok(())
}

async fn open(play: &mut Play) -> anyhow::Result<()> {
    let mut openers = play.world.cloud.openers();
    for planted in &play.planted {
        let value = play.stored(&planted.at).await?;
        opens(&mut openers, &value, planted).await?;
        let moved = openers
            .open(
                &encrypted(&value)?,
                format!("{}-moved", value.key).as_bytes(),
            )
            .await;
        expect(
            moved.is_err(),
            || format!("{} bound to its key in etcd", value.key),
            || "it opens elsewhere".into(),
        )?;
    }
    Ok(())
}

async fn search(play: &mut Play) -> anyhow::Result<()> {
    let database = play.world.cluster.etcd().database().await?;
    search_for(play, &database, &play.planted.iter().collect::<Vec<_>>())
}

/// Nothing of these is in a database of etcd's, where the same search finds what is in clear.
pub(super) fn search_for(play: &Play, database: &[u8], all: &[&Planted]) -> anyhow::Result<()> {
    let in_clear = play
        .in_clear
        .as_ref()
        .context("the scenario was not prepared")?;
    expect(
        in_clear.find_in(database).is_some(),
        || "the search to find what a Namespace, which is not encrypted, has in clear".into(),
        || format!("nothing in {} bytes of etcd's database", database.len()),
    )?;
    match Search::new(all.iter().map(|planted| &planted.canary)).first(database) {
        None => Ok(()),
        Some((canary, at)) => Err(unmet(
            "no plaintext in etcd's database",
            format!(
                "content of {} at byte {at} of {}",
                all[canary].at,
                database.len()
            ),
        )),
    }
}
