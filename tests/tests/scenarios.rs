//! The scenarios on the embedded cluster: they pass, and they fail when a part is broken on
//! purpose.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use kmslab::assets::NoProgress;
use kmslab::cloud::CloudKind;
use kmslab::cluster::embedded::Sabotage;
use kmslab::cluster::{ClusterKind, ObjectRef, Resource};
use kmslab::environment::{Environment, EnvironmentSpec, KeyUses, Traffic};
use kmslab::scenario::{self, Outcome};
use kmslab::scenarios;

fn spec() -> EnvironmentSpec {
    on(CloudKind::Aws)
}

fn on(cloud: CloudKind) -> EnvironmentSpec {
    EnvironmentSpec::new(cloud, ClusterKind::Embedded)
}

async fn play(name: &str, spec: &EnvironmentSpec) -> (Outcome, Traffic) {
    let environment = Environment::start(spec, &NoProgress).await.unwrap();
    let outcome = scenario::run(scenarios::find(name).unwrap(), &environment, None).await;
    let traffic = environment.traffic().await.unwrap();
    environment.shutdown().await.unwrap();
    (outcome, traffic)
}

async fn failed_step(name: &str, sabotage: Sabotage) -> (String, String) {
    let (outcome, _) = play(name, &EnvironmentSpec { sabotage, ..spec() }).await;
    let failure = outcome.failure.expect("the broken model was not noticed");
    (failure.step.clone(), failure.to_string())
}

#[tokio::test]
async fn every_scenario_passes_alone_with_complete_traffic() {
    let embedded = || scenarios::by_default(ClusterKind::Embedded);
    assert_eq!(
        embedded().count(),
        scenarios::ALL.len() - 1,
        "all but the migration, which needs a second cloud"
    );
    for (cloud, scenario) in CloudKind::ALL
        .iter()
        .flat_map(|cloud| embedded().map(move |one| (cloud, one)))
    {
        let (outcome, traffic) = play(scenario.name, &on(*cloud)).await;
        assert_eq!(outcome.failure, None, "{} on {cloud}", scenario.name);
        assert_eq!(
            traffic.broken(),
            None,
            "{} on {cloud}: {traffic:?}",
            scenario.name
        );
        assert!(
            traffic.grpc_calls > 0 && traffic.key_uses.encrypts > 0,
            "{traffic:?}"
        );
        assert!(traffic.key_uses.dek_sources > 0, "{traffic:?}");
        assert!(
            outcome.figures.objects.unwrap() > 10,
            "{:?}",
            outcome.figures
        );
    }
}

/// As controllers do: existing objects are changed and deleted during the rewrite.
#[tokio::test]
async fn rewrite_passes_while_others_write_and_delete() {
    let environment = Environment::start(&spec(), &NoProgress).await.unwrap();
    let api = environment.cluster.api();
    let secret = |name: &str, round: usize| {
        serde_json::json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": name, "namespace": "default" },
            "stringData": { "round": round.to_string() },
        })
    };
    let names: Vec<String> = (0..20).map(|number| format!("others-{number}")).collect();
    for name in &names {
        api.create(&secret(name, 0)).await.unwrap();
    }
    let others = async {
        for round in 1.. {
            for (number, name) in names.iter().enumerate() {
                let at = ObjectRef::new(Resource::secrets(), Some("default"), name);
                // Each is created again after it was deleted.
                if (number + round) % 3 == 0 {
                    let _ = api.delete(&at).await;
                } else if api.replace(&secret(name, round)).await.is_err() {
                    let _ = api.create(&secret(name, round)).await;
                }
                tokio::task::yield_now().await;
            }
        }
    };
    let outcome = tokio::select! {
        outcome = scenario::run(scenarios::find("rewrite").unwrap(), &environment, None) => outcome,
        () = others => unreachable!("they never end"),
    };
    assert_eq!(outcome.failure, None);
    assert!(outcome.figures.others.unwrap() > 0, "{:?}", outcome.figures);
    environment.shutdown().await.unwrap();
}

#[tokio::test]
async fn rewrite_counts_stale_values_before_and_after() {
    for cloud in CloudKind::ALL {
        let (outcome, _) = play("rewrite", &on(*cloud)).await;
        let figures = outcome.figures;
        // 18 objects before the rotation, one after it.
        assert_eq!(
            (figures.objects, figures.stale_before, figures.stale_after),
            (Some(19), Some(18), Some(0)),
            "{cloud}"
        );
        assert_eq!(
            (figures.others, figures.key_versions),
            (Some(0), Some(2)),
            "{cloud}"
        );
    }
}

#[tokio::test]
async fn migration_passes_between_all_clouds() {
    let mut pairs = 0;
    for from in CloudKind::ALL {
        for to in CloudKind::ALL.iter().filter(|to| *to != from) {
            let (outcome, traffic) = play(
                "migrate",
                &EnvironmentSpec {
                    target: Some(*to),
                    ..on(*from)
                },
            )
            .await;
            assert_eq!(outcome.failure, None, "{from} to {to}");
            assert_eq!(traffic.broken(), None, "{from} to {to}: {traffic:?}");
            // 18 objects and one while the second plugin was only a reader; one more was written
            // with it already.
            let figures = outcome.figures;
            assert_eq!(
                (figures.objects, figures.stale_before, figures.stale_after),
                (Some(20), Some(19), Some(0))
            );
            pairs += 1;
        }
    }
    assert_eq!(pairs, 6);
}

#[tokio::test]
async fn model_without_staleness_fails_the_migration() {
    let spec = EnvironmentSpec {
        target: Some(CloudKind::Gcp),
        ..spec()
    };
    let sabotage = Sabotage {
        stale: true,
        ..Sabotage::default()
    };
    let failure = play("migrate", &EnvironmentSpec { sabotage, ..spec })
        .await
        .0
        .failure
        .expect("it was not noticed");
    assert_eq!(failure.step, "rewrite");
    assert!(
        failure
            .to_string()
            .contains("no value that needs the first key"),
        "{failure}"
    );
}

#[tokio::test]
async fn model_without_staleness_fails_the_rewrite() {
    let (step, text) = failed_step(
        "rewrite",
        Sabotage {
            stale: true,
            ..Sabotage::default()
        },
    )
    .await;
    assert_eq!(step, "prove");
    assert!(
        text.contains("expected: no value under an old version") && text.contains("other-key-id"),
        "{text}"
    );
}

#[tokio::test]
async fn model_without_aad_fails_the_encryption() {
    let (step, text) = failed_step(
        "encrypt",
        Sabotage {
            aad: true,
            ..Sabotage::default()
        },
    )
    .await;
    assert_eq!(step, "open");
    assert!(text.contains("message authentication failed"), "{text}");
}

#[tokio::test]
async fn use_of_the_key_beside_the_plugin_fails_a_scenario() {
    let environment = Environment::start(&spec(), &NoProgress).await.unwrap();
    let scenario = scenarios::find("encrypt").unwrap();
    let outcome = scenario::run(scenario, &environment, None).await;
    assert_eq!(outcome.failure, None);
    assert_eq!(environment.traffic().await.unwrap().broken(), None);
    // With the plugin's own credentials, but not by the plugin.
    let kek = environment.cloud.kek().await.unwrap();
    kek.wrap(b"beside the plugin", None).await.unwrap();
    let broken = environment.traffic().await.unwrap().broken().unwrap();
    assert!(broken.starts_with("the plugin counted "), "{broken}");
    environment.shutdown().await.unwrap();
}

#[test]
fn incomplete_traffic_fails_a_scenario() {
    let all = Traffic {
        grpc_calls: 3,
        sdk_requests: 4,
        emulator_requests: 4,
        key_uses: KeyUses {
            encrypts: 2,
            audited_encrypts: 2,
            ..KeyUses::default()
        },
        others: false,
    };
    assert_eq!(all.broken(), None);
    for broken in [
        Traffic {
            grpc_calls: 0,
            ..all
        },
        Traffic {
            sdk_requests: 0,
            emulator_requests: 0,
            ..all
        },
        Traffic {
            emulator_requests: 0,
            ..all
        },
        Traffic {
            key_uses: KeyUses {
                audited_encrypts: 3,
                ..all.key_uses
            },
            ..all
        },
        Traffic {
            key_uses: KeyUses {
                dek_sources: 1,
                foreign_dek_sources: 1,
                ..all.key_uses
            },
            ..all
        },
    ] {
        assert!(broken.broken().is_some(), "{broken:?}");
    }
}
