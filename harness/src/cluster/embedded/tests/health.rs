//! Health, and starts with an unhealthy, dead or late plugin.

use super::*;

async fn health(lab: &Lab, path: &str) -> (u16, String) {
    let health = lab.cluster.health(path).await.unwrap();
    (health.status, health.body)
}

#[tokio::test]
async fn readiness_probe_notices_a_new_key_within_twenty_seconds() {
    let lab = Lab::new().await;
    lab.plugin.script().key_id = "k2".into();
    lab.pass(19).await;
    assert_eq!(
        health(&lab, "/readyz/kms-providers").await,
        (200, "ok".into())
    );
    assert_eq!(lab.cluster.write_key_id().unwrap(), "k1");
    lab.pass(1).await;
    assert_eq!(health(&lab, "/readyz").await, (200, "ok".into()));
    assert_eq!(lab.cluster.write_key_id().unwrap(), "k2");
}

/// kubernetes#138950: the key id counts, whatever `healthz` says.
#[tokio::test]
async fn unhealthy_plugin_with_a_key_id_does_not_stop_writes() {
    let lab = Lab::new().await;
    lab.plugin.script().healthz = "kms key disabled".into();
    lab.pass(200).await;
    lab.create("s").await.unwrap();
    let expected = "internal server error: kms-provider-0: kmsv2 Provider p1 is not healthy, error: got unexpected healthz status: kms key disabled\n";
    assert_eq!(
        health(&lab, "/readyz/kms-providers").await,
        (500, expected.into())
    );
    assert_eq!(health(&lab, "/livez").await.0, 200);
    assert_eq!(
        health(&lab, "/livez/kms-providers").await,
        (404, "404 page not found\n".into())
    );
    let all = "[+]ping ok\n[+]etcd ok\n[-]kms-providers failed: reason withheld\n[+]poststarthook/storage-readiness ok\nhealthz check failed\n";
    assert_eq!(health(&lab, "/healthz").await, (500, all.into()));
    assert_eq!(
        health(&lab, "/healthz?exclude=kms-providers").await,
        (200, "ok".into())
    );
    assert!(
        health(&lab, "/readyz?verbose&exclude=kms-providers")
            .await
            .1
            .contains("[+]kms-providers excluded: ok\n")
    );
}

#[tokio::test]
async fn first_caller_of_a_failed_check_gets_the_long_message() {
    let lab = Lab::new().await;
    lab.plugin.script().down = Some(Status::unavailable("gone"));
    lab.pass(20).await;
    let long = "internal server error: kms-provider-0: failed to perform status section of the healthz check for KMS Provider p1, error: rpc error: code = Unavailable desc = gone\n";
    assert_eq!(
        health(&lab, "/readyz/kms-providers").await,
        (500, long.into())
    );
    let short =
        "internal server error: kms-provider-0: rpc error: code = Unavailable desc = gone\n";
    assert_eq!(
        health(&lab, "/readyz/kms-providers").await,
        (500, short.into())
    );
    lab.plugin.script().down = None;
    lab.pass(3).await;
    assert_eq!(health(&lab, "/readyz/kms-providers").await.0, 200);
}

#[tokio::test]
async fn plugin_calls_have_a_real_timeout() {
    let lab = Lab::with(|config| config.timeout = Duration::from_millis(200)).await;
    lab.plugin.script().hangs = true;
    lab.pass(20).await;
    let (status, body) = health(&lab, "/readyz/kms-providers").await;
    assert_eq!(status, 500);
    assert!(
        body.ends_with("rpc error: code = DeadlineExceeded desc = context deadline exceeded\n"),
        "{body}"
    );
    lab.plugin.script().hangs = false;
    lab.pass(3).await;
    assert_eq!(health(&lab, "/readyz/kms-providers").await.0, 200);
}

#[tokio::test]
async fn plugin_version_must_not_change() {
    let lab = Lab::new().await;
    lab.plugin.script().version = "v2beta1".into();
    lab.pass(60).await;
    let body = health(&lab, "/readyz/kms-providers").await.1;
    assert!(
        body.contains("KMSv2 API version should not change after the initial status response version v2, got v2beta1"),
        "{body}"
    );
    lab.plugin.script().version = "v3".into();
    lab.pass(10).await;
    let body = health(&lab, "/readyz/kms-providers").await.1;
    assert!(
        body.contains("expected KMSv2 API version v2, got v3"),
        "{body}"
    );
}

#[tokio::test]
async fn restart_without_a_plugin_reads_nothing_encrypted() {
    let mut lab = Lab::new().await;
    lab.create("s").await.unwrap();
    lab.stop_plugin().await;
    lab.api().get(&at("s")).await.unwrap();
    lab.restart().await;

    let expected = "Internal error occurred: got unexpected nil transformer";
    for err in [
        lab.api().get(&at("s")).await.unwrap_err(),
        lab.create("t").await.unwrap_err(),
    ] {
        assert_eq!((err.status, err.message.as_str()), (500, expected));
    }
    assert_eq!(
        lab.api()
            .list(&Resource::namespaces(), None)
            .await
            .unwrap()
            .len(),
        4
    );
    let body = health(&lab, "/readyz/kms-providers").await.1;
    let socket = lab.dir.path().join("kms.sock");
    let dial = format!(
        "rpc error: code = DeadlineExceeded desc = latest balancer error: connection error: desc = \"transport: Error while dialing: dial unix {}: connect: connection refused\"\n",
        socket.display()
    );
    assert!(body.ends_with(&dial), "{body}");
    let (status, body) = health(&lab, "/readyz").await;
    assert_eq!(status, 500);
    for name in [
        "kms-providers",
        "informer-sync",
        "poststarthook/storage-readiness",
    ] {
        assert!(
            body.contains(&format!("[-]{name} failed: reason withheld\n")),
            "{body}"
        );
    }
    assert_eq!(health(&lab, "/livez").await.0, 500);
    // After `--storage-initialization-timeout` the server is alive, but not ready.
    lab.pass(61).await;
    assert_eq!(
        (
            health(&lab, "/livez").await.0,
            health(&lab, "/readyz").await.0
        ),
        (200, 500)
    );

    lab.start_plugin();
    lab.pass(10).await;
    lab.api().get(&at("s")).await.unwrap();
    lab.create("t").await.unwrap();
    assert_eq!(health(&lab, "/readyz").await, (200, "ok".into()));
}

#[tokio::test]
async fn restarted_plugin_is_reconnected() {
    let mut lab = Lab::new().await;
    lab.stop_plugin().await;
    lab.start_plugin();
    lab.plugin.script().key_id = "k2".into();
    lab.pass(60).await;
    assert_eq!(lab.cluster.write_key_id().unwrap(), "k2");
}

#[tokio::test]
async fn encrypted_namespaces_are_created_once_the_plugin_responds() {
    let mut lab = Lab::with(|config| config.encryption.resources = vec!["*.*".into()]).await;
    lab.create("s").await.unwrap();
    lab.stop_plugin().await;
    let cold = Lab {
        dir: tempfile::tempdir().unwrap(),
        ..lab
    };
    let mut config = cold.cluster.shared.config.clone();
    config.encryption.providers[0] = Provider::kms("p1", cold.dir.path().join("kms.sock"));
    let mut cold = Lab {
        cluster: EmbeddedCluster::start(config).await.unwrap(),
        ..cold
    };
    assert_eq!(cold.create("s").await.unwrap_err().status, 404);
    cold.serving = Some(serve(&cold.dir.path().join("kms.sock"), &cold.plugin));
    cold.pass(10).await;
    cold.create("s").await.unwrap();
}

#[tokio::test]
async fn killed_server_gives_no_response() {
    let lab = Lab::new().await;
    lab.cluster.kill_server().await.unwrap();
    lab.pass(600).await;
    assert_eq!(lab.plugin.script().statuses, 1);
    let err = lab.create("s").await.unwrap_err();
    assert_eq!((err.status, err.reason.as_str()), (0, "NoAnswer"));
    assert_eq!(lab.cluster.health("/livez").await.unwrap_err().status, 0);
    lab.cluster.start_server().await.unwrap();
    lab.create("s").await.unwrap();
    lab.cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn identity_needs_no_plugin_and_stores_plaintext() {
    let lab = Lab::with(|config| config.encryption.providers = vec![Provider::Identity]).await;
    lab.create("s").await.unwrap();
    assert!(has(&lab.etcd().database().await.unwrap(), "canary-7f3a"));
    assert_eq!(health(&lab, "/readyz").await, (200, "ok".into()));
    assert_eq!(health(&lab, "/readyz/kms-providers").await.0, 200);
    assert_eq!(lab.plugin.script().statuses, 0);
    lab.etcd()
        .put(&at("x").etcd_key(), b"k8s:enc:kms:v2:p1:abc")
        .await
        .unwrap();
    assert_eq!(
        lab.api().get(&at("x")).await.unwrap_err().message,
        "Internal error occurred: no matching prefix found"
    );
    // A ConfigMap is encrypted too, a namespace is not.
    let namespace = ObjectRef::new(Resource::namespaces(), None, "x");
    lab.etcd()
        .put(&namespace.etcd_key(), b"k8s:enc:kms:v2:p1:abc")
        .await
        .unwrap();
    let err = lab.api().get(&namespace).await.unwrap_err();
    assert_eq!(
        err.message,
        "Internal error occurred: identity transformer tried to read encrypted data"
    );
}

#[tokio::test]
async fn first_provider_writes() {
    let lab = Lab::with(|config| config.encryption.providers.reverse()).await;
    lab.create("plain").await.unwrap();
    assert!(has(&lab.etcd().database().await.unwrap(), "canary-7f3a"));
    assert_eq!(
        lab.cluster.read_outcome(&at("plain")).await.unwrap(),
        ReadOutcome::Fresh
    );
    let lab = Lab::with(|config| config.encryption.providers.truncate(1)).await;
    lab.create("s").await.unwrap();
    assert!(!has(&lab.etcd().database().await.unwrap(), "canary-7f3a"));
    let plaintext = lab.plaintext(&at("s")).await;
    lab.etcd()
        .put(&at("t").etcd_key(), &plaintext)
        .await
        .unwrap();
    assert_eq!(
        lab.api().get(&at("t")).await.unwrap_err().message,
        "Internal error occurred: no matching prefix found"
    );
}
