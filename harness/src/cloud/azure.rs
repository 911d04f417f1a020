//! Operates a key in Azure Key Vault with the vendor's SDK, as another application than the
//! plugin's.

use kmslab_emulator::well_known::{
    AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, AZURE_OBJECT_ID, AZURE_VAULT,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use azure_core::cloud::CloudConfiguration;
use azure_core::credentials::{Secret, TokenCredential};
use azure_core::http::{ClientOptions, Transport};
use azure_identity::{ClientSecretCredential, ClientSecretCredentialOptions};
use azure_security_keyvault_keys::models::{
    CreateKeyParameters, KeyAttributes, KeyClientUpdateKeyPropertiesOptions, KeyType,
    UpdateKeyPropertiesParameters,
};
use azure_security_keyvault_keys::{KeyClient, KeyClientOptions, ResourceExt as _};
use futures::TryStreamExt as _;
use kmslab_plugin::kek::Deadline;
use kmslab_plugin::kek::azure::{AzureKek, AzureKekBuilder, Vault};
use kmslab_plugin::kek::{Kek, KekError, KeyVersion};
use serde_json::{Value, json};

use super::{
    AdminClient, CloudKind, Endpoints, FileReference, KeyEvidence, KeyOperator, PluginConfig,
    PluginSettings, SecretFile,
};
use crate::inspect::decryptor::Decryptors;
use kmslab_emulator_api::{KeyRow, KeyTable};

/// The key that a lab creates in the emulator's default vault.
const KEY: &str = "kmslab";
/// The plugin's application, which has only the guide's permissions.
const PLUGIN: &str = "c0ffee00-0000-4000-8000-6b6d736c6162";
const PLUGIN_OBJECT: &str = "c0ffee01-0000-4000-8000-6b6d736c6162";
const PLUGIN_SECRET: &str = "kmslab-plugin-secret";
/// An application without permissions.
const UNAUTHORIZED: &str = "c0ffee02-0000-4000-8000-6b6d736c6162";
const UNAUTHORIZED_OBJECT: &str = "c0ffee03-0000-4000-8000-6b6d736c6162";
const UNAUTHORIZED_SECRET: &str = "kmslab-stranger-secret";
/// Longer than the plugin's timeout.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The seed of the emulator: the plugin's application with the permissions encrypt and decrypt.
pub(super) fn seed() -> Value {
    json!({
        "applications": [{
            "clientId": PLUGIN, "objectId": PLUGIN_OBJECT, "name": "kmslab-plugin", "secret": PLUGIN_SECRET,
        }, {
            "clientId": UNAUTHORIZED, "objectId": UNAUTHORIZED_OBJECT, "name": "kmslab-stranger", "secret": UNAUTHORIZED_SECRET,
        }],
        "vaults": [{
            "name": AZURE_VAULT,
            "policies": [
                { "objectId": AZURE_OBJECT_ID, "keys": ["all"] },
                { "objectId": PLUGIN_OBJECT, "keys": ["encrypt", "decrypt"] },
            ],
        }],
    })
}

/// A key in emulated Key Vault.
pub struct AzureCloud {
    endpoints: Endpoints,
    admin: AdminClient,
    sdk: KeyClient,
    /// Decrypts as the operator.
    kek: Arc<Deadline<AzureKek>>,
    /// The version that encrypted each DEK source found so far, which never changes.
    sealed_by: Mutex<HashMap<Vec<u8>, u32>>,
    key: String,
}

impl std::fmt::Debug for AzureCloud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AzureCloud")
            .field("reach", &self.endpoints)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl AzureCloud {
    /// Creates an RSA key as the operator.
    pub(super) async fn with_own_key(endpoints: Endpoints) -> anyhow::Result<Self> {
        let cloud = Self::with_key(endpoints).await?;
        let parameters = CreateKeyParameters {
            kty: Some(KeyType::Rsa),
            key_size: Some(2048),
            ..CreateKeyParameters::default()
        };
        let created = cloud
            .sdk
            .create_key(KEY, parameters.try_into()?, None)
            .await;
        created.with_context(|| format!("creating {}", cloud.key))?;
        Ok(cloud)
    }

    /// Uses the key that a lab created.
    pub(super) async fn with_key(endpoints: Endpoints) -> anyhow::Result<Self> {
        // A program that embeds this may have chosen a provider.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let admin = super::admin_client(&endpoints)?;
        // Set explicitly, or the SDK takes the login host from AZURE_AUTHORITY_HOST.
        let cloud = Some(Arc::new(CloudConfiguration::AzurePublic));
        let transport = Some(Transport::new(http(&endpoints)?));
        let options = ClientOptions {
            transport,
            cloud,
            ..ClientOptions::default()
        };
        let credential: Arc<dyn TokenCredential> = ClientSecretCredential::new(
            &endpoints.azure_tenant,
            AZURE_CLIENT_ID.to_owned(),
            Secret::new(AZURE_CLIENT_SECRET),
            Some(ClientSecretCredentialOptions {
                client_options: options.clone(),
            }),
        )?;
        let vault = format!("https://{AZURE_VAULT}.vault.azure.net");
        let key_options = KeyClientOptions {
            client_options: options,
            ..KeyClientOptions::default()
        };
        let sdk = KeyClient::new(&vault, credential, Some(key_options))?;
        let kek = builder(&endpoints).client_secret(
            &endpoints.azure_tenant,
            AZURE_CLIENT_ID,
            AZURE_CLIENT_SECRET,
        );
        let kek = Arc::new(kek.call_timeout(TIMEOUT).build().await?);
        Ok(Self {
            admin,
            sdk,
            kek,
            sealed_by: Mutex::default(),
            key: format!("{vault}/keys/{KEY}"),
            endpoints,
        })
    }

    /// Enables or disables all versions of the key.
    async fn set_enabled(&self, enabled: bool) -> anyhow::Result<()> {
        let versions: Vec<_> = self
            .sdk
            .list_key_properties_versions(KEY, None)?
            .try_collect()
            .await?;
        for version in versions {
            let key_attributes = Some(KeyAttributes {
                enabled: Some(enabled),
                ..KeyAttributes::default()
            });
            let parameters = UpdateKeyPropertiesParameters {
                key_attributes,
                ..UpdateKeyPropertiesParameters::default()
            };
            let key_version = version.resource_id()?.version;
            let options = KeyClientUpdateKeyPropertiesOptions {
                key_version,
                ..Default::default()
            };
            let updated = self
                .sdk
                .update_key_properties(KEY, parameters.try_into()?, Some(options))
                .await;
            updated.with_context(|| format!("updating {}", self.key))?;
        }
        Ok(())
    }
}

fn http(endpoints: &Endpoints) -> anyhow::Result<Arc<reqwest::Client>> {
    let ca = endpoints.ca.as_ref().context("the emulator has no CA")?;
    let ca = std::fs::read(ca).with_context(|| format!("reading {}", ca.display()))?;
    let proxy = endpoints
        .proxy
        .as_ref()
        .context("the emulator has no proxy")?;
    let client = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .tls_certs_only(reqwest::Certificate::from_pem_bundle(&ca)?)
        .proxy(reqwest::Proxy::all(proxy)?);
    Ok(Arc::new(client.build()?))
}

fn builder(endpoints: &Endpoints) -> AzureKekBuilder {
    AzureKek::builder(Vault::Name(AZURE_VAULT.into()), KEY)
        .proxy(endpoints.proxy.as_deref())
        .ca_file(endpoints.ca.as_deref())
}

#[async_trait]
impl KeyOperator for AzureCloud {
    fn kind(&self) -> CloudKind {
        CloudKind::Azure
    }

    fn key(&self) -> &str {
        &self.key
    }

    async fn rotate(&self) -> anyhow::Result<()> {
        self.sdk
            .rotate_key(KEY, None)
            .await
            .with_context(|| format!("rotating {}", self.key))?;
        Ok(())
    }

    async fn disable(&self) -> anyhow::Result<()> {
        self.set_enabled(false).await
    }

    async fn enable(&self) -> anyhow::Result<()> {
        self.set_enabled(true).await
    }

    fn decryptors(&self) -> Decryptors {
        Decryptors::with_kek(Arc::clone(&self.kek) as _)
    }

    async fn unauthorized_decryptors(&self) -> anyhow::Result<Decryptors> {
        let kek = builder(&self.endpoints).client_secret(
            &self.endpoints.azure_tenant,
            UNAUTHORIZED,
            UNAUTHORIZED_SECRET,
        );
        Ok(Decryptors::with_kek(Arc::new(
            kek.call_timeout(TIMEOUT).build().await?,
        )))
    }
}

#[async_trait]
impl KeyEvidence for AzureCloud {
    async fn key_table(&self) -> anyhow::Result<KeyTable> {
        Ok(self.admin.keys().await?)
    }

    /// By trying each version: an RSA ciphertext does not identify its version and decrypts with no
    /// other.
    async fn encrypting_version(
        &self,
        dek_source: &[u8],
        row: &KeyRow,
    ) -> anyhow::Result<Option<u32>> {
        let known = || {
            self.sealed_by
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(number) = known().get(dek_source) {
            return Ok(Some(*number));
        }
        for version in row.versions.iter().rev() {
            let named = KeyVersion {
                key: self.key.clone(),
                version: version.id.clone(),
            };
            match self.kek.unwrap(dek_source, &named).await {
                Ok(_) => {
                    known().insert(dek_source.to_owned(), version.number);
                    return Ok(Some(version.number));
                }
                Err(KekError::Corrupt { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    fn plugin_caller(&self) -> &str {
        PLUGIN
    }

    fn admin(&self) -> &AdminClient {
        &self.admin
    }
}

#[async_trait]
impl PluginConfig for AzureCloud {
    async fn kek(&self) -> anyhow::Result<Arc<dyn Kek>> {
        let kek = builder(&self.endpoints).client_secret(
            &self.endpoints.azure_tenant,
            PLUGIN,
            PLUGIN_SECRET,
        );
        Ok(Arc::new(kek.build().await?))
    }

    fn plugin_settings(&self, endpoints: &Endpoints) -> anyhow::Result<PluginSettings> {
        let mut args = vec![
            "azure".to_owned(),
            format!("--keyvault-name={AZURE_VAULT}"),
            format!("--key-name={KEY}"),
        ];
        args.extend(
            endpoints
                .proxy
                .iter()
                .map(|proxy| format!("--proxy={proxy}")),
        );
        args.extend(
            endpoints
                .ca
                .iter()
                .map(|ca| format!("--ca-file={}", ca.display())),
        );
        let secrets = vec![
            ("AZURE_TENANT_ID", self.endpoints.azure_tenant.clone()),
            ("AZURE_CLIENT_ID", PLUGIN.to_owned()),
            ("AZURE_CLIENT_SECRET", PLUGIN_SECRET.to_owned()),
        ];
        let content = json!({ "tenantId": self.endpoints.azure_tenant, "aadClientId": PLUGIN, "aadClientSecret": PLUGIN_SECRET });
        let file = SecretFile {
            name: "azure.json",
            content: content.to_string(),
            reference: FileReference::Flag("--config-file"),
        };
        Ok(PluginSettings {
            args,
            variables: Vec::new(),
            secrets,
            file,
        })
    }
}
