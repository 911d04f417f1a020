//! Migration from one cloud's key to another's without restarting the API server: a reader is added
//! and made the writer, everything is rewritten, and the old provider is removed.

use std::collections::BTreeSet;

use anyhow::Context;
use futures::FutureExt;

use super::rewrite::{summary, touch};
use crate::cluster::ClusterKind;
use crate::environment::{Deployment, Environment};
use crate::etcd::Stored;
use crate::etcd::stale::{StaleReport, count_stale};
use crate::scenario::{Scenario, ScenarioRun, Step, expect, objects, start};
use crate::scenario::{current_key_of, ensure_decrypts};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "migrate",
    shows: "a migration from one cloud's key to another's without a restart loses nothing and leaves nothing that needs the first",
    source: "Kubernetes docs, Decrypt or rotate: add the new key as a reader, make it the first, rewrite, remove the old",
    clusters: &[ClusterKind::Embedded, ClusterKind::Apiserver],
    second_cloud: true,
    start: || start(STEPS),
};

const STEPS: &[Step<()>] = &[
    Step {
        name: "write",
        does: "write objects under the first cloud's key",
        run: |(), run| write(run).boxed(),
    },
    Step {
        name: "add-reader",
        does: "add the second cloud's plugin to the list: it reads, the first still writes",
        run: |(), run| add_reader(run).boxed(),
    },
    Step {
        name: "make-writer",
        does: "put it first: it writes, the first still reads",
        run: |(), run| make_writer(run).boxed(),
    },
    Step {
        name: "rewrite",
        does: "write everything again",
        run: |(), run| rewrite(run).boxed(),
    },
    Step {
        name: "open",
        does: "decrypt the values with the second cloud's SDK only",
        run: |(), run| open(run).boxed(),
    },
    Step {
        name: "remove",
        does: "remove the first plugin from the list",
        run: |(), run| remove(run).boxed(),
    },
    Step {
        name: "without-the-first",
        does: "disable the first key, restart the API server, and read everything",
        run: |(), run| without_first_provider(run).boxed(),
    },
];

/// Source and target of the migration.
fn deployments(run: &ScenarioRun) -> anyhow::Result<(Deployment, Deployment)> {
    let target = run
        .environment
        .target
        .clone()
        .context("this environment has no second cloud")?;
    Ok((run.environment.source(), target))
}

async fn write(run: &mut ScenarioRun) -> anyhow::Result<()> {
    run.prepare("migrate").await?;
    run.write_sample_objects().await?;
    let (from, _) = deployments(run)?;
    ensure_all_current(&from, &own_values(run).await?).await
}

async fn add_reader(run: &mut ScenarioRun) -> anyhow::Result<()> {
    let (from, to) = deployments(run)?;
    run.environment
        .cluster
        .reconfigure(Environment::encryption(&[&from, &to]))
        .await?;
    write_one(run, "with-a-reader").await?;
    ensure_all_current(&from, &own_values(run).await?).await?;
    run.ensure_all_readable().await
}

async fn make_writer(run: &mut ScenarioRun) -> anyhow::Result<()> {
    let (from, to) = deployments(run)?;
    let before = own_values(run).await?;
    run.environment
        .cluster
        .reconfigure(Environment::encryption(&[&to, &from]))
        .await?;
    write_one(run, "under-the-new-writer").await?;
    let mut now = own_values(run).await?;
    let new = now.pop().context("nothing was written")?;
    ensure_all_current(&to, &[new]).await?;
    // A new list alone rewrites nothing, so the first plugin has to stay.
    expect(
        now == before,
        || "older values as they were".into(),
        || "a change of them".into(),
    )?;
    ensure_all_current(&from, &now).await?;
    run.ensure_all_readable().await
}

async fn rewrite(run: &mut ScenarioRun) -> anyhow::Result<()> {
    let (_, to) = deployments(run)?;
    let values = run.values().await?;
    let before = count_stale(&values, &current_key_of(&to, &values).await?);
    let keys: BTreeSet<String> = run
        .written
        .iter()
        .map(|written| written.at.etcd_key())
        .collect();
    run.figures.objects = Some(before.total as u64);
    run.figures.others = Some(
        values
            .iter()
            .filter(|stored| !keys.contains(&stored.key))
            .count() as u64,
    );
    run.figures.stale_before = Some(before.stale as u64);
    let old = run.written.len() - 1;
    expect(
        before.stale >= old,
        || format!("at least {old} values under the first key"),
        || summary(&before),
    )?;
    let objects = run.list_objects().await?;
    touch(run, objects.into_iter().map(|(at, _)| at).collect()).await?;
    let values = run.values().await?;
    let after = count_stale(&values, &current_key_of(&to, &values).await?);
    run.figures.stale_after = Some(after.stale as u64);
    ensure_none_stale(&after)?;
    run.ensure_all_readable().await
}

/// Decrypted by the second cloud itself.
async fn open(run: &mut ScenarioRun) -> anyhow::Result<()> {
    let (_, to) = deployments(run)?;
    let mut decryptors = to.cloud.decryptors();
    for written in &run.written {
        let stored = run.stored(&written.at).await?;
        ensure_decrypts(&mut decryptors, &stored, written).await?;
    }
    Ok(())
}

async fn remove(run: &mut ScenarioRun) -> anyhow::Result<()> {
    let (_, to) = deployments(run)?;
    run.environment
        .cluster
        .reconfigure(Environment::encryption(&[&to]))
        .await?;
    run.ensure_all_readable().await
}

async fn without_first_provider(run: &mut ScenarioRun) -> anyhow::Result<()> {
    let (from, to) = deployments(run)?;
    from.cloud.disable().await?;
    // Cached DEK sources would hide what the server can decrypt now.
    let cluster = run.environment.cluster.clone();
    cluster.kill_server().await?;
    cluster.start_server().await?;
    cluster.wait_until_ready().await?;
    run.ensure_all_readable().await?;
    write_one(run, "without-the-first").await?;
    let values = run.values().await?;
    ensure_none_stale(&count_stale(&values, &current_key_of(&to, &values).await?))?;
    from.cloud.enable().await
}

async fn write_one(run: &mut ScenarioRun, name: &str) -> anyhow::Result<()> {
    let namespace = run
        .namespaces()
        .into_iter()
        .next()
        .context("the scenario was not prepared")?;
    let canary = run.canary();
    run.write(objects::secret(&namespace, name, 32, &canary), canary)
        .await
}

/// The stored values of this run, in the order of writing.
async fn own_values(run: &ScenarioRun) -> anyhow::Result<Vec<Stored>> {
    let mut all = Vec::new();
    for written in &run.written {
        all.push(run.stored(&written.at).await?);
    }
    Ok(all)
}

/// Fails unless all values are encrypted with the deployment's current key, by its name and by what
/// the cloud says of the ciphertext.
async fn ensure_all_current(deployment: &Deployment, values: &[Stored]) -> anyhow::Result<()> {
    let report = count_stale(values, &current_key_of(deployment, values).await?);
    let (kind, total) = (deployment.cloud.kind(), report.total);
    expect(
        report.stale == 0 && total > 0,
        || format!("all {total} values under {kind}'s key"),
        || summary(&report),
    )
}

fn ensure_none_stale(report: &StaleReport) -> anyhow::Result<()> {
    expect(
        report.stale == 0,
        || "no value that needs the first key".into(),
        || summary(report),
    )
}
