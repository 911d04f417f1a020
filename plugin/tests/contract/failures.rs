//! A dead key fails Status at once; transient failures only after the grace period.

use kmslab_plugin::kek::KekError;
use tonic::Code;

use crate::support::{KEY, Lab, decrypt, decrypt_request, encrypt, status, status_until};

fn unreachable() -> KekError {
    KekError::Unreachable {
        endpoint: "http://cloud".into(),
        detail: "connection refused".into(),
    }
}

#[tokio::test]
async fn dead_key_error_names_cause_and_remedy_until_restored() {
    let key = || KEY.to_owned();
    let detail = || "said so".to_owned();
    for (error, code, remedy) in [
        (
            KekError::Disabled { key: key().into() },
            Code::FailedPrecondition,
            "enable it again",
        ),
        (
            KekError::PendingDeletion {
                key: key().into(),
                when: String::new(),
            },
            Code::FailedPrecondition,
            "cancel the deletion",
        ),
        (
            KekError::NotFound {
                key: key().into(),
                detail: detail(),
            },
            Code::FailedPrecondition,
            "check its name",
        ),
        (
            KekError::Denied {
                key: key(),
                detail: detail(),
            },
            Code::PermissionDenied,
            "allow the plugin's identity",
        ),
        (
            KekError::Unusable {
                key: key().into(),
                detail: detail(),
            },
            Code::FailedPrecondition,
            "give a key that encrypts and decrypts",
        ),
    ] {
        let lab = Lab::new();
        let (_running, mut client) = lab.start().await;
        let id = status(&mut client).await.unwrap();
        lab.kek.fail(error.clone());
        lab.advance_to_probe(10).await;
        let failed = status_until(&mut client, "an error", Result::is_err)
            .await
            .unwrap_err();
        assert_eq!(failed.code(), code, "{failed}");
        assert!(
            failed.message().contains(KEY) && failed.message().contains(remedy),
            "{failed}"
        );
        lab.kek.fail(None);
        lab.advance_to_probe(10).await;
        assert_eq!(
            status_until(&mut client, "ok again", Result::is_ok)
                .await
                .unwrap(),
            id
        );
    }
}

#[tokio::test]
async fn dead_key_found_by_a_request_fails_status_at_once() {
    let lab = Lab::new();
    let (_running, mut client) = lab.start().await;
    let created = encrypt(&mut client, b"x").await.unwrap();
    lab.timer.advance(1);
    lab.kek.fail(KekError::Disabled { key: KEY.into() });
    assert_eq!(
        decrypt(&mut client, decrypt_request(&created))
            .await
            .unwrap_err()
            .code(),
        Code::FailedPrecondition
    );
    assert_eq!(
        status(&mut client).await.unwrap_err().code(),
        Code::FailedPrecondition
    );
    // A later successful request proves that the key works.
    lab.timer.advance(1);
    lab.kek.fail(None);
    encrypt(&mut client, b"x").await.unwrap();
    status(&mut client).await.unwrap();
}

#[tokio::test]
async fn transient_failures_keep_status_healthy_within_the_grace() {
    let lab = Lab::new();
    let (_running, mut client) = lab.start().await;
    lab.kek.fail(unreachable());
    for _ in 0..6 {
        lab.advance_to_probe(10).await;
        status(&mut client).await.expect("60 s are not over");
    }
    assert_eq!(
        encrypt(&mut client, b"x").await.unwrap_err().code(),
        Code::Unavailable,
        "a request learns the truth at once"
    );
    lab.timer.advance(1);
    let failed = status(&mut client).await.unwrap_err();
    assert_eq!(failed.code(), Code::Unavailable);
    for part in [
        "last proven usable 61 s ago",
        "http://cloud",
        "connection refused",
        "check the network",
    ] {
        assert!(failed.message().contains(part), "{part}: {failed}");
    }
    lab.kek.fail(None);
    lab.advance_to_probe(9).await;
    status_until(&mut client, "ok again", Result::is_ok)
        .await
        .unwrap();
}

#[tokio::test]
async fn successful_calls_extend_the_grace() {
    let lab = Lab::new();
    let (_running, mut client) = lab.start().await;
    lab.timer.advance(5);
    encrypt(&mut client, b"x").await.unwrap();
    lab.kek.fail(unreachable());
    lab.advance_to_probe(58).await;
    status(&mut client)
        .await
        .expect("58 s since the Encrypt, 63 s since the probe");
    lab.timer.advance(3);
    assert!(
        status(&mut client)
            .await
            .unwrap_err()
            .message()
            .contains("61 s ago")
    );
}

#[tokio::test]
async fn plugin_starts_without_its_cloud_and_recovers() {
    let lab = Lab::new();
    lab.kek.fail(unreachable());
    let (running, mut client) = lab.start().await;
    assert_eq!(running.key_id(), None);
    assert!(
        running
            .first_probe()
            .await
            .unwrap_err()
            .contains("http://cloud")
    );
    for answer in [
        status(&mut client).await.map(drop),
        encrypt(&mut client, b"x").await.map(drop),
    ] {
        let failed = answer.unwrap_err();
        assert!(
            failed.code() == Code::Unavailable && failed.message().contains("connection refused"),
            "{failed}"
        );
    }
    lab.kek.fail(None);
    // An Encrypt does not wait for the next probe.
    encrypt(&mut client, b"x").await.unwrap();
    status(&mut client).await.unwrap();
}

#[tokio::test]
async fn decrypt_works_after_a_restart_without_encrypt_permission() {
    let lab = Lab::new();
    let (running, mut client) = lab.start().await;
    let created = encrypt(&mut client, b"x").await.unwrap();
    running.shutdown().await;
    lab.kek.fail(unreachable());
    let (running, mut client) = lab.start().await;
    assert_eq!(running.key_id(), None);
    lab.kek.fail(None);
    assert_eq!(
        decrypt(&mut client, decrypt_request(&created))
            .await
            .unwrap(),
        b"x",
        "reading needs no proof that writing works"
    );
}
