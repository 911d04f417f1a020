//! What etcd holds before and after a rotation and a rewrite, as a snapshot that reads the same on
//! the model and on the stock server.
//!
//! `cargo insta review` shows what changed. Names such as `key#1/v2` are given by first appearance,
//! so every run has the same text.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use kmslab::assets::Quiet;
use kmslab::cloud::CloudKind;
use kmslab::cluster::{ClusterKind, ObjectRef, Resource};
use kmslab::etcd::Stored;
use kmslab::etcd::snapshot_text::{Names, Plaintexts};
use kmslab::etcd::value::{Value, recognise};
use kmslab::inspect::opener::Openers;
use kmslab::scenario::{Canary, key_id_of, objects};
use kmslab::world::{Plan, World};
use kmslab_e2e::built;
use serde_json::json;

/// A world with a few objects in it, and the names that its keys, DEK sources and plaintexts have
/// been given so far.
struct Lab {
    world: World,
    openers: Openers,
    names: Names,
    objects: Vec<ObjectRef>,
}

impl Lab {
    async fn new(cluster: ClusterKind) -> Self {
        let plan = Plan {
            kmslab: Some(built().join("kmslab")),
            ..Plan::new(CloudKind::Aws, cluster)
        };
        let world = World::start(&plan, &Quiet).await.unwrap();
        let openers = world.cloud.openers();
        let mut lab = Self {
            world,
            openers,
            names: Names::default(),
            objects: Vec::new(),
        };
        lab.create(&objects::widget_definition()).await;
        let canary = Canary::new([7; 24]);
        for (resource, object) in [
            (
                Resource::secrets(),
                objects::secret("default", "password", 100, &canary),
            ),
            (
                Resource::secrets(),
                objects::secret("default", "certificate", 3000, &canary),
            ),
            (
                Resource::config_maps(),
                objects::config_map("default", "settings", 200, &canary),
            ),
            (
                objects::widgets(),
                objects::widget("default", "one", &canary),
            ),
        ] {
            lab.create(&object).await;
            lab.objects.push(ObjectRef::of(&resource, &object).unwrap());
        }
        lab
    }

    async fn create(&self, object: &serde_json::Value) {
        self.world.cluster.api().create(object).await.unwrap();
    }

    async fn stored(&self, at: &ObjectRef) -> Stored {
        self.world
            .cluster
            .etcd()
            .get(&at.etcd_key())
            .await
            .unwrap()
            .unwrap()
    }

    /// Everything of the encrypted resources in `default`, decrypted with the vendor's SDK alone.
    async fn text(&mut self) -> String {
        let (etcd, mut items) = (self.world.cluster.etcd(), Vec::new());
        for resource in World::resources() {
            let range = etcd
                .range(&format!("{}default/", resource.etcd_prefix()))
                .await
                .unwrap();
            items.extend(
                range
                    .items
                    .into_iter()
                    .filter(|stored| !stored.key.ends_with("/kube-root-ca.crt")),
            );
        }
        let mut plaintexts = Plaintexts::new();
        for stored in &items {
            if let Value::KmsV2 { object, .. } = recognise(&stored.value) {
                plaintexts.insert(
                    stored.key.clone(),
                    self.openers.open(&object, stored.key.as_bytes()).await,
                );
            }
        }
        let table = self.world.cloud.key_table().await.unwrap();
        self.names.render(&items, &table, &plaintexts)
    }

    /// Rotates the key, and waits until the API server writes under the new version.
    async fn rotate(&self) {
        let old = self.world.plugin.key_id().await.unwrap();
        self.world.cloud.rotate().await.unwrap();
        let canary = Canary::new([8; 24]);
        let mut probe = objects::secret("default", "written-after", 10, &canary);
        let at = ObjectRef::of(&Resource::secrets(), &probe).unwrap();
        let api = self.world.cluster.api();
        api.create(&probe).await.unwrap();
        for n in 0..120 {
            if key_id_of(&self.stored(&at).await).unwrap() != old {
                return;
            }
            let _ = self.world.cluster.health("/readyz/kms-providers").await;
            self.world.cluster.pass(Duration::from_secs(1)).await;
            probe = api.get(&at).await.unwrap();
            probe["metadata"]["labels"] = json!({ "try": n.to_string() });
            api.replace(&probe).await.unwrap();
        }
        panic!("the rotation was not noticed within two minutes");
    }

    async fn rewrite(&self) {
        for at in &self.objects {
            self.world.cluster.api().touch(at).await.unwrap();
        }
    }
}

/// The snapshots, and what each kind of tampering does to the last of them.
async fn snapshots(cluster: ClusterKind) {
    let mut lab = Lab::new(cluster).await;
    insta::assert_snapshot!("before", lab.text().await);
    let old = lab.stored(&lab.objects[0]).await;
    lab.rotate().await;
    insta::assert_snapshot!("rotated", lab.text().await);
    lab.rewrite().await;
    let rewritten = lab.text().await;
    insta::assert_snapshot!("rewritten", rewritten);

    let etcd = lab.world.cluster.etcd();
    let good = lab.stored(&lab.objects[0]).await;
    let Value::KmsV2 { object, .. } = recognise(&good.value) else {
        panic!("not encrypted")
    };
    let plaintext = lab
        .openers
        .open(&object, good.key.as_bytes())
        .await
        .unwrap();
    for (harm, shows) in [
        (old.value, "key#1/v1"),
        (plaintext.to_vec(), "NOT ENCRYPTED protobuf v1 Secret"),
    ] {
        etcd.put(&good.key, &harm).await.unwrap();
        let harmed = lab.text().await;
        assert_ne!(harmed, rewritten);
        assert!(line_of(&harmed, &good.key).contains(shows), "{harmed}");
        etcd.put(&good.key, &good.value).await.unwrap();
        assert_eq!(lab.text().await, rewritten);
    }

    // A restarted API server makes a new DEK source under the same key.
    lab.world.cluster.kill_server().await.unwrap();
    lab.world.cluster.start_server().await.unwrap();
    let api = lab.world.cluster.api();
    let mut object = api.get(&lab.objects[0]).await.unwrap();
    object["metadata"]["labels"] = json!({ "written-by": "another-server" });
    api.replace(&object).await.unwrap();
    let other = lab.text().await;
    assert_ne!(other, rewritten);
    assert!(
        line_of(&other, &good.key).contains("key#1/v2 id#2 dek#3"),
        "{other}"
    );
    lab.world.shutdown().await.unwrap();
}

/// The line about the value under an etcd key.
fn line_of<'a>(text: &'a str, key: &str) -> &'a str {
    text.lines().skip_while(|line| *line != key).nth(1).unwrap()
}

#[tokio::test]
async fn etcd_reads_as_its_snapshots_on_the_model() {
    snapshots(ClusterKind::Embedded).await;
}

#[ignore = "tier apiserver: needs kube-apiserver and etcd, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn etcd_reads_as_its_snapshots_on_the_stock_server() {
    snapshots(ClusterKind::Apiserver).await;
}

#[ignore = "tier kind: needs a container engine, and a node image, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn etcd_reads_as_its_snapshots_on_kind() {
    snapshots(ClusterKind::Kind).await;
}
