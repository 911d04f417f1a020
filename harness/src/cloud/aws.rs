//! Operates an AWS key with the vendor's SDK and the operator's credentials, which differ from the
//! plugin's.

use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use aws_sdk_kms::config::{BehaviorVersion, Credentials as SdkCredentials, Region};
use aws_sdk_kms::error::DisplayErrorContext;
use kmslab_plugin::kek::Kek;
use kmslab_plugin::kek::aws::AwsKek;

use super::{
    AdminClient, CloudKind, Endpoints, FileReference, KeyEvidence, KeyOperator, PluginConfig,
    PluginSettings, SecretFile,
};
pub use crate::inspect::decryptor::Credentials;
use crate::inspect::decryptor::{AwsOptions, Decryptors};
use kmslab_emulator_api::{KeyRow, KeyTable};

impl Credentials {
    /// The operator's credentials: the emulator's default access key.
    pub fn operator() -> Self {
        Self {
            id: "test".into(),
            secret: "test".into(),
        }
    }

    /// The plugin's credentials, so that its requests can be distinguished.
    pub fn plugin() -> Self {
        Self {
            id: "kmslab-plugin".into(),
            secret: "kmslab-plugin-secret".into(),
        }
    }

    /// Credentials of another account.
    pub fn unauthorized() -> Self {
        Self {
            id: "kmslab-stranger".into(),
            secret: "kmslab-stranger-secret".into(),
        }
    }

    /// The credentials of the environment, as the SDKs read them; else the operator's.
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

/// Region of every lab.
pub const REGION: &str = "us-east-1";
/// Account of the default credentials.
pub const ACCOUNT: &str = "123456789012";
/// Account without access to the key.
pub(super) const UNAUTHORIZED_ACCOUNT: &str = "999999999999";
/// Alias of the key that a lab creates; the guide's own alias stays free.
pub const ALIAS: &str = "alias/kmslab";

/// An emulator, and the credentials of operator and plugin.
#[derive(Debug, Clone)]
pub struct EmulatorAccess {
    /// `http://127.0.0.1:7600`.
    pub endpoint: String,
    /// Its admin port.
    pub admin: AdminClient,
    /// Region of the key.
    pub region: String,
    /// The operator's credentials.
    pub operator: Credentials,
    /// The plugin's credentials. If they equal the operator's, requests cannot be distinguished.
    pub plugin: Credentials,
}

impl EmulatorAccess {
    /// An emulator that a lab started.
    pub fn of_lab(endpoint: impl Into<String>, admin: AdminClient) -> Self {
        Self {
            endpoint: endpoint.into(),
            admin,
            region: REGION.into(),
            operator: Credentials::operator(),
            plugin: Credentials::plugin(),
        }
    }

    /// Endpoints of its emulator.
    pub fn endpoints(&self) -> Endpoints {
        Endpoints {
            http: self.endpoint.clone(),
            https: None,
            proxy: None,
            ca: None,
            admin: Some(self.admin.url().to_owned()),
            azure_tenant: String::new(),
            gcp_key_file: None,
        }
    }

    /// A user's emulator; operator and plugin both use the credentials of the environment.
    pub fn of_user(
        endpoint: impl Into<String>,
        admin: AdminClient,
        region: impl Into<String>,
    ) -> Self {
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

/// A key in emulated AWS KMS.
#[derive(Debug)]
pub struct AwsCloud {
    access: EmulatorAccess,
    sdk: aws_sdk_kms::Client,
    key: String,
}

impl AwsCloud {
    /// Creates a key with alias `alias/kmslab` as the operator.
    pub async fn with_own_key(access: EmulatorAccess) -> anyhow::Result<Self> {
        let sdk = client(&access);
        let key = create_key(&sdk).await?;
        Ok(Self { access, sdk, key })
    }

    /// Uses an existing key by its ARN.
    pub fn with_key(access: EmulatorAccess, key: impl Into<String>) -> Self {
        Self {
            sdk: client(&access),
            access,
            key: key.into(),
        }
    }

    fn decryptors_with(&self, credentials: Credentials) -> Decryptors {
        let EmulatorAccess {
            endpoint, region, ..
        } = &self.access;
        let mut decryptors = Decryptors::default();
        decryptors.add_aws(AwsOptions {
            endpoint_url: Some(endpoint.clone()),
            region: Some(region.clone()),
            ca_file: None,
            credentials: Some(credentials),
        });
        decryptors
    }

    /// The emulator and the credentials.
    pub fn access(&self) -> &EmulatorAccess {
        &self.access
    }
}

/// The operator's SDK client, over HTTP to an emulator on this machine.
fn client(access: &EmulatorAccess) -> aws_sdk_kms::Client {
    let EmulatorAccess {
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

async fn create_key(sdk: &aws_sdk_kms::Client) -> anyhow::Result<String> {
    let created = sdk
        .create_key()
        .description("kmslab's own key")
        .send()
        .await;
    let created = created.map_err(|e| anyhow::anyhow!("CreateKey: {}", DisplayErrorContext(e)))?;
    let arn = created
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
impl KeyOperator for AwsCloud {
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

    fn decryptors(&self) -> Decryptors {
        self.decryptors_with(self.access.operator.clone())
    }

    async fn unauthorized_decryptors(&self) -> anyhow::Result<Decryptors> {
        Ok(self.decryptors_with(Credentials::unauthorized()))
    }
}

#[async_trait]
impl KeyEvidence for AwsCloud {
    async fn key_table(&self) -> anyhow::Result<KeyTable> {
        Ok(self.access.admin.keys().await?)
    }

    /// By the id of the key material in the ciphertext.
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
        &self.access.plugin.id
    }

    fn admin(&self) -> &AdminClient {
        &self.access.admin
    }
}

#[async_trait]
impl PluginConfig for AwsCloud {
    async fn kek(&self) -> anyhow::Result<Arc<dyn Kek>> {
        let EmulatorAccess {
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

    fn plugin_settings(&self, endpoints: &Endpoints) -> anyhow::Result<PluginSettings> {
        let EmulatorAccess {
            region,
            plugin: Credentials { id, secret },
            ..
        } = &self.access;
        let mut args = vec![
            "aws".to_owned(),
            format!("--key={}", self.key),
            format!("--region={region}"),
        ];
        args.push(format!("--endpoint-url={}", endpoints.http));
        if let Some(ca) = endpoints
            .ca
            .as_ref()
            .filter(|_| endpoints.http.starts_with("https:"))
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
            reference: FileReference::Variable("AWS_SHARED_CREDENTIALS_FILE"),
        };
        Ok(PluginSettings {
            args,
            variables: Vec::new(),
            secrets,
            file,
        })
    }
}
