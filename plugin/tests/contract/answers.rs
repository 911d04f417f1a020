//! Responses of Status, Encrypt and Decrypt of a healthy plugin, and the requests that it rejects.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kmslab_kmsv2::limits;
use kmslab_plugin::{ANNOTATION, Label, key_id, parse_annotation};
use tonic::Code;

use crate::support::{KEY, Lab, decrypt, decrypt_request, encrypt, sealed_by, status};

#[tokio::test]
async fn encrypt_and_status_return_the_same_key_id_and_decrypt_round_trips() {
    let lab = Lab::new();
    let (running, mut client) = lab.start().await;
    let id = status(&mut client).await.unwrap();
    assert_eq!(id, key_id("fake", KEY, "v1", 0));
    assert_eq!(running.key_id().as_ref(), Some(&id));

    let created = encrypt(&mut client, b"seed").await.unwrap();
    assert_eq!(created.key_id, id);
    limits::check_encrypted_dek_source(&created.ciphertext).unwrap();
    limits::check_key_id(&created.key_id).unwrap();
    limits::check_annotations(&created.annotations).unwrap();
    let label = parse_annotation(&created.annotations[ANNOTATION]).unwrap();
    assert_eq!(
        label,
        Label {
            provider: "fake".into(),
            key: KEY.into(),
            version: "v1".into(),
            generation: 0
        }
    );

    assert_eq!(
        decrypt(&mut client, decrypt_request(&created))
            .await
            .unwrap(),
        b"seed"
    );
    let counts = running.counts();
    assert_eq!(
        (
            counts.status,
            counts.encrypt,
            counts.decrypt,
            counts.in_flight
        ),
        (1, 1, 1, 0)
    );
}

#[tokio::test]
async fn status_makes_no_cloud_call() {
    let lab = Lab::new();
    let (running, mut client) = lab.start().await;
    let before = (lab.kek.calls(), running.counts().sdk_requests);
    for _ in 0..100 {
        status(&mut client).await.unwrap();
    }
    assert_eq!((lab.kek.calls(), running.counts().sdk_requests), before);
    assert_eq!(running.counts().status, 100);
}

#[tokio::test]
async fn encrypt_is_one_call_that_knows_the_current_version() {
    let lab = Lab::new();
    let (running, mut client) = lab.start().await;
    for (version, calls) in [("v1", 1), ("v1", 1), ("v2", 3)] {
        // After a rotation, the probe that follows the first answer is a wrap and an unwrap.
        lab.kek.rotate(version);
        let before = lab.kek.calls();
        encrypt(&mut client, b"seed").await.unwrap();
        assert_eq!(lab.kek.calls() - before, calls, "{version}");
    }
    encrypt(&mut client, b"seed").await.unwrap();
    assert_eq!(lab.kek.expected().as_deref(), Some("v2"));
    drop(running);
}

#[tokio::test]
async fn first_status_waits_for_the_first_probe() {
    let lab = Lab::new();
    // Does not wait for the probe: Status must not return a failure that kube-apiserver would cache
    // for 3 s.
    let _running = lab.plugin().start().await.unwrap();
    let mut client = crate::support::connect(&lab.socket()).await;
    status(&mut client).await.unwrap();
}

#[tokio::test]
async fn rotation_is_noticed_and_older_ciphertexts_decrypt() {
    let lab = Lab::new();
    let (_running, mut client) = lab.start().await;
    let old = encrypt(&mut client, b"old").await.unwrap();
    lab.kek.rotate("v2");
    assert_eq!(
        status(&mut client).await.unwrap(),
        old.key_id,
        "nobody has looked yet"
    );
    lab.advance_to_probe(10).await;
    let new_id = key_id("fake", KEY, "v2", 0);
    let id = crate::support::status_until(&mut client, "v2", |answer| {
        answer.as_ref().is_ok_and(|id| *id == new_id)
    })
    .await;
    let new = encrypt(&mut client, b"new").await.unwrap();
    assert_eq!(new.key_id, id.unwrap());
    assert_eq!(
        decrypt(&mut client, decrypt_request(&old)).await.unwrap(),
        b"old"
    );
    assert_eq!(
        decrypt(&mut client, decrypt_request(&new)).await.unwrap(),
        b"new"
    );
}

#[tokio::test]
async fn encrypt_that_sees_a_rotation_first_returns_the_new_key_id() {
    let lab = Lab::new();
    let (running, mut client) = lab.start().await;
    lab.kek.rotate("v2");
    let created = encrypt(&mut client, b"x").await.unwrap();
    assert_eq!(
        (sealed_by(&created.ciphertext).as_str(), &created.key_id),
        ("v2", &key_id("fake", KEY, "v2", 0))
    );
    assert_eq!(running.key_id().unwrap(), created.key_id);
    assert_eq!(status(&mut client).await.unwrap(), created.key_id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotation_under_load_never_mislabels_ciphertexts() {
    let lab = Lab::new();
    let (_running, client) = lab.start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for writer in 0..8u8 {
        let (mut client, stop) = (client.clone(), stop.clone());
        writers.push(tokio::spawn(async move {
            let (mut created, mut versions) = (0u32, std::collections::BTreeSet::new());
            while !stop.load(Ordering::SeqCst) {
                let answer = match encrypt(&mut client, &[writer]).await {
                    Ok(answer) => answer,
                    Err(status) => {
                        assert_eq!(status.code(), Code::Unavailable, "{status}");
                        continue;
                    }
                };
                let really = sealed_by(&answer.ciphertext);
                let label = parse_annotation(&answer.annotations[ANNOTATION]).unwrap();
                assert_eq!(
                    (&label.version, label.key_id()),
                    (&really, answer.key_id.clone())
                );
                assert_eq!(
                    decrypt(&mut client, decrypt_request(&answer))
                        .await
                        .unwrap(),
                    [writer]
                );
                versions.insert(really);
                created += 1;
            }
            (created, versions.len())
        }));
    }
    for version in 2..300 {
        lab.kek.rotate(format!("v{version}"));
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    stop.store(true, Ordering::SeqCst);
    for writer in writers {
        let (created, versions) = writer.await.unwrap();
        assert!(
            created > 10 && versions > 5,
            "{created} answers under {versions} versions are no load"
        );
    }
}

#[tokio::test]
async fn replaced_version_returns_only_if_it_persists() {
    let lab = Lab::new();
    let (running, mut client) = lab.start().await;
    lab.kek.rotate("v2");
    lab.advance_to_probe(10).await;
    let v2 = key_id("fake", KEY, "v2", 0);
    crate::support::eventually("v2", || running.key_id().as_ref() == Some(&v2)).await;
    // A server of the cloud that does not know of the rotation yet.
    lab.kek.rotate("v1");
    lab.advance_to_probe(10).await;
    let rejected = encrypt(&mut client, b"x").await.unwrap_err();
    assert_eq!(rejected.code(), Code::Unavailable);
    assert!(
        rejected.message().contains("it is rotating; try again"),
        "{rejected}"
    );
    assert_eq!(
        status(&mut client).await.unwrap(),
        v2,
        "a key_id must not flip"
    );
    // It persists: the rotation was reverted on purpose.
    for _ in 0..3 {
        lab.advance_to_probe(10).await;
    }
    let v1 = key_id("fake", KEY, "v1", 0);
    crate::support::eventually("v1", || running.key_id().as_ref() == Some(&v1)).await;
    assert_eq!(encrypt(&mut client, b"x").await.unwrap().key_id, v1);
}

#[tokio::test]
async fn generation_changes_the_key_id_and_reads_both() {
    let lab = Lab::new();
    let (running, mut client) = lab.start().await;
    let old = encrypt(&mut client, b"x").await.unwrap();
    running.shutdown().await;
    let running = lab.plugin().generation(7).start().await.unwrap();
    let id = running.first_probe().await.unwrap();
    assert_eq!(id, key_id("fake", KEY, "v1", 7));
    let mut client = crate::support::connect(&lab.socket()).await;
    assert_eq!(
        decrypt(&mut client, decrypt_request(&old)).await.unwrap(),
        b"x"
    );
}

#[tokio::test]
async fn decrypt_rejects_foreign_requests_without_a_cloud_call() {
    let lab = Lab::new();
    let (_running, mut client) = lab.start().await;
    let good = decrypt_request(&encrypt(&mut client, b"x").await.unwrap());
    let relabelled = |label: Label| {
        let mut request = good.clone();
        request.key_id = label.key_id();
        request
            .annotations
            .insert(ANNOTATION.into(), label.to_json());
        request
    };
    let label = parse_annotation(&good.annotations[ANNOTATION]).unwrap();
    let mut cases = Vec::new();
    let mut case = |code, message, request| cases.push((code, message, request));

    let mut request = good.clone();
    request.ciphertext.clear();
    case(
        Code::InvalidArgument,
        "encrypted DEK source is empty",
        request,
    );
    let mut request = good.clone();
    request.ciphertext = vec![0; 1025];
    case(
        Code::InvalidArgument,
        "exceeds the max size of 1024",
        request,
    );
    let mut request = good.clone();
    request.key_id.clear();
    case(Code::InvalidArgument, "keyID is empty", request);
    let mut request = good.clone();
    request.annotations.insert("Not.A.Name".into(), vec![]);
    case(Code::InvalidArgument, "RFC 1123", request);
    let mut request = good.clone();
    request.annotations.clear();
    case(Code::InvalidArgument, "kek.kmslab.dev is missing", request);
    let mut request = good.clone();
    request.annotations.insert(ANNOTATION.into(), b"{".to_vec());
    case(Code::InvalidArgument, "is not JSON with provider", request);
    let mut request = good.clone();
    request.key_id = "nonsense".into();
    case(
        Code::InvalidArgument,
        "the stored value was relabelled",
        request,
    );
    let mut request = good.clone();
    request.annotations.insert(
        ANNOTATION.into(),
        Label {
            version: "v2".into(),
            ..label.clone()
        }
        .to_json(),
    );
    case(
        Code::InvalidArgument,
        "the stored value was relabelled",
        request,
    );
    case(
        Code::FailedPrecondition,
        "run a plugin for other:key",
        relabelled(Label {
            key: "other:key".into(),
            ..label.clone()
        }),
    );
    case(
        Code::FailedPrecondition,
        "read it with a plugin for other",
        relabelled(Label {
            provider: "other".into(),
            ..label.clone()
        }),
    );

    let before = lab.kek.calls();
    for (code, message, request) in cases {
        let rejected = decrypt(&mut client, request).await.unwrap_err();
        assert!(
            rejected.code() == code && rejected.message().contains(message),
            "{message:?} expected: {rejected}"
        );
    }
    assert_eq!(lab.kek.calls(), before);

    // Consistent, but the cloud says that another version made it.
    let rejected = decrypt(
        &mut client,
        relabelled(Label {
            version: "v2".into(),
            ..label
        }),
    )
    .await
    .unwrap_err();
    assert_eq!(rejected.code(), Code::InvalidArgument);
    assert!(
        rejected.message().contains("damaged or relabelled"),
        "{rejected}"
    );
    assert_eq!(decrypt(&mut client, good).await.unwrap(), b"x");
}

#[tokio::test]
async fn encrypt_rejects_oversized_input() {
    let lab = Lab::new();
    let (running, mut client) = lab.start().await;
    let before = lab.kek.calls();
    let empty = encrypt(&mut client, b"").await.unwrap_err();
    assert!(
        empty.code() == Code::InvalidArgument && empty.message().contains("plaintext is empty"),
        "{empty}"
    );
    let long = encrypt(&mut client, &[0; 4097]).await.unwrap_err();
    assert!(
        long.code() == Code::InvalidArgument
            && long.message().contains("4097 bytes, over the 4096"),
        "{long}"
    );
    assert_eq!(lab.kek.calls(), before);

    lab.kek.overhead(1024);
    let rejected = encrypt(&mut client, b"x").await.unwrap_err();
    assert!(
        rejected.code() == Code::InvalidArgument
            && rejected.message().contains("exceeds the max size of 1024"),
        "{rejected}"
    );
    lab.kek.overhead(0);

    let flood = encrypt(&mut client, &vec![0; 100 * 1024])
        .await
        .unwrap_err();
    assert_eq!(flood.code(), Code::OutOfRange, "{flood}");
    assert_eq!(running.counts().in_flight, 0);
    status(&mut client).await.unwrap();
}
