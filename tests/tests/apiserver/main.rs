//! The stock kube-apiserver and etcd with our plugin and emulator as processes: the same scenarios,
//! and the model held to the server.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod older_providers;

use std::sync::Arc;
use std::time::Duration;

use kmslab::assets::Quiet;
use kmslab::clock::VirtualClock;
use kmslab::cloud::CloudKind;
use kmslab::cluster::embedded::{Config, EmbeddedCluster, ReadOutcome};
use kmslab::cluster::{Cluster, ClusterKind, Encryption, ObjectRef, Resource};
use kmslab::scenario::{self, Canary, key_id_of, objects};
use kmslab::world::{Plan, World};
use kmslab_e2e::built;
use kmslab_keycore::{Clock, SystemClock};

async fn world(cloud: CloudKind) -> World {
    let plan = Plan {
        kmslab: Some(built().join("kmslab")),
        ..Plan::new(cloud, ClusterKind::Apiserver)
    };
    World::start(&plan, &Quiet).await.unwrap()
}

async fn every_scenario_holds(cloud: CloudKind) {
    let world = world(cloud).await;
    for scenario in scenario::by_default(ClusterKind::Apiserver) {
        let outcome = scenario::run(scenario, &world, None).await;
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
    let traffic = world.traffic().await.unwrap();
    assert_eq!(traffic.broken(), None, "{traffic:?}");
    world.shutdown().await.unwrap();
}

#[ignore = "tier apiserver: needs kube-apiserver and etcd, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn the_scenarios_hold_on_the_stock_server() {
    every_scenario_holds(CloudKind::Aws).await;
}

#[ignore = "tier apiserver: needs kube-apiserver and etcd, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn the_scenarios_hold_on_the_stock_server_with_azure() {
    every_scenario_holds(CloudKind::Azure).await;
}

#[ignore = "tier apiserver: needs kube-apiserver and etcd, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn the_scenarios_hold_on_the_stock_server_with_google() {
    every_scenario_holds(CloudKind::Gcp).await;
}

#[ignore = "tier apiserver: needs kube-apiserver and etcd, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_holds_on_the_stock_server_which_reloads_its_configuration() {
    let kmslab = Some(built().join("kmslab"));
    let plan = Plan {
        kmslab,
        target: Some(CloudKind::Gcp),
        ..Plan::new(CloudKind::Aws, ClusterKind::Apiserver)
    };
    let world = World::start(&plan, &Quiet).await.unwrap();
    let outcome = scenario::run(scenario::find("migrate").unwrap(), &world, None).await;
    assert_eq!(outcome.failure, None);
    let figures = outcome.figures;
    assert!(figures.stale_before.unwrap() > 18, "{figures:?}");
    assert_eq!(figures.stale_after, Some(0));
    let traffic = world.traffic().await.unwrap();
    assert_eq!(traffic.broken(), None, "{traffic:?}");
    world.shutdown().await.unwrap();
}

/// A model on the plugin of `world`, with a namespace of its own.
async fn model(world: &World) -> (EmbeddedCluster, Arc<VirtualClock>) {
    let clock = VirtualClock::at(SystemClock.now());
    let config = Config {
        encryption: Encryption::kms(
            &world.provider,
            world.plugin.socket(),
            World::resources()
                .iter()
                .map(Resource::group_resource)
                .collect(),
        ),
        ..Config::new(Arc::clone(&clock), world.plugin.socket(), &world.provider)
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
    World::resources()
        .iter()
        .zip(objects)
        .map(|(r, object)| (ObjectRef::of(r, &object).unwrap(), object))
        .collect()
}

/// Writes on `from`, carries etcd's bytes over to `to`, and reads there; both ways must show the
/// same object.
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
async fn model_and_server_read_each_other_before_and_after_a_rotation() {
    let world = world(CloudKind::Aws).await;
    let (model, clock) = model(&world).await;
    for api in [world.cluster.api(), model.api()] {
        api.create(&objects::widget_definition()).await.unwrap();
    }
    let old = world.plugin.key_id().await.unwrap();
    let from_model = carried(&model, &*world.cluster, "model-before").await;
    let from_server = carried(&*world.cluster, &model, "server-before").await;

    world.cloud.rotate().await.unwrap();
    let noticed = async {
        while world.plugin.key_id().await.unwrap() == old {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // The server: written to until it writes under the new key.
        for n in 0.. {
            let canary = Canary::new([n; 24]);
            let object = objects::secret("default", &format!("probe-{n}"), 8, &canary);
            world.cluster.api().create(&object).await.unwrap();
            let at = ObjectRef::of(&Resource::secrets(), &object).unwrap();
            let stored = world
                .cluster
                .etcd()
                .get(&at.etcd_key())
                .await
                .unwrap()
                .unwrap();
            if key_id_of(&stored).unwrap() != old {
                break;
            }
            let _ = world.cluster.health("/readyz/kms-providers").await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(90), noticed)
        .await
        .expect("the rotation was not noticed");
    clock.advance(Duration::from_secs(90)).await;
    let new = model.write_key_id().unwrap();
    assert_ne!(new, old);

    carried(&model, &*world.cluster, "model-after").await;
    carried(&*world.cluster, &model, "server-after").await;
    // What was written before is stale to both, and a no-op write heals it on both, under the same
    // key.
    for at in from_model.iter().chain(&from_server) {
        assert_eq!(
            model.read_outcome(at).await.unwrap(),
            ReadOutcome::Stale,
            "{at}"
        );
        for cluster in [&model as &dyn Cluster, &*world.cluster] {
            cluster.api().touch(at).await.unwrap();
            let stored = cluster.etcd().get(&at.etcd_key()).await.unwrap().unwrap();
            assert_eq!(
                key_id_of(&stored).as_deref(),
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
    world.shutdown().await.unwrap();
}
