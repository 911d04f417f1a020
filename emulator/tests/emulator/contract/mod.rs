//! One contract for all clouds: a key that encrypts is created, used, rotated, disabled, enabled,
//! destroyed and restored, and is gone after a restart. The contract is written once; each front
//! end implements it with its vendor's SDK.

mod aws;
mod azure;
mod gcp;

use std::time::Duration;

use async_trait::async_trait;
use kmslab_emulator::Emulator;

use crate::support::free_port;

/// A ciphertext and the vendor's name of the version that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sealed {
    ciphertext: Vec<u8>,
    version: String,
}

/// Why decryption failed, by meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// The key is disabled.
    Disabled,
    /// The key or version is scheduled for destruction, or gone.
    Gone,
    /// The ciphertext is not one of this key.
    Corrupt,
}

/// A vendor's SDK on one emulator. Keys are symmetric, or RSA where the vendor has no other.
#[async_trait]
trait Front: Send + Sync {
    /// Creates a key.
    async fn create(&self, name: &str);
    /// Encrypts with the current version.
    async fn encrypt(&self, name: &str, plaintext: &[u8]) -> Result<Sealed, Refusal>;
    /// Decrypts a ciphertext that the key should have made.
    async fn decrypt(&self, name: &str, sealed: &Sealed) -> Result<Vec<u8>, Refusal>;
    /// Creates a new version of the key.
    async fn rotate(&self, name: &str);
    /// Enables or disables the key with all its versions.
    async fn enable(&self, name: &str, enabled: bool);
    /// Schedules the destruction of the key with all its versions.
    async fn destroy(&self, name: &str);
    /// Cancels the destruction, after which the key is usable. Returns false if it is too late.
    async fn restore(&self, name: &str) -> bool;
}

type Connect = for<'a> fn(&'a Emulator) -> futures::future::BoxFuture<'a, Box<dyn Front>>;

/// All front ends by name.
const FRONTS: [(&str, Connect); 3] = [
    ("aws", aws::connect),
    ("azure", azure::connect),
    ("gcp", gcp::connect),
];
/// Longer than the longest waiting period of any vendor.
const LONGEST_WAIT: Duration = Duration::from_hours(91 * 24);

async fn started() -> Emulator {
    Emulator::builder()
        .proxy_listen(free_port())
        .start()
        .await
        .unwrap()
}

/// Runs a test on every front end, each in its own emulator.
async fn on_every_front(test: impl AsyncFn(&'static str, &Emulator, &dyn Front)) {
    for (cloud, connect) in FRONTS {
        let emulator = started().await;
        let front = connect(&emulator).await;
        test(cloud, &emulator, &*front).await;
    }
}

#[tokio::test]
async fn ciphertext_decrypts_with_its_key_and_context_only() {
    on_every_front(async |cloud, _, front| {
        front.create("k").await;
        front.create("other").await;
        for plaintext in [&b"x"[..], &[7; 32], &[0; 190]] {
            let sealed = front.encrypt("k", plaintext).await.unwrap();
            assert_eq!(
                front.decrypt("k", &sealed).await.as_deref(),
                Ok(plaintext),
                "{cloud}"
            );
            assert_ne!(
                front.encrypt("k", plaintext).await.unwrap().ciphertext,
                sealed.ciphertext,
                "{cloud}"
            );
            let mut flipped = sealed.clone();
            *flipped.ciphertext.last_mut().unwrap() ^= 1;
            assert_eq!(
                front.decrypt("k", &flipped).await,
                Err(Refusal::Corrupt),
                "{cloud}"
            );
        }
        let others = front.encrypt("other", b"x").await.unwrap();
        let version = front.encrypt("k", b"x").await.unwrap().version;
        assert_eq!(
            front.decrypt("k", &Sealed { version, ..others }).await,
            Err(Refusal::Corrupt),
            "{cloud}"
        );
    })
    .await;
}

#[tokio::test]
async fn rotation_encrypts_with_the_new_version_and_old_ones_decrypt() {
    on_every_front(async |cloud, emulator, front| {
        front.create("k").await;
        let mut all = vec![front.encrypt("k", b"0").await.unwrap()];
        for number in 1..4_u8 {
            front.rotate("k").await;
            all.push(front.encrypt("k", &[b'0' + number]).await.unwrap());
        }
        for (number, sealed) in (b'0'..).zip(&all) {
            assert_eq!(
                front.decrypt("k", sealed).await,
                Ok(vec![number]),
                "{cloud}"
            );
        }
        let mut versions: Vec<&str> = all.iter().map(|sealed| sealed.version.as_str()).collect();
        versions.dedup();
        assert_eq!(versions.len(), 4, "{cloud}: {versions:?}");
        let [row] = &emulator.keys().await.rows[..] else {
            panic!("{cloud}: one key")
        };
        assert_eq!(
            (row.cloud.as_str(), row.versions.len(), row.primary),
            (cloud, 4, 4)
        );
    })
    .await;
}

#[tokio::test]
async fn disabled_key_is_unusable_until_enabled() {
    on_every_front(async |cloud, _, front| {
        front.create("k").await;
        let old = front.encrypt("k", b"x").await.unwrap();
        front.rotate("k").await;
        let new = front.encrypt("k", b"y").await.unwrap();
        front.enable("k", false).await;
        assert_eq!(
            front.encrypt("k", b"z").await,
            Err(Refusal::Disabled),
            "{cloud}"
        );
        for sealed in [&old, &new] {
            assert_eq!(
                front.decrypt("k", sealed).await,
                Err(Refusal::Disabled),
                "{cloud}"
            );
        }
        front.enable("k", true).await;
        assert_eq!(front.decrypt("k", &old).await, Ok(b"x".to_vec()), "{cloud}");
        assert_eq!(front.decrypt("k", &new).await, Ok(b"y".to_vec()), "{cloud}");
        assert_eq!(
            front.encrypt("k", b"z").await.unwrap().version,
            new.version,
            "{cloud}"
        );
    })
    .await;
}

#[tokio::test]
async fn scheduled_destruction_can_be_cancelled_until_due() {
    on_every_front(async |cloud, emulator, front| {
        front.create("k").await;
        let sealed = front.encrypt("k", b"x").await.unwrap();
        front.destroy("k").await;
        assert_eq!(
            front.encrypt("k", b"y").await,
            Err(Refusal::Gone),
            "{cloud}"
        );
        assert_eq!(
            front.decrypt("k", &sealed).await,
            Err(Refusal::Gone),
            "{cloud}"
        );
        assert!(front.restore("k").await, "{cloud}");
        assert_eq!(
            front.decrypt("k", &sealed).await,
            Ok(b"x".to_vec()),
            "{cloud}"
        );
        assert_eq!(
            front.encrypt("k", b"y").await.unwrap().version,
            sealed.version,
            "{cloud}"
        );

        front.destroy("k").await;
        emulator.clock().advance(LONGEST_WAIT).await.unwrap();
        assert_eq!(
            front.decrypt("k", &sealed).await,
            Err(Refusal::Gone),
            "{cloud}"
        );
        assert!(!front.restore("k").await, "{cloud}: it was too late");
        assert_eq!(
            front.decrypt("k", &sealed).await,
            Err(Refusal::Gone),
            "{cloud}"
        );
    })
    .await;
}

#[tokio::test]
async fn restart_forgets_keys_and_a_new_key_decrypts_nothing_old() {
    for (cloud, connect) in FRONTS {
        let emulator = started().await;
        let front = connect(&emulator).await;
        front.create("k").await;
        let sealed = front.encrypt("k", b"x").await.unwrap();
        emulator.stop().await;

        let emulator = started().await;
        let front = connect(&emulator).await;
        assert!(emulator.keys().await.rows.is_empty(), "{cloud}");
        front.create("k").await;
        let version = front.encrypt("k", b"y").await.unwrap().version;
        let rejected = front
            .decrypt(
                "k",
                &Sealed {
                    version,
                    ..sealed.clone()
                },
            )
            .await;
        assert_eq!(rejected, Err(Refusal::Corrupt), "{cloud}");
    }
}
