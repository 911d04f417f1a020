//! The stock kube-apiserver and etcd with our plugin and emulator as processes: the same scenarios,
//! and the model compared with the server.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod older_providers;

use std::sync::Arc;
use std::time::Duration;

use kmslab::assets::NoProgress;
use kmslab::clock::VirtualClock;
use kmslab::cloud::CloudKind;
use kmslab::cluster::embedded::{Config, EmbeddedCluster, ReadOutcome};
use kmslab::cluster::{Cluster, ClusterKind, Encryption, ObjectRef, Resource};
use kmslab::environment::{Environment, EnvironmentSpec};
use kmslab::scenario::{self, Canary, kms_v2_key_id, objects};
use kmslab::scenarios;
use kmslab_e2e::binaries;
use kmslab_keycore::{Clock, SystemClock};

async fn environment(cloud: CloudKind) -> Environment {
    let spec = EnvironmentSpec {
        kmslab: Some(binaries().join("kmslab")),
        ..EnvironmentSpec::new(cloud, ClusterKind::Apiserver)
    };
    Environment::start(&spec, &NoProgress).await.unwrap()
}

async fn every_scenario_holds(cloud: CloudKind) {
    let environment = environment(cloud).await;
    for scenario in scenarios::by_default(ClusterKind::Apiserver) {
        let outcome = scenario::run(scenario, &environment, None).await;
        assert_eq!(outcome.failure, None, "{}", scenario.name);
        assert!(
            outcome.figures.objects.unwrap() >= 18,
            "{:?}",
            outcome.figures
        );
        if scenario.name == "rewrite" {
            assert!(outcome.figures.stale_before.unwrap() > 0);
            assert_eq!(outcome.figures.stale_after, Some(0));
        }
    }
    let traffic = environment.traffic().await.unwrap();
    assert_eq!(traffic.broken(), None, "{traffic:?}");
    environment.shutdown().await.unwrap();
}

#[ignore = "tier apiserver: needs kube-apiserver and etcd, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn scenarios_pass_on_the_stock_server() {
    every_scenario_holds(CloudKind::Aws).await;
}

#[ignore = "tier apiserver: needs kube-apiserver and etcd, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn scenarios_pass_on_the_stock_server_with_azure() {
    every_scenario_holds(CloudKind::Azure).await;
}

#[ignore = "tier apiserver: needs kube-apiserver and etcd, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn scenarios_pass_on_the_stock_server_with_google() {
    every_scenario_holds(CloudKind::Gcp).await;
}

#[ignore = "tier apiserver: needs kube-apiserver and etcd, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn migration_passes_on_the_stock_server() {
    let kmslab = Some(binaries().join("kmslab"));
    let spec = EnvironmentSpec {
        kmslab,
        target: Some(CloudKind::Gcp),
        ..EnvironmentSpec::new(CloudKind::Aws, ClusterKind::Apiserver)
    };
    let environment = Environment::start(&spec, &NoProgress).await.unwrap();
    let outcome = scenario::run(scenarios::find("migrate").unwrap(), &environment, None).await;
    assert_eq!(outcome.failure, None);
    let figures = outcome.figures;
    assert!(figures.stale_before.unwrap() > 18, "{figures:?}");
    assert_eq!(figures.stale_after, Some(0));
    let traffic = environment.traffic().await.unwrap();
    assert_eq!(traffic.broken(), None, "{traffic:?}");
    environment.shutdown().await.unwrap();
}

/// A model with the plugin of `environment` and its own namespace.
async fn model(environment: &Environment) -> (EmbeddedCluster, Arc<VirtualClock>) {
    let clock = VirtualClock::starting_at(SystemClock.now());
    let config = Config {
        encryption: Encryption::kms(
            &environment.provider,
            environment.plugin.socket(),
            Environment::resources()
                .iter()
                .map(Resource::group_resource)
                .collect(),
        ),
        ..Config::new(
            Arc::clone(&clock),
            environment.plugin.socket(),
            &environment.provider,
        )
    };
    (EmbeddedCluster::start(config).await.unwrap(), clock)
}

/// One object of each encrypted resource, in the namespace `default`.
fn one_of_each(name: &str, canary: &Canary) -> Vec<(ObjectRef, serde_json::Value)> {
    let objects = [
        objects::secret("default", name, 100, canary),
        objects::config_map("default", name, 100, canary),
        objects::widget("default", name, canary),
    ];
    Environment::resources()
        .iter()
        .zip(objects)
        .map(|(r, object)| (ObjectRef::from_object(r, &object).unwrap(), object))
        .collect()
}

/// Writes on `from`, copies etcd's bytes to `to` and reads there; both must return the same object.
async fn carried(from: &dyn Cluster, to: &dyn Cluster, name: &str) -> Vec<ObjectRef> {
    let canary = Canary::new(std::array::from_fn(|n| {
        name.as_bytes()[n % name.len()] ^ n as u8
    }));
    let mut all = Vec::new();
    for (at, object) in one_of_each(name, &canary) {
        let written = from.api().create(&object).await.unwrap();
        let stored = from.etcd().get(&at.etcd_key()).await.unwrap().unwrap();
        assert!(stored.value.starts_with(b"k8s:enc:kms:v2:"), "{at}");
        to.etcd().put(&stored.key, &stored.value).await.unwrap();
        let read = to
            .api()
            .get(&at)
            .await
            .unwrap_or_else(|error| panic!("{at}: {error}"));
        assert_eq!(objects::content(&read), objects::content(&written), "{at}");
        all.push(at);
    }
    all
}

#[ignore = "tier apiserver: needs kube-apiserver and etcd, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn model_and_stock_server_read_each_others_values() {
    let environment = environment(CloudKind::Aws).await;
    let (model, clock) = model(&environment).await;
    for api in [environment.cluster.api(), model.api()] {
        api.create(&objects::widget_definition()).await.unwrap();
    }
    let old = environment.plugin.key_id().await.unwrap();
    let from_model = carried(&model, &*environment.cluster, "model-before").await;
    let from_server = carried(&*environment.cluster, &model, "server-before").await;

    environment.cloud.rotate().await.unwrap();
    let noticed = async {
        while environment.plugin.key_id().await.unwrap() == old {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // The server: write until it uses the new key.
        for n in 0.. {
            let canary = Canary::new([n; 24]);
            let object = objects::secret("default", &format!("probe-{n}"), 8, &canary);
            environment.cluster.api().create(&object).await.unwrap();
            let at = ObjectRef::from_object(&Resource::secrets(), &object).unwrap();
            let stored = environment
                .cluster
                .etcd()
                .get(&at.etcd_key())
                .await
                .unwrap()
                .unwrap();
            if kms_v2_key_id(&stored).unwrap() != old {
                break;
            }
            let _ = environment.cluster.health("/readyz/kms-providers").await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(90), noticed)
        .await
        .expect("the rotation was not noticed");
    clock.advance(Duration::from_secs(90)).await;
    let new = model.write_key_id().unwrap();
    assert_ne!(new, old);

    carried(&model, &*environment.cluster, "model-after").await;
    carried(&*environment.cluster, &model, "server-after").await;
    // Earlier values are stale for both, and a no-op write rewrites them on both, with the same
    // key.
    for at in from_model.iter().chain(&from_server) {
        assert_eq!(
            model.read_outcome(at).await.unwrap(),
            ReadOutcome::Stale,
            "{at}"
        );
        for cluster in [&model as &dyn Cluster, &*environment.cluster] {
            cluster.api().touch(at).await.unwrap();
            let stored = cluster.etcd().get(&at.etcd_key()).await.unwrap().unwrap();
            assert_eq!(
                kms_v2_key_id(&stored).as_deref(),
                Some(new.as_str()),
                "{at} on {}",
                cluster.kind()
            );
        }
        assert_eq!(
            model.read_outcome(at).await.unwrap(),
            ReadOutcome::Fresh,
            "{at}"
        );
    }
    model.shutdown().await.unwrap();
    environment.shutdown().await.unwrap();
}
