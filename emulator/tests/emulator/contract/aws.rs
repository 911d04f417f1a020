//! AWS KMS, with keys named by alias.

use async_trait::async_trait;
use aws_sdk_kms::Client;
use aws_sdk_kms::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::Blob;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use kmslab_emulator::Emulator;

use super::{Front, Refusal, Sealed};
use crate::support::sdk;

struct Aws(Client);

pub(super) fn connect(emulator: &Emulator) -> BoxFuture<'_, Box<dyn Front>> {
    async { Box::new(Aws(sdk(emulator))) as Box<dyn Front> }.boxed()
}

fn alias(name: &str) -> String {
    format!("alias/{name}")
}

fn meaning<E: ProvideErrorMetadata + std::error::Error + 'static>(error: SdkError<E>) -> Refusal {
    match error.code() {
        Some("DisabledException") => Refusal::Disabled,
        Some("KMSInvalidStateException" | "NotFoundException") => Refusal::Gone,
        Some("InvalidCiphertextException" | "IncorrectKeyException") => Refusal::Corrupt,
        _ => panic!("{}", DisplayErrorContext(error)),
    }
}

impl Aws {
    /// Operations that change a key do not accept an alias.
    async fn id(&self, name: &str) -> Option<String> {
        let aliases = self
            .0
            .list_aliases()
            .send()
            .await
            .unwrap()
            .aliases
            .unwrap_or_default();
        let named = aliases
            .into_iter()
            .find(|entry| entry.alias_name.as_deref() == Some(&alias(name)));
        named.and_then(|entry| entry.target_key_id)
    }
}

#[async_trait]
impl Front for Aws {
    async fn create(&self, name: &str) {
        let id = self
            .0
            .create_key()
            .send()
            .await
            .unwrap()
            .key_metadata
            .unwrap()
            .key_id;
        self.0
            .create_alias()
            .alias_name(alias(name))
            .target_key_id(id)
            .send()
            .await
            .unwrap();
    }

    /// Encrypt does not return the key material's id; DescribeKey does.
    async fn encrypt(&self, name: &str, plaintext: &[u8]) -> Result<Sealed, Refusal> {
        let encrypted = self
            .0
            .encrypt()
            .key_id(alias(name))
            .plaintext(Blob::new(plaintext))
            .send()
            .await
            .map_err(meaning)?;
        let described = self
            .0
            .describe_key()
            .key_id(alias(name))
            .send()
            .await
            .unwrap()
            .key_metadata
            .unwrap();
        let version = described.current_key_material_id.unwrap();
        Ok(Sealed {
            ciphertext: encrypted.ciphertext_blob.unwrap().into_inner(),
            version,
        })
    }

    async fn decrypt(&self, name: &str, encrypted: &Sealed) -> Result<Vec<u8>, Refusal> {
        let call = self
            .0
            .decrypt()
            .key_id(alias(name))
            .ciphertext_blob(Blob::new(encrypted.ciphertext.clone()));
        let decrypted = call.send().await.map_err(meaning)?;
        assert_eq!(decrypted.key_material_id.as_ref(), Some(&encrypted.version));
        Ok(decrypted.plaintext.unwrap().into_inner())
    }

    async fn rotate(&self, name: &str) {
        self.0
            .rotate_key_on_demand()
            .key_id(self.id(name).await.unwrap())
            .send()
            .await
            .unwrap();
    }

    async fn enable(&self, name: &str, enabled: bool) {
        let id = self.id(name).await.unwrap();
        if enabled {
            self.0.enable_key().key_id(id).send().await.unwrap();
        } else {
            self.0.disable_key().key_id(id).send().await.unwrap();
        }
    }

    async fn destroy(&self, name: &str) {
        let id = self.id(name).await.unwrap();
        self.0
            .schedule_key_deletion()
            .key_id(id)
            .pending_window_in_days(30)
            .send()
            .await
            .unwrap();
    }

    /// A restored key is disabled.
    async fn restore(&self, name: &str) -> bool {
        let Some(id) = self.id(name).await else {
            return false;
        };
        if self
            .0
            .cancel_key_deletion()
            .key_id(id)
            .send()
            .await
            .is_err()
        {
            return false;
        }
        self.enable(name, true).await;
        true
    }
}
