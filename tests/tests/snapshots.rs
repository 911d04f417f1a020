//! The content of etcd before and after a rotation and a rewrite, as a snapshot that is the same on
//! the model and on the stock server.
//!
//! `cargo insta review` shows changes. Names such as `key#1/v2` are assigned by first appearance,
//! so every run has the same text.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use kmslab::assets::NoProgress;
use kmslab::cloud::CloudKind;
use kmslab::cluster::{ClusterKind, ObjectRef, Resource};
use kmslab::environment::{Environment, EnvironmentSpec};
use kmslab::etcd::Stored;
use kmslab::etcd::snapshot_text::{Names, Plaintexts};
use kmslab::etcd::value::{Value, recognise};
use kmslab::inspect::decryptor::Decryptors;
use kmslab::scenario::{Canary, kms_v2_key_id, objects};
use kmslab_e2e::binaries;
use serde_json::json;

/// An environment with a few objects, and the names assigned to its keys, DEK sources and
/// plaintexts.
struct Lab {
    environment: Environment,
    decryptors: Decryptors,
    names: Names,
    objects: Vec<ObjectRef>,
}

impl Lab {
    async fn new(cluster: ClusterKind) -> Self {
        let spec = EnvironmentSpec {
            kmslab: Some(binaries().join("kmslab")),
            ..EnvironmentSpec::new(CloudKind::Aws, cluster)
        };
        let environment = Environment::start(&spec, &NoProgress).await.unwrap();
        let decryptors = environment.cloud.decryptors();
        let mut lab = Self {
            environment,
            decryptors,
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
            lab.objects
                .push(ObjectRef::from_object(&resource, &object).unwrap());
        }
        lab
    }

    async fn create(&self, object: &serde_json::Value) {
        self.environment.cluster.api().create(object).await.unwrap();
    }

    async fn stored(&self, at: &ObjectRef) -> Stored {
        self.environment
            .cluster
            .etcd()
            .get(&at.etcd_key())
            .await
            .unwrap()
            .unwrap()
    }

    /// Everything of the encrypted resources in `default`, decrypted with the vendor's SDK only.
    async fn text(&mut self) -> String {
        let (etcd, mut items) = (self.environment.cluster.etcd(), Vec::new());
        for resource in Environment::resources() {
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
                    self.decryptors
                        .decrypt(&object, stored.key.as_bytes())
                        .await,
                );
            }
        }
        let table = self.environment.cloud.key_table().await.unwrap();
        self.names.render(&items, &table, &plaintexts)
    }

    /// Rotates the key and waits until the API server uses the new version.
    async fn rotate(&self) {
        let old = self.environment.plugin.key_id().await.unwrap();
        self.environment.cloud.rotate().await.unwrap();
        let canary = Canary::new([8; 24]);
        let mut probe = objects::secret("default", "written-after", 10, &canary);
        let at = ObjectRef::from_object(&Resource::secrets(), &probe).unwrap();
        let api = self.environment.cluster.api();
        api.create(&probe).await.unwrap();
        for n in 0..120 {
            if kms_v2_key_id(&self.stored(&at).await).unwrap() != old {
                return;
            }
            let _ = self
                .environment
                .cluster
                .health("/readyz/kms-providers")
                .await;
            self.environment
                .cluster
                .advance_time(Duration::from_secs(1))
                .await;
            probe = api.get(&at).await.unwrap();
            probe["metadata"]["labels"] = json!({ "try": n.to_string() });
            api.replace(&probe).await.unwrap();
        }
        panic!("the rotation was not noticed within two minutes");
    }

    async fn rewrite(&self) {
        for at in &self.objects {
            self.environment.cluster.api().touch(at).await.unwrap();
        }
    }
}

/// The snapshots, and how each kind of tampering changes the last of them.
async fn snapshots(cluster: ClusterKind) {
    let mut lab = Lab::new(cluster).await;
    insta::assert_snapshot!("before", lab.text().await);
    let old = lab.stored(&lab.objects[0]).await;
    lab.rotate().await;
    insta::assert_snapshot!("rotated", lab.text().await);
    lab.rewrite().await;
    let rewritten = lab.text().await;
    insta::assert_snapshot!("rewritten", rewritten);

    let etcd = lab.environment.cluster.etcd();
    let good = lab.stored(&lab.objects[0]).await;
    let Value::KmsV2 { object, .. } = recognise(&good.value) else {
        panic!("not encrypted")
    };
    let plaintext = lab
        .decryptors
        .decrypt(&object, good.key.as_bytes())
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

    // A restarted API server generates a new DEK source with the same key.
    lab.environment.cluster.kill_server().await.unwrap();
    lab.environment.cluster.start_server().await.unwrap();
    let api = lab.environment.cluster.api();
    let mut object = api.get(&lab.objects[0]).await.unwrap();
    object["metadata"]["labels"] = json!({ "written-by": "another-server" });
    api.replace(&object).await.unwrap();
    let other = lab.text().await;
    assert_ne!(other, rewritten);
    assert!(
        line_of(&other, &good.key).contains("key#1/v2 id#2 dek#3"),
        "{other}"
    );
    lab.environment.shutdown().await.unwrap();
}

/// The line about the value of an etcd key.
fn line_of<'a>(text: &'a str, key: &str) -> &'a str {
    text.lines().skip_while(|line| *line != key).nth(1).unwrap()
}

#[tokio::test]
async fn etcd_matches_its_snapshots_on_the_model() {
    snapshots(ClusterKind::Embedded).await;
}

#[ignore = "tier apiserver: needs kube-apiserver and etcd, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn etcd_matches_its_snapshots_on_the_stock_server() {
    snapshots(ClusterKind::Apiserver).await;
}

#[ignore = "tier kind: needs a container engine, and a node image, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn etcd_matches_its_snapshots_on_kind() {
    snapshots(ClusterKind::Kind).await;
}
