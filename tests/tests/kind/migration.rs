//! From plaintext to encrypted only, and back, with the unmodified files of kind-config/migration.

use kmslab::cluster::{Cluster as _, ObjectRef, Resource};
use kmslab::environment::{Environment, KindOptions};
use kmslab::scenario::{Canary, objects};
use kmslab_e2e::root;

use super::environment;

/// Replaces the API server's EncryptionConfiguration and restarts it.
async fn with(environment: &Environment, name: &str) {
    let kind = environment.kind().unwrap();
    let file = kind
        .description()
        .dir
        .join("node/etc/kubernetes/enc/encryption-configuration.yaml");
    std::fs::copy(root().join("kind-config/migration").join(name), file).unwrap();
    kind.kill_server().await.unwrap();
    kind.start_server().await.unwrap();
    kind.wait_until_ready().await.unwrap();
}

struct Written {
    at: ObjectRef,
    content: String,
}

async fn write(environment: &Environment, name: &str) -> Written {
    let canary = Canary::new(std::array::from_fn(|n| name.as_bytes()[n % name.len()]));
    let secret = objects::secret("default", name, 64, &canary);
    let created = environment.cluster.api().create(&secret).await.unwrap();
    Written {
        at: ObjectRef::from_object(&Resource::secrets(), &secret).unwrap(),
        content: objects::content(&created),
    }
}

async fn reads(environment: &Environment, all: &[&Written]) {
    for Written { at, content } in all {
        assert_eq!(
            objects::content(&environment.cluster.api().get(at).await.unwrap()),
            *content,
            "{at}"
        );
    }
}

async fn is_encrypted(environment: &Environment, written: &Written) -> bool {
    let stored = environment
        .cluster
        .etcd()
        .get(&written.at.etcd_key())
        .await
        .unwrap()
        .unwrap();
    let encrypted = stored.value.starts_with(b"k8s:enc:kms:v2:kmslab:");
    assert!(
        encrypted || stored.value.starts_with(b"k8s\0"),
        "{}",
        written.at
    );
    encrypted
}

async fn rewrite(environment: &Environment) {
    let api = environment.cluster.api();
    for resource in Environment::resources().iter().take(2) {
        for object in api.list(resource, None).await.unwrap() {
            api.touch(&ObjectRef::from_object(resource, &object).unwrap())
                .await
                .unwrap();
        }
    }
}

#[ignore = "tier kind: needs a container engine, and a node image, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn kind_migration_steps_read_earlier_values() {
    let environment = environment(KindOptions::default()).await;
    with(&environment, "1-read.yaml").await;
    let plain = write(&environment, "plain").await;
    assert!(!is_encrypted(&environment, &plain).await);

    with(&environment, "2-write.yaml").await;
    let sealed = write(&environment, "sealed").await;
    assert!(is_encrypted(&environment, &sealed).await && !is_encrypted(&environment, &plain).await);
    reads(&environment, &[&plain, &sealed]).await;
    let stored = environment
        .cluster
        .etcd()
        .get(&plain.at.etcd_key())
        .await
        .unwrap()
        .unwrap();
    rewrite(&environment).await;
    assert!(is_encrypted(&environment, &plain).await);

    with(&environment, "3-encrypted-only.yaml").await;
    reads(&environment, &[&plain, &sealed]).await;
    // Plaintext that somebody with access to etcd writes is not accepted as a Secret any more.
    let forged = stored.key.replace("/plain", "/forged");
    environment
        .cluster
        .etcd()
        .put(&forged, &stored.value)
        .await
        .unwrap();
    let at = ObjectRef {
        name: "forged".into(),
        ..plain.at.clone()
    };
    let rejected = environment.cluster.api().get(&at).await.unwrap_err();
    assert_eq!(rejected.status, 500, "{rejected}");
    environment.cluster.etcd().delete(&forged).await.unwrap();

    with(&environment, "1-read.yaml").await;
    reads(&environment, &[&plain, &sealed]).await;
    rewrite(&environment).await;
    assert!(
        !is_encrypted(&environment, &plain).await && !is_encrypted(&environment, &sealed).await
    );
    reads(&environment, &[&plain, &sealed]).await;
    environment.shutdown().await.unwrap();
}
