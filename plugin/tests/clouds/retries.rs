//! What a cloud's short trouble does to a call: another attempt succeeds within its timeout.

use std::time::Duration;

use azure_security_keyvault_keys::models::KeyType;
use kmslab_emulator::Emulator;
use kmslab_emulator::api::Fault;
use kmslab_plugin::kek::Kek;

use crate::{aws, azure, gcp};

const TIMEOUT: Duration = Duration::from_secs(2);

/// Wraps and unwraps while each fault meets the first requests of the operation.
async fn survive(emulator: &Emulator, kek: &impl Kek, operations: [&str; 2], code: &str) {
    let expected = kek.current().await.unwrap();
    let internal = format!("error={code}");
    let faults = [
        ("throttle", 3),
        (internal.as_str(), 3),
        ("reset", 1),
        ("hang", 1),
    ];
    for (effect, count) in faults {
        let mut wrapped = None;
        for operation in operations {
            let fault = Fault {
                count: Some(count),
                operations: vec![operation.to_owned()],
                ..Fault::new(effect.parse().unwrap())
            };
            emulator.add_fault(fault).unwrap();
            let context = format!("{operation} with {effect} × {count}");
            match &wrapped {
                None => match kek.wrap(b"dek seed", Some(&expected)).await {
                    Ok(answer) => wrapped = Some(answer),
                    Err(error) => panic!("{context}: {error}"),
                },
                Some(wrapped) => {
                    let opened = kek.unwrap(&wrapped.ciphertext, &wrapped.version).await;
                    match opened {
                        Ok(plaintext) => assert_eq!(&plaintext[..], b"dek seed", "{context}"),
                        Err(error) => panic!("{context}: {error}"),
                    }
                }
            }
            assert_eq!(emulator.faults().faults[0].hits, count, "{context}");
            emulator.clear_faults();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aws_calls_survive_short_trouble() {
    let cloud = aws::Cloud::start().await;
    let key = cloud.key().await;
    let kek = cloud.kek(&key).call_timeout(TIMEOUT).build().await.unwrap();
    survive(
        &cloud.emulator,
        &kek,
        ["Encrypt", "Decrypt"],
        "KMSInternalException",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn azure_calls_survive_short_trouble() {
    let cloud = azure::Cloud::start().await;
    cloud.key(azure::BY_POLICY, "k", KeyType::Rsa).await;
    let kek = cloud.kek(azure::BY_POLICY, "k").call_timeout(TIMEOUT);
    let kek = kek.build().await.unwrap();
    survive(
        &cloud.emulator,
        &kek,
        ["KeyEncrypt", "KeyDecrypt"],
        "InternalServerError",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn google_calls_survive_short_trouble() {
    let cloud = gcp::Cloud::start().await;
    let kek = cloud.kek().call_timeout(TIMEOUT).build().await.unwrap();
    survive(&cloud.emulator, &kek, ["Encrypt", "Decrypt"], "INTERNAL").await;
}
