//! After a rotation, everything is rewritten until nothing is encrypted with the old version, and
//! nothing is lost.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use futures::FutureExt;

use super::rotate;
use crate::cluster::{ClusterKind, ObjectRef};
use crate::etcd::stale::{StaleReport, count_stale};
use crate::scenario::objects::content;
use crate::scenario::{Scenario, ScenarioRun, Step, expect, failed_check, start};

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
    start: || start(STEPS),
};

const STEPS: &[Step<Rewrite>] = &[
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
        name: "count",
        does: "count stale values from etcd's bytes",
        run: |state, run| state.count(run).boxed(),
    },
    Step {
        name: "first-half",
        does: "rewrite the first half",
        run: |state, run| state.first_half(run).boxed(),
    },
    Step {
        name: "second-half",
        does: "rewrite the rest",
        run: |state, run| state.second_half(run).boxed(),
    },
    Step {
        name: "prove",
        does: "count again: nothing is stale",
        run: |_, run| prove(run).boxed(),
    },
    Step {
        name: "compare",
        does: "compare what the API returns with what it returned before",
        run: |state, run| state.compare(run).boxed(),
    },
    Step {
        name: "again",
        does: "rewrite once more, which must write nothing",
        run: |state, run| state.again(run).boxed(),
    },
];

#[derive(Default)]
struct Rewrite {
    /// The key_id before the rotation.
    old_key_id: String,
    /// Objects and their content before the rewrite.
    before: Vec<(ObjectRef, String)>,
    /// Objects still to be rewritten.
    todo: Vec<ObjectRef>,
}

impl Rewrite {
    async fn rotate(&mut self, run: &mut ScenarioRun) -> anyhow::Result<()> {
        self.old_key_id = rotate::rotate(run).await?;
        Ok(())
    }

    async fn wait(&self, run: &mut ScenarioRun) -> anyhow::Result<()> {
        run.wait_for_new_key_id(&self.old_key_id).await
    }

    async fn count(&mut self, run: &mut ScenarioRun) -> anyhow::Result<()> {
        let values = run.values().await?;
        let current = run.current_key(&values).await?;
        let report = count_stale(&values, &current);
        let own: BTreeSet<String> = run
            .written
            .iter()
            .map(|object| object.at.etcd_key())
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
        self.before = listed
            .into_iter()
            .map(|(at, object)| (at, content(&object)))
            .collect();
        self.todo = self.before.iter().map(|(at, _)| at.clone()).collect();
        Ok(())
    }

    async fn first_half(&mut self, run: &mut ScenarioRun) -> anyhow::Result<()> {
        let half = self.todo.len() / 2;
        touch(run, self.todo.drain(..half).collect()).await
    }

    async fn second_half(&mut self, run: &mut ScenarioRun) -> anyhow::Result<()> {
        touch(run, std::mem::take(&mut self.todo)).await
    }

    async fn compare(&self, run: &mut ScenarioRun) -> anyhow::Result<()> {
        let now: BTreeMap<ObjectRef, String> = run
            .list_objects()
            .await?
            .into_iter()
            .map(|(at, object)| (at, content(&object)))
            .collect();
        let own: BTreeSet<&ObjectRef> = run.written.iter().map(|object| &object.at).collect();
        // Others may change and delete their objects meanwhile; those of this run must be unchanged.
        for (at, before) in self.before.iter().filter(|(at, _)| own.contains(at)) {
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

    async fn again(&self, run: &mut ScenarioRun) -> anyhow::Result<()> {
        let before = revisions(run).await?;
        let objects = self.before.iter().map(|(at, _)| at.clone()).collect();
        touch(run, objects).await?;
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
}

async fn write(run: &mut ScenarioRun) -> anyhow::Result<()> {
    run.prepare("rewrite").await?;
    run.write_sample_objects().await
}

async fn stale(run: &mut ScenarioRun) -> anyhow::Result<StaleReport> {
    let values = run.values().await?;
    let current = run.current_key(&values).await?;
    Ok(count_stale(&values, &current))
}

/// Writes these objects again. Deleted objects need no rewrite, and objects that others write
/// meanwhile are rewritten.
pub(super) async fn touch(run: &ScenarioRun, objects: Vec<ObjectRef>) -> anyhow::Result<()> {
    let api = run.environment.cluster.api();
    for at in objects {
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

/// Of the objects that nobody else writes.
async fn revisions(run: &ScenarioRun) -> anyhow::Result<BTreeMap<String, i64>> {
    let own: BTreeSet<String> = run
        .written
        .iter()
        .map(|object| object.at.etcd_key())
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
