//! From plaintext to encrypted only, and back, with the files of kind-config/migration as they are.

use kmslab::cluster::{Cluster as _, ObjectRef, Resource};
use kmslab::scenario::{Canary, objects};
use kmslab::world::{KindOptions, World};
use kmslab_e2e::root;

use super::world;

/// Gives the API server another EncryptionConfiguration, and starts it again.
async fn with(world: &World, name: &str) {
    let kind = world.kind().unwrap();
    let file = kind
        .description()
        .dir
        .join("node/etc/kubernetes/enc/encryption-configuration.yaml");
    std::fs::copy(root().join("kind-config/migration").join(name), file).unwrap();
    kind.kill_server().await.unwrap();
    kind.start_server().await.unwrap();
    kind.until_ready().await.unwrap();
}

struct Written {
    at: ObjectRef,
    content: String,
}

async fn write(world: &World, name: &str) -> Written {
    let canary = Canary::new(std::array::from_fn(|n| name.as_bytes()[n % name.len()]));
    let secret = objects::secret("default", name, 64, &canary);
    let created = world.cluster.api().create(&secret).await.unwrap();
    Written {
        at: ObjectRef::of(&Resource::secrets(), &secret).unwrap(),
        content: objects::content(&created),
    }
}

async fn reads(world: &World, all: &[&Written]) {
    for Written { at, content } in all {
        assert_eq!(
            objects::content(&world.cluster.api().get(at).await.unwrap()),
            *content,
            "{at}"
        );
    }
}

async fn is_encrypted(world: &World, written: &Written) -> bool {
    let stored = world
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

async fn rewrite(world: &World) {
    let api = world.cluster.api();
    for resource in World::resources().iter().take(2) {
        for object in api.list(resource, None).await.unwrap() {
            api.touch(&ObjectRef::of(resource, &object).unwrap())
                .await
                .unwrap();
        }
    }
}

#[ignore = "tier kind: needs a container engine, and a node image, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn on_kind_each_step_of_a_migration_reads_what_the_one_before_wrote() {
    let world = world(KindOptions::default()).await;
    with(&world, "1-read.yaml").await;
    let plain = write(&world, "plain").await;
    assert!(!is_encrypted(&world, &plain).await);

    with(&world, "2-write.yaml").await;
    let sealed = write(&world, "sealed").await;
    assert!(is_encrypted(&world, &sealed).await && !is_encrypted(&world, &plain).await);
    reads(&world, &[&plain, &sealed]).await;
    let stored = world
        .cluster
        .etcd()
        .get(&plain.at.etcd_key())
        .await
        .unwrap()
        .unwrap();
    rewrite(&world).await;
    assert!(is_encrypted(&world, &plain).await);

    with(&world, "3-encrypted-only.yaml").await;
    reads(&world, &[&plain, &sealed]).await;
    // What somebody with access to etcd puts there in plaintext is no Secret any more.
    let forged = stored.key.replace("/plain", "/forged");
    world
        .cluster
        .etcd()
        .put(&forged, &stored.value)
        .await
        .unwrap();
    let at = ObjectRef {
        name: "forged".into(),
        ..plain.at.clone()
    };
    let refused = world.cluster.api().get(&at).await.unwrap_err();
    assert_eq!(refused.status, 500, "{refused}");
    world.cluster.etcd().delete(&forged).await.unwrap();

    with(&world, "1-read.yaml").await;
    reads(&world, &[&plain, &sealed]).await;
    rewrite(&world).await;
    assert!(!is_encrypted(&world, &plain).await && !is_encrypted(&world, &sealed).await);
    reads(&world, &[&plain, &sealed]).await;
    world.shutdown().await.unwrap();
}
