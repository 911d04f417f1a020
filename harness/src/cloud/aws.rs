//! The operator of an AWS key: the vendor's own SDK with the operator's credentials, apart from the
//! plugin's.

use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use aws_sdk_kms::config::{BehaviorVersion, Credentials as SdkCredentials, Region};
use aws_sdk_kms::error::DisplayErrorContext;
use kmslab_plugin::kek::Kek;
use kmslab_plugin::kek::aws::AwsKek;

use super::{Admin, Cloud, CloudKind, NamedBy, PluginSettings, Reach, SecretFile};
use crate::etcd::keytable::{KeyRow, KeyTable};
use crate::inspect::opener::{AwsOptions, Openers};

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
        Self {
            id: "test".into(),
            secret: "test".into(),
        }
    }

    /// The plugin's own, so that its requests can be told from everybody else's.
    pub fn plugin() -> Self {
        Self {
            id: "kmslab-plugin".into(),
            secret: "kmslab-plugin-secret".into(),
        }
    }

    /// Somebody's in another account.
    pub fn stranger() -> Self {
        Self {
            id: "kmslab-stranger".into(),
            secret: "kmslab-stranger-secret".into(),
        }
    }

    /// Those of the environment, as the SDKs read them; else the operator's.
    pub fn from_env() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        match (
            variable("AWS_ACCESS_KEY_ID"),
            variable("AWS_SECRET_ACCESS_KEY"),
        ) {
            (Some(id), Some(secret)) => Self { id, secret },
            _ => Self::operator(),
        }
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
/// Account of those who have no right to it.
pub(super) const STRANGERS: &str = "999999999999";
/// Alias of the key that a lab makes for itself; the guide's own alias stays free.
pub const ALIAS: &str = "alias/kmslab";

/// An emulator, and who calls it as what.
#[derive(Debug, Clone)]
pub struct Access {
    /// `http://127.0.0.1:7600`.
    pub endpoint: String,
    /// Its admin port.
    pub admin: Admin,
    /// The key's region.
    pub region: String,
    /// The operator's credentials.
    pub operator: Credentials,
    /// The plugin's. Where they are the operator's too, requests cannot be told apart.
    pub plugin: Credentials,
}

impl Access {
    /// An emulator that a lab has started for itself.
    pub fn own(endpoint: impl Into<String>, admin: Admin) -> Self {
        Self {
            endpoint: endpoint.into(),
            admin,
            region: REGION.into(),
            operator: Credentials::operator(),
            plugin: Credentials::plugin(),
        }
    }

    /// How its emulator is reached.
    pub fn reach(&self) -> Reach {
        Reach {
            http: self.endpoint.clone(),
            https: None,
            proxy: None,
            ca: None,
            admin: self.admin.url().to_owned(),
            azure_tenant: String::new(),
        }
    }

    /// A person's emulator, where operator and plugin both have the credentials of the environment.
    pub fn given(endpoint: impl Into<String>, admin: Admin, region: impl Into<String>) -> Self {
        let credentials = Credentials::from_env();
        let (endpoint, region) = (endpoint.into(), region.into());
        Self {
            endpoint,
            admin,
            region,
            operator: credentials.clone(),
            plugin: credentials,
        }
    }
}

/// One key in AWS KMS, emulated.
#[derive(Debug)]
pub struct AwsCloud {
    access: Access,
    sdk: aws_sdk_kms::Client,
    key: String,
}

impl AwsCloud {
    /// Makes a key as the operator, and names it `alias/kmslab`.
    pub async fn with_own_key(access: Access) -> anyhow::Result<Self> {
        let sdk = client(&access);
        let key = make_key(&sdk).await?;
        Ok(Self { access, sdk, key })
    }

    /// Works on the key that is there under this ARN.
    pub fn with_key(access: Access, key: impl Into<String>) -> Self {
        Self {
            sdk: client(&access),
            access,
            key: key.into(),
        }
    }

    fn openers_of(&self, credentials: Credentials) -> Openers {
        let Access {
            endpoint, region, ..
        } = &self.access;
        let mut openers = Openers::default();
        openers.add_aws(AwsOptions {
            endpoint_url: Some(endpoint.clone()),
            region: Some(region.clone()),
            ca_file: None,
            credentials: Some(credentials),
        });
        openers
    }

    /// The emulator, and the credentials.
    pub fn access(&self) -> &Access {
        &self.access
    }
}

/// The operator's SDK client, over HTTP to an emulator on this machine.
fn client(access: &Access) -> aws_sdk_kms::Client {
    let Access {
        endpoint,
        region,
        operator: credentials,
        ..
    } = access;
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_sdk_kms::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.clone()))
        .endpoint_url(endpoint)
        .http_client(http)
        .credentials_provider(SdkCredentials::new(
            &credentials.id,
            &credentials.secret,
            None,
            None,
            "kmslab",
        ))
        .build();
    aws_sdk_kms::Client::from_conf(config)
}

async fn make_key(sdk: &aws_sdk_kms::Client) -> anyhow::Result<String> {
    let made = sdk
        .create_key()
        .description("kmslab's own key")
        .send()
        .await;
    let made = made.map_err(|e| anyhow::anyhow!("CreateKey: {}", DisplayErrorContext(e)))?;
    let arn = made
        .key_metadata()
        .and_then(|m| m.arn())
        .context("CreateKey named no ARN")?
        .to_owned();
    let aliased = sdk
        .create_alias()
        .alias_name(ALIAS)
        .target_key_id(&arn)
        .send()
        .await;
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
        let rotated = self
            .sdk
            .rotate_key_on_demand()
            .key_id(&self.key)
            .send()
            .await;
        rotated.map_err(|e| {
            anyhow::anyhow!("RotateKeyOnDemand {}: {}", self.key, DisplayErrorContext(e))
        })?;
        Ok(())
    }

    async fn disable(&self) -> anyhow::Result<()> {
        let disabled = self.sdk.disable_key().key_id(&self.key).send().await;
        disabled
            .map_err(|e| anyhow::anyhow!("DisableKey {}: {}", self.key, DisplayErrorContext(e)))?;
        Ok(())
    }

    async fn enable(&self) -> anyhow::Result<()> {
        let enabled = self.sdk.enable_key().key_id(&self.key).send().await;
        enabled
            .map_err(|e| anyhow::anyhow!("EnableKey {}: {}", self.key, DisplayErrorContext(e)))?;
        Ok(())
    }

    async fn key_table(&self) -> anyhow::Result<KeyTable> {
        self.access.admin.keys().await
    }

    /// By the id of the material, which the ciphertext shows.
    async fn sealed_by(&self, dek_source: &[u8], row: &KeyRow) -> anyhow::Result<Option<u64>> {
        Ok(row.used_by(dek_source).map(|version| version.number))
    }

    async fn kek(&self) -> anyhow::Result<Arc<dyn Kek>> {
        let Access {
            endpoint,
            region,
            plugin: Credentials { id, secret },
            ..
        } = &self.access;
        let kek = AwsKek::builder(&self.key)
            .region(Some(region))
            .endpoint_url(Some(endpoint))
            .credentials(id, secret);
        Ok(Arc::new(kek.build().await?))
    }

    fn plugin_settings(&self, reach: &Reach) -> anyhow::Result<PluginSettings> {
        let Access {
            region,
            plugin: Credentials { id, secret },
            ..
        } = &self.access;
        let mut args = vec![
            "aws".to_owned(),
            format!("--key={}", self.key),
            format!("--region={region}"),
        ];
        args.push(format!("--endpoint-url={}", reach.http));
        if let Some(ca) = reach
            .ca
            .as_ref()
            .filter(|_| reach.http.starts_with("https:"))
        {
            args.push(format!("--ca-file={}", ca.display()));
        }
        let secrets = vec![
            ("AWS_ACCESS_KEY_ID", id.clone()),
            ("AWS_SECRET_ACCESS_KEY", secret.clone()),
        ];
        let file = SecretFile {
            name: "credentials",
            content: format!(
                "[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n"
            ),
            named_by: NamedBy::Variable("AWS_SHARED_CREDENTIALS_FILE"),
        };
        Ok(PluginSettings {
            args,
            variables: Vec::new(),
            secrets,
            file,
        })
    }

    fn openers(&self) -> Openers {
        self.openers_of(self.access.operator.clone())
    }

    async fn stranger(&self) -> anyhow::Result<Openers> {
        Ok(self.openers_of(Credentials::stranger()))
    }

    async fn plugin_requests(&self) -> anyhow::Result<u64> {
        self.access.admin.requests_of(&self.access.plugin.id).await
    }
}
