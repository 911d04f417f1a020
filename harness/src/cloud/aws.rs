//! The operator of an AWS key: the vendor's own SDK with the operator's credentials, apart from the plugin's.

use anyhow::Context;
use async_trait::async_trait;
use aws_sdk_kms::config::{BehaviorVersion, Credentials as SdkCredentials, Region};
use aws_sdk_kms::error::DisplayErrorContext;

use super::{Admin, Cloud, CloudKind};
use crate::etcd::keytable::KeyTable;

/// An access key.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Credentials {
    /// Access key id.
    pub id: String,
    /// Secret access key.
    pub secret: String,
}

impl Credentials {
    /// The operator's: what the emulator knows by default.
    pub fn operator() -> Self {
        Self { id: "test".into(), secret: "test".into() }
    }

    /// The plugin's own, so that its requests can be told from everybody else's.
    pub fn plugin() -> Self {
        Self { id: "kmslab-plugin".into(), secret: "kmslab-plugin-secret".into() }
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({}, secret not shown)", self.id)
    }
}

/// Region of every lab.
pub const REGION: &str = "us-east-1";
/// Account of the default credentials.
pub const ACCOUNT: &str = "123456789012";
/// Alias of the key that a lab makes for itself; the guide's own alias stays free.
pub const ALIAS: &str = "alias/kmslab";

/// One key in AWS KMS, emulated.
#[derive(Debug)]
pub struct AwsCloud {
    endpoint: String,
    admin: Admin,
    sdk: aws_sdk_kms::Client,
    key: String,
}

impl AwsCloud {
    /// Connects as the operator. `key` is the ARN to work on; without it a key is made, and named `alias/kmslab`.
    pub async fn connect(endpoint: &str, admin: Admin, key: Option<String>) -> anyhow::Result<Self> {
        let sdk = client(endpoint, &Credentials::operator());
        let key = match key {
            Some(key) => key,
            None => make_key(&sdk).await?,
        };
        Ok(Self { endpoint: endpoint.to_owned(), admin, sdk, key })
    }
}

/// An SDK client over HTTP to an emulator on this machine.
pub fn client(endpoint: &str, credentials: &Credentials) -> aws_sdk_kms::Client {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_sdk_kms::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(endpoint)
        .http_client(http)
        .credentials_provider(SdkCredentials::new(&credentials.id, &credentials.secret, None, None, "kmslab"))
        .build();
    aws_sdk_kms::Client::from_conf(config)
}

async fn make_key(sdk: &aws_sdk_kms::Client) -> anyhow::Result<String> {
    let made = sdk.create_key().description("kmslab's own key").send().await;
    let made = made.map_err(|e| anyhow::anyhow!("CreateKey: {}", DisplayErrorContext(e)))?;
    let arn = made.key_metadata().and_then(|m| m.arn()).context("CreateKey named no ARN")?.to_owned();
    let aliased = sdk.create_alias().alias_name(ALIAS).target_key_id(&arn).send().await;
    aliased.map_err(|e| anyhow::anyhow!("CreateAlias {ALIAS}: {}", DisplayErrorContext(e)))?;
    Ok(arn)
}

#[async_trait]
impl Cloud for AwsCloud {
    fn kind(&self) -> CloudKind {
        CloudKind::Aws
    }

    fn key(&self) -> &str {
        &self.key
    }

    async fn rotate(&self) -> anyhow::Result<()> {
        let rotated = self.sdk.rotate_key_on_demand().key_id(&self.key).send().await;
        rotated.map_err(|e| anyhow::anyhow!("RotateKeyOnDemand {}: {}", self.key, DisplayErrorContext(e)))?;
        Ok(())
    }

    fn endpoint(&self) -> &str {
        &self.endpoint
    }

    async fn disable(&self) -> anyhow::Result<()> {
        let disabled = self.sdk.disable_key().key_id(&self.key).send().await;
        disabled.map_err(|e| anyhow::anyhow!("DisableKey {}: {}", self.key, DisplayErrorContext(e)))?;
        Ok(())
    }

    async fn enable(&self) -> anyhow::Result<()> {
        let enabled = self.sdk.enable_key().key_id(&self.key).send().await;
        enabled.map_err(|e| anyhow::anyhow!("EnableKey {}: {}", self.key, DisplayErrorContext(e)))?;
        Ok(())
    }

    async fn key_table(&self) -> anyhow::Result<KeyTable> {
        self.admin.keys().await
    }

    async fn plugin_requests(&self) -> anyhow::Result<u64> {
        self.admin.requests_of(&Credentials::plugin().id).await
    }
}
