//! The cloud's own side of a run, as a scenario drives it: rotate the key, read the emulator's key table and request counts.

mod admin;
mod aws;

use async_trait::async_trait;

pub use admin::Admin;
pub use aws::{ACCOUNT, ALIAS, Access, AwsCloud, Credentials, REGION};

use crate::etcd::keytable::KeyTable;
use crate::inspect::opener::Openers;

/// Which cloud's KMS a run uses.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum CloudKind {
    /// AWS KMS.
    Aws,
}

impl std::fmt::Display for CloudKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Aws => "aws",
        })
    }
}

/// An operator's hands on the key that the plugin uses, through the vendor's API.
#[async_trait]
pub trait Cloud: Send + Sync {
    /// Which cloud.
    fn kind(&self) -> CloudKind;
    /// The key's name in that cloud: an ARN here.
    fn key(&self) -> &str;
    /// Gives the key new material, through the vendor's API.
    async fn rotate(&self) -> anyhow::Result<()>;
    /// The emulator's own record of every key and its versions.
    async fn key_table(&self) -> anyhow::Result<KeyTable>;
    /// Lets nobody use the key, until it is enabled.
    async fn disable(&self) -> anyhow::Result<()>;
    /// Lets the key be used again.
    async fn enable(&self) -> anyhow::Result<()>;
    /// Opens what the key sealed, as its operator, with the vendor's SDK alone.
    fn openers(&self) -> Openers;
    /// How many requests of the plugin's credentials the emulator has answered.
    async fn plugin_requests(&self) -> anyhow::Result<u64>;
}
