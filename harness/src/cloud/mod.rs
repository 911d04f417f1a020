//! The cloud's side of a run: operating the key, and the emulator's key table and request counts.

mod admin;
mod aws;
mod azure;
mod gcp;
mod gcp_credentials;
mod plugin_settings;
pub mod sdk_variables;

use std::sync::Arc;

use async_trait::async_trait;
use kmslab_plugin::kek::Kek;
use serde_json::{Value, json};

pub use admin::admin_client;
pub use aws::{ACCOUNT, ALIAS, AwsCloud, Credentials, EmulatorAccess, REGION};
pub use azure::AzureCloud;
pub use gcp::GcpCloud;
pub(crate) use gcp::operator_key_file as gcp_operator_key_file;
pub use kmslab_emulator_api::{AdminClient, Endpoints};
pub use plugin_settings::{FileReference, PluginSettings, SecretFile};

use self::aws::UNAUTHORIZED_ACCOUNT;
use crate::inspect::decryptor::Decryptors;
use kmslab_emulator_api::{KeyRow, KeyTable};

/// The cloud whose KMS is used.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    clap::ValueEnum,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum CloudKind {
    /// AWS KMS.
    Aws,
    /// Azure Key Vault.
    Azure,
    /// Google Cloud KMS.
    Gcp,
}

impl CloudKind {
    /// All clouds, in the order in which they are run.
    pub const ALL: &[Self] = &[Self::Aws, Self::Azure, Self::Gcp];

    /// The cloud as the emulator's admin port names it.
    pub fn emulated(self) -> kmslab_emulator_api::Cloud {
        match self {
            Self::Aws => kmslab_emulator_api::Cloud::Aws,
            Self::Azure => kmslab_emulator_api::Cloud::Azure,
            Self::Gcp => kmslab_emulator_api::Cloud::Gcp,
        }
    }
}

impl std::fmt::Display for CloudKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Aws => "aws",
            Self::Azure => "azure",
            Self::Gcp => "gcp",
        })
    }
}

/// Operates the key that the plugin uses, as its owner and through the vendor's API.
#[async_trait]
pub trait KeyOperator: Send + Sync {
    /// The cloud.
    fn kind(&self) -> CloudKind;
    /// The key's name in the cloud: an ARN, a URL or a resource name.
    fn key(&self) -> &str;
    /// Rotates the key.
    async fn rotate(&self) -> anyhow::Result<()>;
    /// Disables the key.
    async fn disable(&self) -> anyhow::Result<()>;
    /// Enables the key.
    async fn enable(&self) -> anyhow::Result<()>;
    /// Decrypts as the key's operator, with the vendor's SDK only.
    fn decryptors(&self) -> Decryptors;
    /// Decrypts as a caller that has an account in the cloud but no permission on the key.
    async fn unauthorized_decryptors(&self) -> anyhow::Result<Decryptors>;
}

/// What the cloud tells about the key's use.
#[async_trait]
pub trait KeyEvidence: Send + Sync {
    /// Returns the emulator's key table.
    async fn key_table(&self) -> anyhow::Result<KeyTable>;
    /// Returns the number of the version that encrypted a DEK source, from the ciphertext or by
    /// decrypting it; `row` is the key's.
    async fn encrypting_version(
        &self,
        dek_source: &[u8],
        row: &KeyRow,
    ) -> anyhow::Result<Option<u32>>;
    /// The plugin as the emulator's request counts name it.
    fn plugin_caller(&self) -> &str;
    /// The admin port of the emulator.
    fn admin(&self) -> &AdminClient;
    /// Number of requests of the plugin's credentials that the emulator has counted.
    async fn plugin_requests(&self) -> anyhow::Result<u64> {
        Ok(self.admin().requests().await?.caller(self.plugin_caller()))
    }
}

/// How a plugin uses the key.
#[async_trait]
pub trait PluginConfig: Send + Sync {
    /// The key as the plugin uses it, with the plugin's credentials.
    async fn kek(&self) -> anyhow::Result<Arc<dyn Kek>>;
    /// Flags and environment of a plugin for this key and the emulator at `endpoints`.
    fn plugin_settings(&self, endpoints: &Endpoints) -> anyhow::Result<PluginSettings>;
}

/// A cloud with the key of a run.
pub trait Cloud: KeyOperator + KeyEvidence + PluginConfig {}

impl<T: KeyOperator + KeyEvidence + PluginConfig> Cloud for T {}

/// The seed of every lab's emulator: the plugin's own credentials in each cloud, so that its
/// requests can be distinguished.
pub fn seed() -> Value {
    let (Credentials { id, secret }, stranger) =
        (Credentials::plugin(), Credentials::unauthorized());
    json!({
        "credentials": [
            { "id": id, "secret": secret, "account": ACCOUNT },
            { "id": stranger.id, "secret": stranger.secret, "account": UNAUTHORIZED_ACCOUNT },
        ],
        "azure": azure::seed(),
        "gcp": gcp::seed(),
    })
}

/// Creates a key in an emulator that a lab started.
pub async fn with_own_key(
    kind: CloudKind,
    endpoints: &Endpoints,
) -> anyhow::Result<Arc<dyn Cloud>> {
    Ok(match kind {
        CloudKind::Aws => Arc::new(
            AwsCloud::with_own_key(EmulatorAccess::of_lab(
                &endpoints.http,
                admin_client(endpoints)?,
            ))
            .await?,
        ),
        CloudKind::Azure => Arc::new(AzureCloud::with_own_key(endpoints.clone()).await?),
        CloudKind::Gcp => Arc::new(GcpCloud::with_own_key(endpoints.clone()).await?),
    })
}

/// Uses the key that another process created so.
pub async fn with_lab_key(
    kind: CloudKind,
    endpoints: &Endpoints,
    key: &str,
) -> anyhow::Result<Arc<dyn Cloud>> {
    Ok(match kind {
        CloudKind::Aws => Arc::new(AwsCloud::with_key(
            EmulatorAccess::of_lab(&endpoints.http, admin_client(endpoints)?),
            key,
        )),
        CloudKind::Azure => Arc::new(AzureCloud::with_key(endpoints.clone()).await?),
        CloudKind::Gcp => Arc::new(GcpCloud::with_key(endpoints.clone()).await?),
    })
}
