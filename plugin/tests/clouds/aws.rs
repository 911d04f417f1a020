//! The plugin with the emulator, through the official SDK and verified signatures.

use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::{BehaviorVersion, Region};
use kmslab_emulator::Emulator;
use kmslab_kmsv2::socket::EncryptResponse;
use kmslab_plugin::kek::aws::{AwsKek, AwsKekBuilder};
use kmslab_plugin::kek::{Kek, KekError};
use kmslab_plugin::{ANNOTATION, parse_annotation};

use crate::support::Lab;

/// A cloud and its administrator, who uses another access key than the plugin, so that their
/// requests can be distinguished.
pub(crate) struct Cloud {
    pub(crate) emulator: Emulator,
    admin: Client,
}

impl Cloud {
    pub(crate) async fn start() -> Self {
        let emulator = Emulator::builder()
            .credential("admin", "admin-secret", "123456789012")
            .tls_listen(Some("127.0.0.1:0".parse().unwrap()))
            .start()
            .await
            .unwrap();
        let http = aws_smithy_http_client::Builder::new().build_http();
        let config = aws_sdk_kms::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(format!("http://{}", emulator.http_addr()))
            .credentials_provider(Credentials::new(
                "admin",
                "admin-secret",
                None,
                None,
                "test",
            ))
            .http_client(http)
            .build();
        Self {
            admin: Client::from_conf(config),
            emulator,
        }
    }

    pub(crate) async fn key(&self) -> String {
        self.admin
            .create_key()
            .send()
            .await
            .unwrap()
            .key_metadata
            .unwrap()
            .arn
            .unwrap()
    }

    async fn material(&self, key: &str) -> String {
        let described = self.admin.describe_key().key_id(key).send().await.unwrap();
        described
            .key_metadata
            .unwrap()
            .current_key_material_id
            .unwrap()
    }

    pub(crate) fn kek(&self, key: &str) -> AwsKekBuilder {
        AwsKek::builder(key)
            .region(Some("us-east-1"))
            .endpoint_url(Some(format!("http://{}", self.emulator.http_addr())))
            .credentials("test", "test")
            .call_timeout(Duration::from_secs(10))
    }

    async fn plugin(&self, key: &str) -> Lab {
        Lab::start(Arc::new(self.kek(key).build().await.unwrap())).await
    }

    /// Requests made with the plugin's access key.
    fn plugin_requests(&self) -> u64 {
        self.emulator
            .requests()
            .rows
            .iter()
            .filter(|row| row.caller == "test")
            .map(|row| row.count)
            .sum()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dek_seed_round_trips_and_rotation_changes_the_key_id() {
    let cloud = Cloud::start().await;
    let key = cloud.key().await;
    let mut lab = cloud.plugin(&key).await;
    let seed = [7; 32];
    let old = lab.encrypt(&seed).await;
    assert_eq!(old.key_id, lab.status().await.unwrap());
    let label = parse_annotation(&old.annotations[ANNOTATION]).unwrap();
    assert_eq!(
        (&label.key, label.version),
        (&key, cloud.material(&key).await)
    );
    assert_eq!(lab.decrypt(&old).await.unwrap(), seed);

    cloud
        .admin
        .rotate_key_on_demand()
        .key_id(&key)
        .send()
        .await
        .unwrap();
    lab.status_until("another key id", |answer| {
        answer.as_ref().is_ok_and(|id| *id != old.key_id)
    })
    .await
    .unwrap();
    let new = lab.encrypt(&seed).await;
    assert_ne!(new.key_id, old.key_id);
    assert_eq!(
        parse_annotation(&new.annotations[ANNOTATION])
            .unwrap()
            .version,
        cloud.material(&key).await
    );
    assert_eq!(
        lab.decrypt(&old).await.unwrap(),
        seed,
        "what is older still opens"
    );
    assert_eq!(lab.decrypt(&new).await.unwrap(), seed);

    // A year later the emulator still accepts the plugin's signatures: they live by the wall clock,
    // keys by the lab clock.
    cloud
        .emulator
        .clock()
        .advance(Duration::from_hours(365 * 24))
        .await
        .unwrap();
    assert_eq!(lab.decrypt(&old).await.unwrap(), seed);
    lab.encrypt(&seed).await;

    // Swapped labels: each is consistent, but the cloud names the version that made the ciphertext.
    let swapped = EncryptResponse {
        ciphertext: old.ciphertext,
        ..new
    };
    let rejected = lab.decrypt(&swapped).await.unwrap_err();
    assert_eq!(rejected.code(), tonic::Code::InvalidArgument, "{rejected}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aws_requests_match_the_emulators_count() {
    let cloud = Cloud::start().await;
    let key = cloud.key().await;
    let kek = cloud.kek(&key).build().await.unwrap();
    for size in [1, 32, 4096] {
        let plaintext = vec![3; size];
        let wrapped = kek.wrap(&plaintext, None).await.unwrap();
        assert_eq!(
            *kek.unwrap(&wrapped.ciphertext, &wrapped.version)
                .await
                .unwrap(),
            plaintext
        );
    }
    // Encrypt does not name the material that it used: two requests. Then one to decrypt.
    assert_eq!(kek.usage().requests, 3 * 3);
    kek.current().await.unwrap();
    cloud.admin.disable_key().key_id(&key).send().await.unwrap();
    kek.wrap(b"x", None).await.unwrap_err();
    assert_eq!(kek.usage().requests, 3 * 3 + 1 + 1);
    assert_eq!(kek.usage().requests, cloud.plugin_requests());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_key_fails_status_until_it_is_restored() {
    let cloud = Cloud::start().await;
    let key = cloud.key().await;
    let mut lab = cloud.plugin(&key).await;
    let created = lab.encrypt(b"x").await;
    cloud.admin.disable_key().key_id(&key).send().await.unwrap();
    let failed = lab
        .status_until("an error", Result::is_err)
        .await
        .unwrap_err();
    assert_eq!(failed.code(), tonic::Code::FailedPrecondition);
    assert!(
        failed.message().contains(&key)
            && failed.message().contains("is disabled: enable it again"),
        "{failed}"
    );
    assert!(
        lab.decrypt(&created)
            .await
            .unwrap_err()
            .message()
            .contains("is disabled")
    );
    cloud.admin.enable_key().key_id(&key).send().await.unwrap();
    assert_eq!(
        lab.status_until("ok", Result::is_ok).await.unwrap(),
        created.key_id
    );

    cloud
        .admin
        .schedule_key_deletion()
        .key_id(&key)
        .pending_window_in_days(7)
        .send()
        .await
        .unwrap();
    let failed = lab
        .status_until("an error", Result::is_err)
        .await
        .unwrap_err();
    assert!(failed.message().contains("pending deletion"), "{failed}");
    cloud
        .emulator
        .clock()
        .advance(Duration::from_hours(8 * 24))
        .await
        .unwrap();
    let removed = |answer: &Result<String, tonic::Status>| {
        answer
            .as_ref()
            .is_err_and(|status| status.message().contains("was not found"))
    };
    lab.status_until("not found", removed).await.unwrap_err();
    lab.running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alias_is_not_part_of_the_key_id() {
    let cloud = Cloud::start().await;
    let (first, second) = (cloud.key().await, cloud.key().await);
    cloud
        .admin
        .create_alias()
        .alias_name("alias/k8s")
        .target_key_id(&first)
        .send()
        .await
        .unwrap();
    let mut lab = cloud.plugin("alias/k8s").await;
    let created = lab.encrypt(b"x").await;
    assert_eq!(
        created.key_id,
        cloud
            .plugin(&first)
            .await
            .running
            .first_probe()
            .await
            .unwrap()
    );

    cloud
        .admin
        .update_alias()
        .alias_name("alias/k8s")
        .target_key_id(&second)
        .send()
        .await
        .unwrap();
    lab.status_until("the second key", |answer| {
        answer.as_ref().is_ok_and(|id| *id != created.key_id)
    })
    .await
    .unwrap();
    let rejected = lab.decrypt(&created).await.unwrap_err();
    assert_eq!(rejected.code(), tonic::Code::FailedPrecondition);
    assert!(
        rejected.message().contains(&first),
        "it says which key is needed: {rejected}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unusable_aws_keys_are_named_with_a_remedy() {
    let cloud = Cloud::start().await;
    let missing = "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000000";
    for (key, says) in [
        (missing, "check its name, and the region and account"),
        (
            "alias/nowhere",
            "check its name, and the region and account",
        ),
    ] {
        let kek = cloud.kek(key).build().await.unwrap();
        for error in [
            kek.current().await.unwrap_err(),
            kek.wrap(b"x", None).await.unwrap_err(),
        ] {
            assert!(
                error.is_dead_key() && error.to_string().contains(says),
                "{key}: {error}"
            );
        }
    }
    // The right key in the wrong region.
    let kek = cloud
        .kek(cloud.key().await.rsplit('/').next().unwrap())
        .region(Some("eu-west-1"))
        .build()
        .await
        .unwrap();
    assert!(matches!(
        kek.current().await,
        Err(KekError::NotFound { .. })
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_credentials_and_clock_skew_are_distinguished() {
    let cloud = Cloud::start().await;
    let key = cloud.key().await;
    for (id, secret) in [("test", "wrong"), ("nobody", "test")] {
        let kek = cloud
            .kek(&key)
            .credentials(id, secret)
            .build()
            .await
            .unwrap();
        let error = kek.current().await.unwrap_err();
        assert!(matches!(error, KekError::Credentials { .. }), "{error}");
        assert!(
            !error.to_string().contains("wrong"),
            "a secret is never printed"
        );
    }
    let ahead = kmslab_keycore::LabClock::new(Arc::new(kmslab_keycore::SystemClock));
    ahead.advance(Duration::from_hours(1)).unwrap();
    let emulator = Emulator::builder()
        .wall_clock(Arc::new(ahead))
        .start()
        .await
        .unwrap();
    let kek = cloud
        .kek(&key)
        .endpoint_url(Some(format!("http://{}", emulator.http_addr())))
        .build()
        .await
        .unwrap();
    let error = kek.current().await.unwrap_err();
    assert!(matches!(error, KekError::ClockSkew { .. }), "{error}");
    assert!(
        error.to_string().contains("set this machine's clock"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https_requires_the_configured_ca() {
    let (cloud, other) = (Cloud::start().await, Cloud::start().await);
    let key = cloud.key().await;
    let https = format!("https://{}", cloud.emulator.https_addr().unwrap());
    let kek = cloud
        .kek(&key)
        .endpoint_url(Some(&https))
        .ca_file(cloud.emulator.ca_path())
        .build()
        .await
        .unwrap();
    kek.wrap(b"x", None).await.unwrap();
    let kek = cloud
        .kek(&key)
        .endpoint_url(Some(&https))
        .ca_file(other.emulator.ca_path())
        .build()
        .await
        .unwrap();
    let error = kek.wrap(b"x", None).await.unwrap_err();
    assert!(matches!(error, KekError::Certificate { .. }), "{error}");
    assert!(
        error.to_string().contains(&https) && error.to_string().contains("--ca-file"),
        "{error}"
    );
}
