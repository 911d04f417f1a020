//! The seed file: credentials to accept, and keys with aliases to create. YAML, which includes
//! JSON.

use crate::well_known::{AWS_ACCOUNT, AWS_REGION};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::aws::auth::Credential;
use crate::aws::{Aws, AwsError, Caller, Operation};
use crate::azure::Azure;
pub use crate::azure::seed::{
    AzureSeed, SeedApplication, SeedFederated, SeedIssuer, SeedPolicy, SeedRole, SeedVault,
};
use crate::gcp::Gcp;
pub use crate::gcp::seed::{GcpSeed, SeedBinding, SeedServiceAccount};
use kmslab_program::file;

/// Why a seed cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The file could not be read.
    #[error("cannot read the seed file {}: {source}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is not YAML, or has unknown fields or wrong types.
    #[error("the seed file {} is not valid: {reason}", path.display())]
    Parse {
        /// Path of the file.
        path: PathBuf,
        /// Line, column and what is wrong.
        reason: String,
    },
    /// The emulator rejected an operation for a key of the seed.
    #[error("seed: key {number} ({what}): {operation} was refused with {code}: {message}")]
    Refused {
        /// Position of the key in the file, from 1.
        number: usize,
        /// Its first alias, or its description.
        what: String,
        /// The operation.
        operation: &'static str,
        /// The vendor's error code.
        code: String,
        /// The vendor's error message.
        message: String,
    },
    /// The `azure` part cannot be applied.
    #[error("seed: azure: {0}")]
    Azure(String),
    /// The `gcp` part cannot be applied.
    #[error("seed: gcp: {0}")]
    Gcp(String),
    /// The emulator stopped meanwhile.
    #[error("seed: the emulator stopped before the seed was applied")]
    Stopped,
}

/// The content of a seed file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedFile {
    /// Access keys, in addition to the well-known one.
    #[serde(default)]
    pub credentials: Vec<SeedCredential>,
    /// Keys to create, in this order.
    #[serde(default)]
    pub keys: Vec<SeedKey>,
    /// Applications and vaults of Azure.
    #[serde(default)]
    pub azure: AzureSeed,
    /// Service accounts and bindings of Google.
    #[serde(default)]
    pub gcp: GcpSeed,
}

/// An access key.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SeedCredential {
    /// Access key id.
    pub id: String,
    /// Secret access key.
    pub secret: String,
    /// Account id, 12 digits, quoted; 123456789012 if absent.
    #[serde(default = "default_account")]
    pub account: String,
    /// Session token of temporary credentials.
    pub session_token: Option<String>,
}

impl fmt::Debug for SeedCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeedCredential")
            .field("id", &self.id)
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

/// A key of AWS KMS. Absent fields have the service's defaults.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SeedKey {
    /// Account id, 12 digits, quoted; 123456789012 if absent.
    #[serde(default = "default_account")]
    pub account: String,
    /// Region; us-east-1 if absent.
    #[serde(default = "default_region")]
    pub region: String,
    /// Aliases, `alias/…`.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// As in CreateKey.
    pub description: Option<String>,
    /// As in CreateKey, for example `RSA_2048`.
    pub key_spec: Option<String>,
    /// As in CreateKey, for example `SIGN_VERIFY`.
    pub key_usage: Option<String>,
    /// As in CreateKey.
    pub multi_region: Option<bool>,
    /// As in CreateKey: the policy document as a string.
    pub policy: Option<String>,
    /// Tags by name.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Enables automatic rotation with this period.
    pub rotation_period_in_days: Option<u32>,
}

fn default_account() -> String {
    AWS_ACCOUNT.to_owned()
}

fn default_region() -> String {
    AWS_REGION.to_owned()
}

impl SeedFile {
    /// Reads a seed file.
    pub fn read(path: &Path) -> Result<Self, SeedError> {
        let unreadable = |source| SeedError::Read {
            path: path.to_owned(),
            source,
        };
        let text = file::read_text(path, file::MAX_CONFIGURATION_BYTES).map_err(unreadable)?;
        // Without the parser's excerpt of the file, which may contain a secret.
        let options = serde_saphyr::options! { with_snippet: false };
        serde_saphyr::from_str_with_options(&text, options).map_err(|error| SeedError::Parse {
            path: path.to_owned(),
            reason: error.to_string(),
        })
    }

    /// Applies the seed by the same operations that callers use.
    pub(crate) fn apply(&self, aws: &Aws, azure: &Azure, gcp: &Gcp) -> Result<(), SeedError> {
        self.gcp.apply(gcp).map_err(SeedError::Gcp)?;
        self.azure.apply(azure).map_err(SeedError::Azure)?;
        for (index, key) in self.keys.iter().enumerate() {
            key.plant(aws)
                .map_err(|(operation, error)| SeedError::Refused {
                    number: index + 1,
                    what: key
                        .aliases
                        .first()
                        .or(key.description.as_ref())
                        .cloned()
                        .unwrap_or_else(|| "no alias".to_owned()),
                    operation,
                    code: error.kind,
                    message: error.message.unwrap_or_default(),
                })?;
        }
        Ok(())
    }
}

impl SeedCredential {
    /// An access key without a session token.
    pub fn new(
        id: impl Into<String>,
        secret: impl Into<String>,
        account: impl Into<String>,
    ) -> Self {
        Self {
            id: id.into(),
            secret: secret.into(),
            account: account.into(),
            session_token: None,
        }
    }

    pub(crate) fn credential(&self) -> Credential {
        Credential {
            secret: Zeroizing::new(self.secret.clone()),
            account: self.account.clone(),
            session_token: self.session_token.clone().map(Zeroizing::new),
        }
    }
}

impl SeedKey {
    fn plant(&self, aws: &Aws) -> Result<(), (&'static str, AwsError)> {
        let caller = Caller {
            account: self.account.clone(),
            region: self.region.clone(),
            access_key_id: "seed".to_owned(),
        };
        let tags: Vec<Value> = self
            .tags
            .iter()
            .map(|(key, value)| json!({ "TagKey": key, "TagValue": value }))
            .collect();
        let fields = [
            ("Description", self.description.clone().map(Value::from)),
            ("KeySpec", self.key_spec.clone().map(Value::from)),
            ("KeyUsage", self.key_usage.clone().map(Value::from)),
            ("MultiRegion", self.multi_region.map(Value::from)),
            ("Policy", self.policy.clone().map(Value::from)),
            ("Tags", (!tags.is_empty()).then_some(Value::from(tags))),
        ];
        let given = fields
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect();
        let created = call(aws, &caller, "CreateKey", &Value::Object(given))?;
        let id = &created["KeyMetadata"]["KeyId"];
        for alias in &self.aliases {
            call(
                aws,
                &caller,
                "CreateAlias",
                &json!({ "AliasName": alias, "TargetKeyId": id }),
            )?;
        }
        if let Some(days) = self.rotation_period_in_days {
            let request = json!({ "KeyId": id, "RotationPeriodInDays": days });
            call(aws, &caller, "EnableKeyRotation", &request)?;
        }
        Ok(())
    }
}

fn call(
    aws: &Aws,
    caller: &Caller,
    operation: &'static str,
    request: &Value,
) -> Result<Value, (&'static str, AwsError)> {
    Operation::find(operation)
        .ok_or_else(AwsError::unknown_operation)
        .and_then(|operation| aws.call(caller, operation, request.to_string().as_bytes()))
        .map_err(|error| (operation, error))
}
