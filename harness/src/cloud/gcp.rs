//! Operates a key in Google Cloud KMS with the vendor's SDK, as another service account than the
//! plugin's.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use google_cloud_gax::paginator::ItemPaginator as _;
use google_cloud_kms_v1::client::KeyManagementService;
use google_cloud_kms_v1::model::crypto_key::CryptoKeyPurpose;
use google_cloud_kms_v1::model::crypto_key_version::CryptoKeyVersionState;
use google_cloud_kms_v1::model::{CryptoKey, CryptoKeyVersion, KeyRing};
use google_cloud_wkt::FieldMask;
use kmslab_plugin::kek::Deadline;
use kmslab_plugin::kek::Kek;
use kmslab_plugin::kek::gcp::GcpKek;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{
    AdminClient, CloudKind, Endpoints, FileReference, KeyEvidence, KeyOperator, PluginConfig,
    PluginSettings, SecretFile, gcp_credentials,
};
use crate::inspect::decryptor::Decryptors;
use crate::metrics_client;
use kmslab_emulator_api::{KeyRow, KeyTable};

/// The key that a lab creates; the guide's own names stay free.
const LOCATION: &str = "projects/kmslab/locations/us-east1";
const RING: &str = "kmslab";
const KEY: &str = "kmslab";
/// The emulator's service account with all permissions.
const OPERATOR: &str = "kmslab@kmslab.iam.gserviceaccount.com";
/// The plugin's service account, which has only the guide's role on the key.
const PLUGIN: &str = "kmslab-plugin@kmslab.iam.gserviceaccount.com";
/// An account without permissions.
const UNAUTHORIZED: &str = "kmslab-stranger@kmslab.iam.gserviceaccount.com";
const ROLE: &str = "roles/cloudkms.cryptoKeyEncrypterDecrypter";
/// Longer than the plugin's timeout.
const TIMEOUT: Duration = Duration::from_secs(20);

fn key_name() -> String {
    format!("{LOCATION}/keyRings/{RING}/cryptoKeys/{KEY}")
}

/// The seed of the emulator: the plugin's account with permission to encrypt and decrypt. Its key
/// is created later.
pub(super) fn seed() -> Value {
    json!({
        "serviceAccounts": [{ "email": PLUGIN }, { "email": UNAUTHORIZED }],
        "bindings": [{ "resource": key_name(), "role": ROLE, "members": [format!("serviceAccount:{PLUGIN}")] }],
    })
}

/// A key in emulated Cloud KMS.
pub struct GcpCloud {
    endpoints: Endpoints,
    admin: AdminClient,
    sdk: KeyManagementService,
    /// Decrypts as the operator.
    kek: Arc<Deadline<GcpKek>>,
    /// Key file of the plugin's account, if it was created here.
    plugin: Option<Zeroizing<String>>,
    key: String,
}

impl std::fmt::Debug for GcpCloud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GcpCloud")
            .field("reach", &self.endpoints)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl GcpCloud {
    /// Creates a key ring and a key as the operator, and a key file for the plugin's account.
    pub(super) async fn with_own_key(endpoints: Endpoints) -> anyhow::Result<Self> {
        let mut cloud = Self::with_key(endpoints).await?;
        let ring = cloud
            .sdk
            .create_key_ring()
            .set_parent(LOCATION)
            .set_key_ring_id(RING)
            .set_key_ring(KeyRing::new());
        let ring = ring.send().await.context("creating the key ring")?;
        let key = CryptoKey::new().set_purpose(CryptoKeyPurpose::EncryptDecrypt);
        let created = cloud
            .sdk
            .create_crypto_key()
            .set_parent(ring.name)
            .set_crypto_key_id(KEY)
            .set_crypto_key(key);
        created
            .send()
            .await
            .with_context(|| format!("creating {}", cloud.key))?;
        cloud.plugin = Some(
            key_file(&cloud.endpoints.http, PLUGIN)
                .await
                .context("creating a key of the plugin's account")?,
        );
        Ok(cloud)
    }

    /// Uses the key that a lab created.
    pub(super) async fn with_key(endpoints: Endpoints) -> anyhow::Result<Self> {
        // A program that embeds this may have chosen a provider.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let admin = super::admin_client(&endpoints)?;
        let credentials = gcp_credentials::metadata(&endpoints.http)?;
        let sdk = KeyManagementService::builder()
            .with_endpoint(&endpoints.http)
            .with_credentials(credentials.clone())
            .build()
            .await
            .context("the Google Cloud SDK does not start")?;
        let key = key_name();
        let kek = GcpKek::builder(&key)
            .endpoint(Some(&endpoints.http))
            .credentials(credentials)
            .call_timeout(TIMEOUT);
        Ok(Self {
            admin,
            sdk,
            kek: Arc::new(kek.build().await?),
            plugin: None,
            key,
            endpoints,
        })
    }

    fn plugin(&self) -> anyhow::Result<&str> {
        let file = self
            .plugin
            .as_ref()
            .context("the plugin's key file is with the process that started the lab")?;
        Ok(file.as_str())
    }

    /// Enables or disables all versions of the key.
    async fn set_versions_enabled(
        &self,
        from: CryptoKeyVersionState,
        to: CryptoKeyVersionState,
    ) -> anyhow::Result<()> {
        let mut versions = self
            .sdk
            .list_crypto_key_versions()
            .set_parent(&self.key)
            .by_item();
        while let Some(version) = versions.next().await {
            let version =
                version.with_context(|| format!("listing the versions of {}", self.key))?;
            if version.state != from {
                continue;
            }
            let name = version.name.clone();
            let changed = CryptoKeyVersion::new()
                .set_name(version.name)
                .set_state(to.clone());
            let mask = FieldMask::default().set_paths(["state"]);
            let update = self
                .sdk
                .update_crypto_key_version()
                .set_crypto_key_version(changed)
                .set_update_mask(mask);
            update
                .send()
                .await
                .with_context(|| format!("updating {name}"))?;
        }
        Ok(())
    }
}

/// Creates a key of an account, as `gcloud iam service-accounts keys create` does.
async fn key_file(endpoint: &str, account: &str) -> anyhow::Result<Zeroizing<String>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Key {
        private_key_data: String,
    }
    let http = metrics_client::local_client()?;
    let token = gcp_credentials::access_token(&http, endpoint).await?;
    let keys = format!("{endpoint}/v1/projects/kmslab/serviceAccounts/{account}/keys");
    let created = http
        .post(keys)
        .bearer_auth(token.secret())
        .body("{}")
        .send()
        .await?
        .error_for_status()?;
    let created: Key = serde_json::from_str(&created.text().await?)?;
    let file =
        Zeroizing::new(STANDARD.decode(Zeroizing::new(created.private_key_data).as_bytes())?);
    Ok(Zeroizing::new(std::str::from_utf8(&file)?.to_owned()))
}

/// Creates a key file of the account with all permissions, for people's own tools; its token
/// endpoint is the emulator at `endpoint`.
pub(crate) async fn operator_key_file(endpoint: &str) -> anyhow::Result<Zeroizing<String>> {
    let file = key_file(endpoint, OPERATOR)
        .await
        .context("creating a key of the operator's account")?;
    let mut file: Value = serde_json::from_str(&file)?;
    file["token_uri"] = format!("{endpoint}/token").into();
    Ok(Zeroizing::new(serde_json::to_string_pretty(&file)?))
}

#[async_trait]
impl KeyOperator for GcpCloud {
    fn kind(&self) -> CloudKind {
        CloudKind::Gcp
    }

    fn key(&self) -> &str {
        &self.key
    }

    /// Creates a version and sets it as primary.
    async fn rotate(&self) -> anyhow::Result<()> {
        let created = self.sdk.create_crypto_key_version().set_parent(&self.key);
        let created = created
            .set_crypto_key_version(CryptoKeyVersion::new())
            .send()
            .await;
        let created = created.with_context(|| format!("creating a version of {}", self.key))?;
        let number = created.name.rsplit('/').next().unwrap_or_default();
        let primary = self
            .sdk
            .update_crypto_key_primary_version()
            .set_name(&self.key);
        let primary = primary.set_crypto_key_version_id(number).send().await;
        primary.with_context(|| format!("making {} the primary version", created.name))?;
        Ok(())
    }

    async fn disable(&self) -> anyhow::Result<()> {
        self.set_versions_enabled(
            CryptoKeyVersionState::Enabled,
            CryptoKeyVersionState::Disabled,
        )
        .await
    }

    async fn enable(&self) -> anyhow::Result<()> {
        self.set_versions_enabled(
            CryptoKeyVersionState::Disabled,
            CryptoKeyVersionState::Enabled,
        )
        .await
    }

    fn decryptors(&self) -> Decryptors {
        Decryptors::with_kek(Arc::clone(&self.kek) as _)
    }

    async fn unauthorized_decryptors(&self) -> anyhow::Result<Decryptors> {
        let credentials =
            gcp_credentials::key_file(&key_file(&self.endpoints.http, UNAUTHORIZED).await?)?;
        let kek = GcpKek::builder(&self.key)
            .endpoint(Some(&self.endpoints.http))
            .credentials(credentials);
        Ok(Decryptors::with_kek(Arc::new(
            kek.call_timeout(TIMEOUT).build().await?,
        )))
    }
}

#[async_trait]
impl KeyEvidence for GcpCloud {
    async fn key_table(&self) -> anyhow::Result<KeyTable> {
        Ok(self.admin.keys().await?)
    }

    /// By the id of the version in the ciphertext.
    async fn encrypting_version(
        &self,
        dek_source: &[u8],
        row: &KeyRow,
    ) -> anyhow::Result<Option<u32>> {
        Ok(row
            .find_by_ciphertext(dek_source)
            .map(|version| version.number))
    }

    fn plugin_caller(&self) -> &str {
        PLUGIN
    }

    fn admin(&self) -> &AdminClient {
        &self.admin
    }
}

#[async_trait]
impl PluginConfig for GcpCloud {
    async fn kek(&self) -> anyhow::Result<Arc<dyn Kek>> {
        let kek = GcpKek::builder(&self.key)
            .endpoint(Some(&self.endpoints.http))
            .credentials(gcp_credentials::key_file(self.plugin()?)?);
        Ok(Arc::new(kek.build().await?))
    }

    fn plugin_settings(&self, endpoints: &Endpoints) -> anyhow::Result<PluginSettings> {
        let args = vec![
            "gcp".to_owned(),
            format!("--key-uri={}", self.key),
            format!("--endpoint={}", endpoints.http),
        ];
        // The SDK reads a CA from there only.
        let ca = endpoints
            .ca
            .as_ref()
            .filter(|_| endpoints.http.starts_with("https:"));
        let variables = ca
            .iter()
            .map(|ca| ("SSL_CERT_FILE", ca.display().to_string()))
            .collect();
        let file = SecretFile {
            name: "gcp.json",
            content: self.plugin()?.to_owned(),
            reference: FileReference::Variable("GOOGLE_APPLICATION_CREDENTIALS"),
        };
        Ok(PluginSettings {
            args,
            variables,
            secrets: Vec::new(),
            file,
        })
    }
}
