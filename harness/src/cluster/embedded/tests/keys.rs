//! Keys: rotation, expiry, staleness, and what a restart loses.

use super::*;

#[tokio::test]
async fn seed_is_used_until_the_key_id_changes() {
    let lab = Lab::new().await;
    for name in ["a", "b", "c"] {
        lab.create(name).await.unwrap();
    }
    lab.pass(600).await;
    lab.create("d").await.unwrap();
    assert_eq!(lab.plugin.encrypts_decrypts(), (1, 0));
    // Once at the start, then each minute.
    assert_eq!(lab.plugin.script().statuses, 11);
    let (a, d) = (lab.stored("a").await, lab.stored("d").await);
    assert_eq!(
        (a.key_id.as_str(), &a.encrypted_dek_source),
        ("k1", &d.encrypted_dek_source)
    );
    assert_eq!(a.encrypted_dek_source_type, 1);
    assert_ne!(
        a.encrypted_data[..44],
        d.encrypted_data[..44],
        "info and nonce are fresh for each value"
    );

    lab.plugin.script().key_id = "k2".into();
    lab.create("still-old").await.unwrap();
    lab.pass(60).await;
    lab.create("new").await.unwrap();
    assert_eq!(lab.plugin.script().encrypts, 2);
    assert_eq!(lab.stored("still-old").await.key_id, "k1");
    let new = lab.stored("new").await;
    assert_eq!(new.key_id, "k2");
    assert_ne!(new.encrypted_dek_source, a.encrypted_dek_source);
    assert_eq!(lab.cluster.dek_source_cache_size(), 2);
}

#[tokio::test]
async fn seed_expires_three_minutes_after_the_last_status() {
    let lab = Lab::new().await;
    let before = lab.create("before").await.unwrap();
    lab.pass(60).await;
    lab.plugin.script().down = Some(Status::unavailable("gone"));
    // The last successful Status was at 60 s.
    lab.pass(180).await;
    lab.create("last-second").await.unwrap();
    lab.pass(1).await;
    let err = lab.create("late").await.unwrap_err();
    let hash = super::super::state::key_id_hash("k1");
    let expected = format!(
        "Internal error occurred: encryptedDEKSource with keyID hash \"{hash}\" expired at 2026-01-01T00:04:00Z (current time is 2026-01-01T00:04:01Z)"
    );
    assert_eq!(
        (err.status, err.reason.as_str(), err.message),
        (500, "InternalError", expected)
    );
    assert!(lab.cluster.write_outcome().unwrap().is_err());

    // Reads, no-op writes and deletions continue.
    assert_eq!(
        lab.api().get(&at("before")).await.unwrap()["data"],
        json!({"password": "Y2FuYXJ5LTdmM2E="})
    );
    assert_eq!(
        lab.api().touch(&at("before")).await.unwrap(),
        revision(&before)
    );
    lab.api().delete(&at("last-second")).await.unwrap();

    // The same key id extends the same seed.
    lab.plugin.script().down = None;
    lab.pass(10).await;
    lab.create("again").await.unwrap();
    assert_eq!(lab.plugin.script().encrypts, 1);
    assert_eq!(
        lab.api().touch(&at("before")).await.unwrap(),
        revision(&before)
    );
}

#[tokio::test]
async fn failed_plugin_is_polled_every_ten_seconds() {
    let lab = Lab::new().await;
    lab.plugin.script().down = Some(Status::unavailable("gone"));
    lab.pass(59).await;
    assert_eq!(lab.plugin.script().statuses, 1);
    lab.pass(1).await;
    assert_eq!(lab.plugin.script().statuses, 2);
    lab.pass(30).await;
    assert_eq!(lab.plugin.script().statuses, 5);
    lab.plugin.script().down = None;
    lab.pass(10).await;
    assert_eq!(lab.plugin.script().statuses, 6);
    // Healthy again at 100 s: the next poll is at the full minute.
    lab.pass(19).await;
    assert_eq!(lab.plugin.script().statuses, 6);
    lab.pass(1).await;
    assert_eq!(lab.plugin.script().statuses, 7);
}

#[tokio::test]
async fn stale_value_is_rewritten_once_with_the_same_plaintext() {
    let lab = Lab::new().await;
    let first = lab.create("s").await.unwrap();
    let plaintext = lab.plaintext(&at("s")).await;
    assert_eq!(lab.api().touch(&at("s")).await.unwrap(), revision(&first));
    assert_eq!(
        lab.cluster.read_outcome(&at("s")).await.unwrap(),
        ReadOutcome::Fresh
    );

    lab.plugin.script().key_id = "k2".into();
    lab.pass(60).await;
    assert_eq!(
        lab.cluster.read_outcome(&at("s")).await.unwrap(),
        ReadOutcome::Stale
    );
    let rewritten = lab.api().touch(&at("s")).await.unwrap();
    assert_ne!(rewritten, revision(&first));
    assert_eq!(lab.api().touch(&at("s")).await.unwrap(), rewritten);
    assert_eq!(lab.stored("s").await.key_id, "k2");
    assert_eq!(lab.plaintext(&at("s")).await, plaintext);

    // The same with a PUT of what GET returned.
    lab.plugin.script().key_id = "k3".into();
    lab.pass(60).await;
    let got = lab.api().get(&at("s")).await.unwrap();
    let put = lab.api().replace(&got).await.unwrap();
    assert_ne!(revision(&put), rewritten);
    assert_eq!(
        revision(&lab.api().replace(&put).await.unwrap()),
        revision(&put)
    );
    assert_eq!(lab.stored("s").await.key_id, "k3");
}

#[tokio::test]
async fn rewrite_keeps_unknown_bytes() {
    let lab = Lab::new().await;
    lab.create("s").await.unwrap();
    let mut plaintext = lab.plaintext(&at("s")).await;
    // Field 100 of runtime.Unknown, as a later Kubernetes might write it.
    plaintext.extend_from_slice(&[0xa2, 0x06, 0x03, b'n', b'e', b'w']);
    let key = at("from-elsewhere").etcd_key();
    let revision = lab.etcd().put(&key, &plaintext).await.unwrap();
    // Identity is second in the list: readable, but stale.
    assert_eq!(
        lab.cluster
            .read_outcome(&at("from-elsewhere"))
            .await
            .unwrap(),
        ReadOutcome::Stale
    );
    let touched = lab.api().touch(&at("from-elsewhere")).await.unwrap();
    assert_eq!(touched, (revision + 1).to_string());
    assert_eq!(lab.plaintext(&at("from-elsewhere")).await, plaintext);
    assert!(!has(
        &lab.etcd().get(&key).await.unwrap().unwrap().value,
        "canary"
    ));
}

#[tokio::test]
async fn restart_decrypts_each_dek_source_once_and_generates_a_seed() {
    let lab = Lab::new().await;
    for name in ["a", "b", "c"] {
        lab.create(name).await.unwrap();
    }
    let before = lab.create("d").await.unwrap();
    lab.restart().await;
    for name in ["a", "b", "c"] {
        lab.api().get(&at(name)).await.unwrap();
    }
    assert_eq!(lab.plugin.encrypts_decrypts(), (2, 1));
    // Another source under the same key id is not stale.
    assert_eq!(lab.api().touch(&at("d")).await.unwrap(), revision(&before));
    lab.create("e").await.unwrap();
    assert_ne!(
        lab.stored("e").await.encrypted_dek_source,
        lab.stored("d").await.encrypted_dek_source
    );
    assert_eq!(
        lab.api()
            .list(&Resource::secrets(), None)
            .await
            .unwrap()
            .len(),
        5
    );
    assert_eq!(lab.plugin.script().decrypts, 1);
}

#[tokio::test]
async fn deleted_key_is_noticed_only_after_a_restart() {
    let lab = Lab::new().await;
    lab.create("old").await.unwrap();
    lab.plugin.script().key_id = "k2".into();
    lab.plugin.script().deleted = Some(("k1".into(), Status::failed_precondition("key deleted")));
    lab.pass(60).await;
    lab.create("new").await.unwrap();
    lab.api().get(&at("old")).await.unwrap();

    lab.restart().await;
    let reason =
        "failed to decrypt DEK, error: rpc error: code = FailedPrecondition desc = key deleted";
    let err = lab.api().get(&at("old")).await.unwrap_err();
    assert_eq!(
        (err.status, err.message),
        (500, format!("Internal error occurred: {reason}"))
    );
    assert_eq!(
        lab.cluster.read_outcome(&at("old")).await.unwrap(),
        ReadOutcome::Unreadable(reason.into())
    );
    let err = lab
        .api()
        .list(&Resource::secrets(), Some("default"))
        .await
        .unwrap_err();
    let expected = format!(
        "Internal error occurred: unable to transform key \"/registry/secrets/default/old\": {reason}"
    );
    assert_eq!((err.status, err.message), (500, expected));
    lab.api().get(&at("new")).await.unwrap();
    lab.create("newer").await.unwrap();
    for err in [
        lab.api().touch(&at("old")).await.unwrap_err(),
        lab.api().delete(&at("old")).await.unwrap_err(),
    ] {
        assert_eq!((err.status, err.reason.as_str()), (500, "InternalError"));
    }
}

#[tokio::test]
async fn encrypt_must_return_the_key_id_of_status() {
    let lab = Lab::new().await;
    lab.plugin.script().key_id = "k2".into();
    lab.plugin.script().encrypt_key_id = Some("k3".into());
    lab.pass(60).await;
    let health = lab.cluster.health("/readyz/kms-providers").await.unwrap();
    let hash = super::super::state::key_id_hash;
    let expected = format!(
        "useSeed=true, errState=<nil>, errGen=<nil>, statusKeyIDHash=\"{}\", encryptKeyIDHash=\"{}\", stateKeyIDHash=\"{}\", expirationTimestamp=2026-01-01T00:03:00Z\n",
        hash("k2"),
        hash("k3"),
        hash("k1")
    );
    assert!(health.body.starts_with(
        "internal server error: kms-provider-0: kmsv2 Provider p1 is not healthy, error: failed to rotate DEK uid=\""
    ));
    assert!(health.body.ends_with(&expected), "{}", health.body);
    lab.create("s").await.unwrap();
    assert_eq!(lab.stored("s").await.key_id, "k1");
    lab.pass(121).await;
    assert!(
        lab.create("late")
            .await
            .unwrap_err()
            .message
            .contains("expired at 2026-01-01T00:03:00Z")
    );
}

#[tokio::test]
async fn plugin_responses_over_the_limits_are_rejected() {
    let lab = Lab::new().await;
    lab.plugin.script().key_id = "k2".into();
    lab.plugin.script().annotations = vec![("nodots".into(), vec![])];
    lab.pass(60).await;
    let body = lab
        .cluster
        .health("/readyz/kms-providers")
        .await
        .unwrap()
        .body;
    assert!(
        body.contains(
            "errGen=failed to validate annotations: annotations: Invalid value: \"nodots\": should be a domain"
        ),
        "{body}"
    );
    lab.plugin.script().key_id = "k".repeat(1025);
    lab.pass(10).await;
    let body = lab
        .cluster
        .health("/readyz/kms-providers")
        .await
        .unwrap()
        .body;
    let hash = super::super::state::key_id_hash(&"k".repeat(1025));
    let expected = format!(
        "error: got invalid KMSv2 KeyID hash \"{hash}\": keyID is 1025 bytes, which exceeds the max size of 1024\n"
    );
    assert!(body.ends_with(&expected), "{body}");
    assert_eq!(lab.cluster.write_key_id().unwrap(), "k1");
}

#[tokio::test]
async fn value_decrypts_only_under_its_etcd_key() {
    let lab = Lab::new().await;
    lab.create("s").await.unwrap();
    let value = lab
        .etcd()
        .get(&at("s").etcd_key())
        .await
        .unwrap()
        .unwrap()
        .value;
    lab.etcd()
        .put(&at("copy").etcd_key(), &value)
        .await
        .unwrap();
    let err = lab.api().get(&at("copy")).await.unwrap_err();
    assert_eq!(
        err.message,
        "Internal error occurred: cipher: message authentication failed"
    );
}

/// Each fault changes what a comparison with kube-apiserver checks.
#[tokio::test]
async fn sabotage_is_detectable() {
    let lab = Lab::with(|config| {
        config.sabotage = Sabotage {
            expiry: true,
            stale: true,
            aad: true,
        }
    })
    .await;
    lab.create("s").await.unwrap();
    let value = lab
        .etcd()
        .get(&at("s").etcd_key())
        .await
        .unwrap()
        .unwrap()
        .value;
    lab.etcd()
        .put(&at("copy").etcd_key(), &value)
        .await
        .unwrap();
    lab.api().get(&at("copy")).await.unwrap();
    lab.plugin.script().key_id = "k2".into();
    lab.pass(60).await;
    assert_eq!(
        lab.cluster.read_outcome(&at("s")).await.unwrap(),
        ReadOutcome::Fresh
    );
    lab.plugin.script().down = Some(Status::unavailable("gone"));
    lab.pass(600).await;
    lab.create("late").await.unwrap();
}

#[tokio::test]
async fn seeded_clusters_are_repeatable() {
    let mut databases = Vec::new();
    for seed in [1, 1, 2] {
        let lab = Lab::with(|config| config.seed = seed).await;
        lab.create("s").await.unwrap();
        databases.push(lab.etcd().database().await.unwrap());
    }
    assert!(databases[0] == databases[1] && databases[1] != databases[2]);
}
