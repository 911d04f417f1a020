//! What is written is encrypted: in etcd's bytes, with the cloud's key, and nowhere in plaintext.

use anyhow::Context;
use futures::FutureExt;

use crate::cluster::ClusterKind;
use crate::etcd::value::recognise;
use crate::scenario::Search;
use crate::scenario::objects::{self, SIZES, TestObject};
use crate::scenario::{Scenario, ScenarioRun, Step, expect, failed_check, start};
use crate::scenario::{decode_kms_v2, ensure_decrypts, kms_v2_key_id};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "encrypt",
    shows: "Secrets, ConfigMaps and custom objects of 1 B to 1 MiB are encrypted in etcd, decrypt with the cloud's key, and can be read",
    source: "Kubernetes docs, Encrypting Confidential Data at Rest: \"Verify that newly written data is encrypted\"",
    clusters: &[
        ClusterKind::Embedded,
        ClusterKind::Apiserver,
        ClusterKind::Kind,
    ],
    second_cloud: false,
    start: || start(STEPS),
};

const STEPS: &[Step<()>] = &[
    Step {
        name: "write",
        does: "write objects of every size in two namespaces",
        run: |(), run| write(run).boxed(),
    },
    Step {
        name: "stored",
        does: "check the prefix and the key_id of the stored values",
        run: |(), run| stored(run).boxed(),
    },
    Step {
        name: "open",
        does: "decrypt it with the vendor's SDK only",
        run: |(), run| open(run).boxed(),
    },
    Step {
        name: "search",
        does: "search etcd's database for plaintext",
        run: |(), run| search(run).boxed(),
    },
    Step {
        name: "read-back",
        does: "read everything through the API",
        run: |(), run| run.ensure_all_readable().boxed(),
    },
];

async fn write(run: &mut ScenarioRun) -> anyhow::Result<()> {
    run.prepare("encrypt").await?;
    for namespace in run.namespaces() {
        for size in SIZES {
            let canary = run.canary();
            run.write(
                objects::secret(&namespace, &format!("secret-of-{size}"), *size, &canary),
                canary,
            )
            .await?;
        }
        for size in [1, 50_000] {
            let canary = run.canary();
            run.write(
                objects::config_map(&namespace, &format!("config-of-{size}"), size, &canary),
                canary,
            )
            .await?;
        }
        let canary = run.canary();
        run.write(objects::widget(&namespace, "widget", &canary), canary)
            .await?;
    }
    run.figures.objects = Some(run.written.len() as u64);
    Ok(())
}

async fn stored(run: &mut ScenarioRun) -> anyhow::Result<()> {
    let prefix = format!("k8s:enc:kms:v2:{}:", run.environment.provider);
    let current = run.environment.plugin.key_id().await?;
    for written in &run.written {
        let value = run.stored(&written.at).await?;
        expect(
            value.value.starts_with(prefix.as_bytes()),
            || format!("{} to begin with {prefix}", value.key),
            || recognise(&value.value).format().to_string(),
        )?;
        let key_id = kms_v2_key_id(&value).unwrap_or_default();
        expect(
            key_id == current,
            || format!("{} under the plugin's key_id {current}", value.key),
            || key_id.clone(),
        )?;
    }
    run.key_table().await?;
    Ok(())
}

async fn open(run: &mut ScenarioRun) -> anyhow::Result<()> {
    let mut decryptors = run.environment.cloud.decryptors();
    for written in &run.written {
        let value = run.stored(&written.at).await?;
        ensure_decrypts(&mut decryptors, &value, written).await?;
        let moved = decryptors
            .decrypt(
                &decode_kms_v2(&value)?,
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

async fn search(run: &mut ScenarioRun) -> anyhow::Result<()> {
    let database = run.environment.cluster.etcd().database().await?;
    ensure_no_plaintext(run, &database, &run.written.iter().collect::<Vec<_>>())
}

/// Fails if a database contains plaintext of these objects. The same search must find a canary that
/// is stored in plaintext.
pub(super) fn ensure_no_plaintext(
    run: &ScenarioRun,
    database: &[u8],
    all: &[&TestObject],
) -> anyhow::Result<()> {
    let in_clear = run
        .plaintext_canary
        .as_ref()
        .context("the scenario was not prepared")?;
    expect(
        in_clear.find_in(database).is_some(),
        || "the search to find what a Namespace, which is not encrypted, has in clear".into(),
        || format!("nothing in {} bytes of etcd's database", database.len()),
    )?;
    match Search::new(all.iter().map(|written| &written.canary)).first(database) {
        None => Ok(()),
        Some((canary, at)) => Err(failed_check(
            "no plaintext in etcd's database",
            format!(
                "content of {} at byte {at} of {}",
                all[canary].at,
                database.len()
            ),
        )),
    }
}
