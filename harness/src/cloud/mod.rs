//! The cloud's own side of a run, as a scenario drives it: rotate the key, read the emulator's key
//! table and request counts.

mod admin;
mod aws;
mod azure;
mod gcp;
mod gcp_credentials;
mod reach;
pub mod sdk_variables;

use std::sync::Arc;

use async_trait::async_trait;
use kmslab_plugin::kek::Kek;
use serde_json::{Value, json};

pub use admin::Admin;
pub use aws::{ACCOUNT, ALIAS, Access, AwsCloud, Credentials, REGION};
pub use azure::AzureCloud;
pub use gcp::GcpCloud;
pub(crate) use gcp::operator_key_file as gcp_operator_key_file;
pub use reach::{NamedBy, PluginSettings, Reach, SecretFile};

use self::aws::STRANGERS;
use crate::etcd::keytable::{KeyRow, KeyTable};
use crate::inspect::opener::Openers;

/// Which cloud's KMS a run uses.
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
    /// All of them, in the order in which runs play on them.
    pub const ALL: &[Self] = &[Self::Aws, Self::Azure, Self::Gcp];
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

/// An operator's hands on the key that the plugin uses, through the vendor's API.
#[async_trait]
pub trait Cloud: Send + Sync {
    /// Which cloud.
    fn kind(&self) -> CloudKind;
    /// The key's name in that cloud: an ARN, a key's URL, a resource name.
    fn key(&self) -> &str;
    /// Gives the key new material, through the vendor's API.
    async fn rotate(&self) -> anyhow::Result<()>;
    /// The emulator's own record of every key and its versions.
    async fn key_table(&self) -> anyhow::Result<KeyTable>;
    /// The number of the version that sealed a DEK source, by what the ciphertext shows or by the
    /// cloud's own act; `row` is the key's.
    async fn sealed_by(&self, dek_source: &[u8], row: &KeyRow) -> anyhow::Result<Option<u64>>;
    /// Lets nobody use the key, until it is enabled.
    async fn disable(&self) -> anyhow::Result<()>;
    /// Lets the key be used again.
    async fn enable(&self) -> anyhow::Result<()>;
    /// Opens what the key sealed, as its operator, with the vendor's SDK alone.
    fn openers(&self) -> Openers;
    /// The same as somebody who has an account in that cloud, and no right to the key.
    async fn stranger(&self) -> anyhow::Result<Openers>;
    /// The key as the plugin uses it, with the plugin's credentials.
    async fn kek(&self) -> anyhow::Result<Arc<dyn Kek>>;
    /// What starts a plugin on the key, which reaches the emulator so.
    fn plugin_settings(&self, reach: &Reach) -> anyhow::Result<PluginSettings>;
    /// How many requests of the plugin's credentials the emulator has answered.
    async fn plugin_requests(&self) -> anyhow::Result<u64>;
}

/// The emulator's seed in every lab: the plugin's own credentials in each cloud, so that its
/// requests can be told from everybody else's.
pub fn seed() -> Value {
    let (Credentials { id, secret }, stranger) = (Credentials::plugin(), Credentials::stranger());
    json!({
        "credentials": [
            { "id": id, "secret": secret, "account": ACCOUNT },
            { "id": stranger.id, "secret": stranger.secret, "account": STRANGERS },
        ],
        "azure": azure::seed(),
        "gcp": gcp::seed(),
    })
}

/// Makes a key in an emulator that a lab has started for itself.
pub async fn with_own_key(kind: CloudKind, reach: &Reach) -> anyhow::Result<Arc<dyn Cloud>> {
    Ok(match kind {
        CloudKind::Aws => Arc::new(
            AwsCloud::with_own_key(Access::own(&reach.http, Admin::new(&reach.admin)?)).await?,
        ),
        CloudKind::Azure => Arc::new(AzureCloud::with_own_key(reach.clone()).await?),
        CloudKind::Gcp => Arc::new(GcpCloud::with_own_key(reach.clone()).await?),
    })
}

/// The key that another process has made so.
pub async fn with_lab_key(
    kind: CloudKind,
    reach: &Reach,
    key: &str,
) -> anyhow::Result<Arc<dyn Cloud>> {
    Ok(match kind {
        CloudKind::Aws => Arc::new(AwsCloud::with_key(
            Access::own(&reach.http, Admin::new(&reach.admin)?),
            key,
        )),
        CloudKind::Azure => Arc::new(AzureCloud::with_key(reach.clone()).await?),
        CloudKind::Gcp => Arc::new(GcpCloud::with_key(reach.clone()).await?),
    })
}
