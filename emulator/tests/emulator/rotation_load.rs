//! Slow rotations do not block other requests.

use std::time::Duration;

use azure_security_keyvault_keys::models::{
    CreateKeyParameters, KeyRotationPolicy, KeyRotationPolicyAction, KeyRotationPolicyAttributes,
    KeyType, LifetimeAction, LifetimeActionTrigger, LifetimeActionType,
};

use crate::azure_sdk::{create, keys, started};
use crate::support::{Call, admin};

/// Ten years with a period of a month: 120 versions are due, of which 32 are made. For RSA with 4096
/// bits that takes half a minute.
const YEARS: &str = r#"{"advance":"3650d"}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_rotations_block_no_other_cloud_and_end_with_the_emulator() {
    let emulator = started().await;
    let client = keys(&emulator);
    for name in ["a", "b", "c"] {
        let parameters = CreateKeyParameters {
            kty: Some(KeyType::Rsa),
            key_size: Some(4096),
            ..CreateKeyParameters::default()
        };
        create(&client, name, parameters).await;
        let action = LifetimeAction {
            trigger: Some(LifetimeActionTrigger {
                time_after_create: Some("P30D".into()),
                ..Default::default()
            }),
            action: Some(LifetimeActionType {
                type_prop: Some(KeyRotationPolicyAction::Rotate),
            }),
        };
        let policy = KeyRotationPolicy {
            lifetime_actions: Some(vec![action]),
            attributes: Some(KeyRotationPolicyAttributes {
                expiry_time: Some("P90D".into()),
                ..Default::default()
            }),
            ..KeyRotationPolicy::default()
        };
        client
            .update_key_rotation_policy(name, policy.try_into().unwrap(), None)
            .await
            .unwrap();
    }
    let others = async {
        // The move has started once the clock shows it.
        while !admin(&emulator, "/clock", None).await.json["lab"]
            .as_str()
            .unwrap()
            .starts_with("203")
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for _ in 0..20 {
            assert_eq!(admin(&emulator, "/healthz", None).await.status, 200);
            assert_eq!(
                Call::new("CreateKey", "{}")
                    .send(emulator.http_addr())
                    .await
                    .status,
                200
            );
            crate::gcp_rest::token(&emulator).await;
        }
    };
    tokio::select! {
        _ = admin(&emulator, "/clock", Some(YEARS)) => panic!("the others waited for the rotations"),
        () = others => {}
    }
    // The request was dropped, so the work in the background ends after its current version.
    tokio::time::timeout(Duration::from_secs(20), emulator.stop())
        .await
        .expect("the rotations were waited for");
}
