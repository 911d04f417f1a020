//! From one cloud's key to another's while the API server runs, by provider lists: a reader is
//! added, made the writer, everything is written again, and the old one goes.

use std::collections::BTreeSet;

use anyhow::Context;
use futures::FutureExt;

use super::play::{current_of, opens};
use super::rewrite::{summary, touch};
use super::{Play, Scenario, Step, expect, objects};
use crate::cluster::ClusterKind;
use crate::etcd::Stored;
use crate::etcd::stale::{StaleReport, count_stale};
use crate::world::{Side, World};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "migrate",
    shows: "from one cloud's key to another's without a restart: nothing is lost, and nothing is left that needs the first",
    source: "Kubernetes docs, Decrypt or rotate: add the new key as a reader, make it the first, rewrite, remove the old",
    clusters: &[ClusterKind::Embedded, ClusterKind::Apiserver],
    second_cloud: true,
    steps: &[
        Step {
            name: "write",
            does: "write objects under the first cloud's key",
            run: |play| write(play).boxed(),
        },
        Step {
            name: "add-reader",
            does: "add the second cloud's plugin to the list: it reads, the first still writes",
            run: |play| add_reader(play).boxed(),
        },
        Step {
            name: "make-writer",
            does: "put it first: it writes, the first still reads",
            run: |play| make_writer(play).boxed(),
        },
        Step {
            name: "rewrite",
            does: "write everything again",
            run: |play| rewrite(play).boxed(),
        },
        Step {
            name: "open",
            does: "decrypt what was written with the second cloud's SDK alone",
            run: |play| open(play).boxed(),
        },
        Step {
            name: "remove",
            does: "take the first plugin out of the list",
            run: |play| remove(play).boxed(),
        },
        Step {
            name: "without-the-first",
            does: "disable the first key, start the API server anew, and read all of it",
            run: |play| without_the_first(play).boxed(),
        },
    ],
};

/// From whom, and to whom.
fn sides(play: &Play) -> anyhow::Result<(Side, Side)> {
    let target = play
        .world
        .target
        .clone()
        .context("this world has no second cloud")?;
    Ok((play.world.source(), target))
}

async fn write(play: &mut Play) -> anyhow::Result<()> {
    play.prepare("migrate").await?;
    play.plant_some().await?;
    let (from, _) = sides(play)?;
    all_under(&from, &own(play).await?).await
}

async fn add_reader(play: &mut Play) -> anyhow::Result<()> {
    let (from, to) = sides(play)?;
    play.world
        .cluster
        .reconfigure(World::encryption(&[&from, &to]))
        .await?;
    plant_one(play, "with-a-reader").await?;
    all_under(&from, &own(play).await?).await?;
    play.all_read_back().await
}

async fn make_writer(play: &mut Play) -> anyhow::Result<()> {
    let (from, to) = sides(play)?;
    let before = own(play).await?;
    play.world
        .cluster
        .reconfigure(World::encryption(&[&to, &from]))
        .await?;
    plant_one(play, "under-the-new-writer").await?;
    let mut now = own(play).await?;
    let new = now.pop().context("nothing was written")?;
    all_under(&to, &[new]).await?;
    // A new list writes nothing by itself, so the first plugin has to stay.
    expect(
        now == before,
        || "older values as they were".into(),
        || "a change of them".into(),
    )?;
    all_under(&from, &now).await?;
    play.all_read_back().await
}

async fn rewrite(play: &mut Play) -> anyhow::Result<()> {
    let (_, to) = sides(play)?;
    let values = play.values().await?;
    let before = count_stale(&values, &current_of(&to, &values).await?);
    let keys: BTreeSet<String> = play
        .planted
        .iter()
        .map(|planted| planted.at.etcd_key())
        .collect();
    play.figures.objects = Some(before.total as u64);
    play.figures.others = Some(
        values
            .iter()
            .filter(|stored| !keys.contains(&stored.key))
            .count() as u64,
    );
    play.figures.stale_before = Some(before.stale as u64);
    let old = play.planted.len() - 1;
    expect(
        before.stale >= old,
        || format!("at least {old} values under the first key"),
        || summary(&before),
    )?;
    play.todo = play.listed().await?.into_iter().map(|(at, _)| at).collect();
    touch(play).await?;
    let values = play.values().await?;
    let after = count_stale(&values, &current_of(&to, &values).await?);
    play.figures.stale_after = Some(after.stale as u64);
    none_stale(&after)?;
    play.all_read_back().await
}

/// Nobody's word for it but that of the second cloud.
async fn open(play: &mut Play) -> anyhow::Result<()> {
    let (_, to) = sides(play)?;
    let mut openers = to.cloud.openers();
    for planted in &play.planted {
        let stored = play.stored(&planted.at).await?;
        opens(&mut openers, &stored, planted).await?;
    }
    Ok(())
}

async fn remove(play: &mut Play) -> anyhow::Result<()> {
    let (_, to) = sides(play)?;
    play.world
        .cluster
        .reconfigure(World::encryption(&[&to]))
        .await?;
    play.all_read_back().await
}

async fn without_the_first(play: &mut Play) -> anyhow::Result<()> {
    let (from, to) = sides(play)?;
    from.cloud.disable().await?;
    // What the server has decrypted so far would hide what it can decrypt now.
    let cluster = play.world.cluster.clone();
    cluster.kill_server().await?;
    cluster.start_server().await?;
    cluster.until_ready().await?;
    play.all_read_back().await?;
    plant_one(play, "without-the-first").await?;
    let values = play.values().await?;
    none_stale(&count_stale(&values, &current_of(&to, &values).await?))?;
    from.cloud.enable().await
}

async fn plant_one(play: &mut Play, name: &str) -> anyhow::Result<()> {
    let namespace = play
        .namespaces()
        .into_iter()
        .next()
        .context("the scenario was not prepared")?;
    let canary = play.canary();
    play.plant(objects::secret(&namespace, name, 32, &canary), canary)
        .await
}

/// What etcd holds of what this playing has written, in that order.
async fn own(play: &Play) -> anyhow::Result<Vec<Stored>> {
    let mut all = Vec::new();
    for planted in &play.planted {
        all.push(play.stored(&planted.at).await?);
    }
    Ok(all)
}

/// Every one of these is under that side's current key, by its name and by what the cloud says of
/// the ciphertext.
async fn all_under(side: &Side, values: &[Stored]) -> anyhow::Result<()> {
    let report = count_stale(values, &current_of(side, values).await?);
    let (kind, total) = (side.cloud.kind(), report.total);
    expect(
        report.stale == 0 && total > 0,
        || format!("all {total} values under {kind}'s key"),
        || summary(&report),
    )
}

fn none_stale(report: &StaleReport) -> anyhow::Result<()> {
    expect(
        report.stale == 0,
        || "no value that needs the first key".into(),
        || summary(report),
    )
}
