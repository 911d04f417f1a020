//! After a rotation, everything is written again until nothing is left under the old version, and
//! nothing is lost on the way.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use futures::FutureExt;

use super::objects::content;
use super::{Play, Scenario, Step, expect, rotate, unmet};
use crate::cluster::{ClusterKind, ObjectRef};
use crate::etcd::stale::{StaleReport, count_stale};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "rewrite",
    shows: "after a rotation a rewrite leaves no value under the old version, changes nothing else, and a second one writes nothing",
    source: "Kubernetes docs, Encrypting Confidential Data at Rest: \"Ensure all relevant data are encrypted\"",
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
            run: |play| rotate::rotate(play).boxed(),
        },
        Step {
            name: "notice",
            does: "wait until the API server writes under the new version",
            run: |play| rotate::notice(play).boxed(),
        },
        Step {
            name: "count",
            does: "count what is stale, from etcd's bytes",
            run: |play| count(play).boxed(),
        },
        Step {
            name: "first-half",
            does: "write half of it again",
            run: |play| first_half(play).boxed(),
        },
        Step {
            name: "second-half",
            does: "write the rest again",
            run: |play| second_half(play).boxed(),
        },
        Step {
            name: "prove",
            does: "count again: nothing is stale",
            run: |play| prove(play).boxed(),
        },
        Step {
            name: "compare",
            does: "compare what the API returns with what it returned before",
            run: |play| compare(play).boxed(),
        },
        Step {
            name: "again",
            does: "rewrite once more, which must write nothing",
            run: |play| again(play).boxed(),
        },
    ],
};

async fn write(play: &mut Play) -> anyhow::Result<()> {
    play.prepare("rewrite").await?;
    play.plant_some().await
}

async fn stale(play: &mut Play) -> anyhow::Result<StaleReport> {
    let values = play.values().await?;
    let current = play.current(&values).await?;
    Ok(count_stale(&values, &current))
}

async fn count(play: &mut Play) -> anyhow::Result<()> {
    let values = play.values().await?;
    let current = play.current(&values).await?;
    let report = count_stale(&values, &current);
    let own: BTreeSet<String> = play
        .planted
        .iter()
        .map(|planted| planted.at.etcd_key())
        .collect();
    play.figures.objects = Some(report.total as u64);
    play.figures.others = Some(
        values
            .iter()
            .filter(|stored| !own.contains(&stored.key))
            .count() as u64,
    );
    play.figures.stale_before = Some(report.stale as u64);
    expect(
        report.stale > 0,
        || "values under the old version".into(),
        || summary(&report),
    )?;
    expect(
        report.mislabelled == 0,
        || "every key_id to tell the truth".into(),
        || summary(&report),
    )?;
    let listed = play.listed().await?;
    play.before = listed
        .into_iter()
        .map(|(at, object)| (at, content(&object)))
        .collect();
    play.todo = play.before.iter().map(|(at, _)| at.clone()).collect();
    Ok(())
}

async fn first_half(play: &mut Play) -> anyhow::Result<()> {
    let half = play.todo.len() / 2;
    let rest = play.todo.split_off(half);
    touch(play).await?;
    play.todo = rest;
    Ok(())
}

async fn second_half(play: &mut Play) -> anyhow::Result<()> {
    touch(play).await
}

/// Writes everything on the list again. What was deleted meanwhile needs no rewrite, and what
/// somebody else writes at the same time is written.
pub(super) async fn touch(play: &mut Play) -> anyhow::Result<()> {
    let api = play.world.cluster.api();
    for at in std::mem::take(&mut play.todo) {
        match api.touch(&at).await {
            Err(error) if matches!(error.status, 404 | 409) => {}
            touched => drop(touched.with_context(|| format!("writing {at} again"))?),
        }
    }
    Ok(())
}

async fn prove(play: &mut Play) -> anyhow::Result<()> {
    let report = stale(play).await?;
    play.figures.stale_after = Some(report.stale as u64);
    expect(
        report.stale == 0,
        || "no value under an old version".into(),
        || summary(&report),
    )
}

async fn compare(play: &mut Play) -> anyhow::Result<()> {
    let now: BTreeMap<ObjectRef, String> = play
        .listed()
        .await?
        .into_iter()
        .map(|(at, object)| (at, content(&object)))
        .collect();
    let own: BTreeSet<&ObjectRef> = play.planted.iter().map(|planted| &planted.at).collect();
    // Others may have changed and deleted theirs meanwhile; what nobody else knows of must be as it
    // was.
    for (at, before) in play.before.iter().filter(|(at, _)| own.contains(at)) {
        match now.get(at) {
            None => return Err(unmet(format!("{at} still there"), "it is gone")),
            Some(now) if now != before => {
                return Err(unmet(format!("{at} as it was"), "another content"));
            }
            Some(_) => {}
        }
    }
    play.all_read_back().await
}

async fn again(play: &mut Play) -> anyhow::Result<()> {
    let before = revisions(play).await?;
    play.todo = play.before.iter().map(|(at, _)| at.clone()).collect();
    touch(play).await?;
    let after = revisions(play).await?;
    let written: Vec<&String> = after
        .iter()
        .filter(|(key, at)| before.get(*key) != Some(at))
        .map(|(key, _)| key)
        .collect();
    expect(
        written.is_empty(),
        || "a second rewrite to write nothing".into(),
        || format!("it wrote {written:?}"),
    )
}

/// Of the objects that nobody else writes.
async fn revisions(play: &Play) -> anyhow::Result<BTreeMap<String, i64>> {
    let own: BTreeSet<String> = play
        .planted
        .iter()
        .map(|planted| planted.at.etcd_key())
        .collect();
    let values = play
        .values()
        .await?
        .into_iter()
        .filter(|stored| own.contains(&stored.key));
    Ok(values
        .map(|stored| (stored.key, stored.mod_revision))
        .collect())
}

/// What is there, by origin.
pub(super) fn summary(report: &StaleReport) -> String {
    let groups = report.groups.iter().map(|group| {
        let reason = group.reason.map_or("current", |reason| reason.as_str());
        format!(
            "{} {} {reason}, such as {}",
            group.count, group.format, group.example
        )
    });
    format!(
        "{} of {} values stale: {}",
        report.stale,
        report.total,
        groups.collect::<Vec<_>>().join("; ")
    )
}
