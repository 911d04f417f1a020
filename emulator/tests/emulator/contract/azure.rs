//! Azure Key Vault, with RSA keys as its Kubernetes plugin uses them.

use async_trait::async_trait;
use azure_security_keyvault_keys::models::{
    CreateKeyParameters, EncryptionAlgorithm, KeyAttributes, KeyClientUpdateKeyPropertiesOptions,
    KeyType, UpdateKeyPropertiesParameters,
};
use azure_security_keyvault_keys::{KeyClient, ResourceExt as _};
use futures::future::BoxFuture;
use futures::{FutureExt as _, TryStreamExt as _};
use kmslab_emulator::Emulator;

use super::{Front, Refusal, Sealed};
use crate::azure_sdk::{create, error_message, keys, operation, refusal};

struct Azure(KeyClient);

pub(super) fn connect(emulator: &Emulator) -> BoxFuture<'_, Box<dyn Front>> {
    async { Box::new(Azure(keys(emulator))) as Box<dyn Front> }.boxed()
}

fn meaning(error: &azure_core::Error) -> Refusal {
    match (refusal(error), error_message(error).contains("KeyDisabled")) {
        ((403, _), true) => Refusal::Disabled,
        ((404, code), _) if code == "KeyNotFound" => Refusal::Gone,
        ((400, code), _) if code == "BadParameter" => Refusal::Corrupt,
        _ => panic!("{error:?}"),
    }
}

#[async_trait]
impl Front for Azure {
    async fn create(&self, name: &str) {
        let parameters = CreateKeyParameters {
            kty: Some(KeyType::Rsa),
            ..CreateKeyParameters::default()
        };
        create(&self.0, name, parameters).await;
    }

    async fn encrypt(&self, name: &str, plaintext: &[u8]) -> Result<Sealed, Refusal> {
        let parameters = operation(EncryptionAlgorithm::RsaOaep256, plaintext)
            .try_into()
            .unwrap();
        let encrypted = self
            .0
            .encrypt(name, parameters, None)
            .await
            .map_err(|error| meaning(&error))?;
        let encrypted = encrypted.into_model().unwrap();
        let version = encrypted
            .kid
            .unwrap()
            .rsplit('/')
            .next()
            .unwrap()
            .to_owned();
        Ok(Sealed {
            ciphertext: encrypted.result.unwrap(),
            version,
        })
    }

    async fn decrypt(&self, name: &str, encrypted: &Sealed) -> Result<Vec<u8>, Refusal> {
        let parameters = operation(EncryptionAlgorithm::RsaOaep256, &encrypted.ciphertext)
            .try_into()
            .unwrap();
        let decrypted = self
            .0
            .decrypt(name, &encrypted.version, parameters, None)
            .await
            .map_err(|error| meaning(&error))?;
        Ok(decrypted.into_model().unwrap().result.unwrap())
    }

    async fn rotate(&self, name: &str) {
        self.0.rotate_key(name, None).await.unwrap();
    }

    async fn enable(&self, name: &str, enabled: bool) {
        let versions: Vec<_> = self
            .0
            .list_key_properties_versions(name, None)
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        for version in versions {
            let key_attributes = Some(KeyAttributes {
                enabled: Some(enabled),
                ..KeyAttributes::default()
            });
            let changed = UpdateKeyPropertiesParameters {
                key_attributes,
                ..UpdateKeyPropertiesParameters::default()
            };
            let key_version = version.resource_id().unwrap().version;
            let options = KeyClientUpdateKeyPropertiesOptions {
                key_version,
                ..Default::default()
            };
            self.0
                .update_key_properties(name, changed.try_into().unwrap(), Some(options))
                .await
                .unwrap();
        }
    }

    async fn destroy(&self, name: &str) {
        self.0.delete_key(name, None).await.unwrap();
    }

    async fn restore(&self, name: &str) -> bool {
        self.0.recover_deleted_key(name, None).await.is_ok()
    }
}
