//! After a rotation, everything is rewritten until nothing is encrypted with the old version, and
//! nothing is lost.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use futures::FutureExt;

use super::objects::content;
use super::{Scenario, ScenarioRun, Step, expect, failed_check, rotate};
use crate::cluster::{ClusterKind, ObjectRef};
use crate::etcd::stale::{StaleReport, count_stale};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "rewrite",
    shows: "after a rotation, a rewrite leaves no value under the old version and changes nothing else, and a second one writes nothing",
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
            run: |run| write(run).boxed(),
        },
        Step {
            name: "rotate",
            does: "rotate the key through the vendor's API",
            run: |run| rotate::rotate(run).boxed(),
        },
        Step {
            name: "notice",
            does: "wait until the API server writes under the new version",
            run: |run| rotate::wait_for_rotation(run).boxed(),
        },
        Step {
            name: "count",
            does: "count stale values from etcd's bytes",
            run: |run| count(run).boxed(),
        },
        Step {
            name: "first-half",
            does: "rewrite the first half",
            run: |run| first_half(run).boxed(),
        },
        Step {
            name: "second-half",
            does: "rewrite the rest",
            run: |run| second_half(run).boxed(),
        },
        Step {
            name: "prove",
            does: "count again: nothing is stale",
            run: |run| prove(run).boxed(),
        },
        Step {
            name: "compare",
            does: "compare what the API returns with what it returned before",
            run: |run| compare(run).boxed(),
        },
        Step {
            name: "again",
            does: "rewrite once more, which must write nothing",
            run: |run| again(run).boxed(),
        },
    ],
};

async fn write(run: &mut ScenarioRun) -> anyhow::Result<()> {
    run.prepare("rewrite").await?;
    run.write_sample_objects().await
}

async fn stale(run: &mut ScenarioRun) -> anyhow::Result<StaleReport> {
    let values = run.values().await?;
    let current = run.current_key(&values).await?;
    Ok(count_stale(&values, &current))
}

async fn count(run: &mut ScenarioRun) -> anyhow::Result<()> {
    let values = run.values().await?;
    let current = run.current_key(&values).await?;
    let report = count_stale(&values, &current);
    let own: BTreeSet<String> = run
        .written
        .iter()
        .map(|planted| planted.at.etcd_key())
        .collect();
    run.figures.objects = Some(report.total as u64);
    run.figures.others = Some(
        values
            .iter()
            .filter(|stored| !own.contains(&stored.key))
            .count() as u64,
    );
    run.figures.stale_before = Some(report.stale as u64);
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
    let listed = run.list_objects().await?;
    run.before = listed
        .into_iter()
        .map(|(at, object)| (at, content(&object)))
        .collect();
    run.todo = run.before.iter().map(|(at, _)| at.clone()).collect();
    Ok(())
}

async fn first_half(run: &mut ScenarioRun) -> anyhow::Result<()> {
    let half = run.todo.len() / 2;
    let rest = run.todo.split_off(half);
    touch(run).await?;
    run.todo = rest;
    Ok(())
}

async fn second_half(run: &mut ScenarioRun) -> anyhow::Result<()> {
    touch(run).await
}

/// Rewrites everything on the list. Deleted objects need no rewrite, and objects that others write
/// meanwhile are rewritten.
pub(super) async fn touch(run: &mut ScenarioRun) -> anyhow::Result<()> {
    let api = run.environment.cluster.api();
    for at in std::mem::take(&mut run.todo) {
        match api.touch(&at).await {
            Err(error) if matches!(error.status, 404 | 409) => {}
            touched => drop(touched.with_context(|| format!("writing {at} again"))?),
        }
    }
    Ok(())
}

async fn prove(run: &mut ScenarioRun) -> anyhow::Result<()> {
    let report = stale(run).await?;
    run.figures.stale_after = Some(report.stale as u64);
    expect(
        report.stale == 0,
        || "no value under an old version".into(),
        || summary(&report),
    )
}

async fn compare(run: &mut ScenarioRun) -> anyhow::Result<()> {
    let now: BTreeMap<ObjectRef, String> = run
        .list_objects()
        .await?
        .into_iter()
        .map(|(at, object)| (at, content(&object)))
        .collect();
    let own: BTreeSet<&ObjectRef> = run.written.iter().map(|planted| &planted.at).collect();
    // Others may change and delete their objects meanwhile; those of this run must be unchanged.
    for (at, before) in run.before.iter().filter(|(at, _)| own.contains(at)) {
        match now.get(at) {
            None => return Err(failed_check(format!("{at} still there"), "it is gone")),
            Some(now) if now != before => {
                return Err(failed_check(format!("{at} as it was"), "another content"));
            }
            Some(_) => {}
        }
    }
    run.ensure_all_readable().await
}

async fn again(run: &mut ScenarioRun) -> anyhow::Result<()> {
    let before = revisions(run).await?;
    run.todo = run.before.iter().map(|(at, _)| at.clone()).collect();
    touch(run).await?;
    let after = revisions(run).await?;
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
async fn revisions(run: &ScenarioRun) -> anyhow::Result<BTreeMap<String, i64>> {
    let own: BTreeSet<String> = run
        .written
        .iter()
        .map(|planted| planted.at.etcd_key())
        .collect();
    let values = run
        .values()
        .await?
        .into_iter()
        .filter(|stored| own.contains(&stored.key));
    Ok(values
        .map(|stored| (stored.key, stored.mod_revision))
        .collect())
}

/// The values by origin.
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
