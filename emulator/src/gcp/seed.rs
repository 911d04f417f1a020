//! The `gcp` part of a seed file: service accounts with keys, bindings, and the account of the
//! metadata server.

use crate::well_known::GCP_TOKEN_URI;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Gcp;
use super::identity::{Account, KeyFile};

/// The `gcp` part of a seed file.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GcpSeed {
    /// Service accounts, in addition to the well-known one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_accounts: Vec<SeedServiceAccount>,
    /// Bindings on projects, key rings and keys, which need not exist yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bindings: Vec<SeedBinding>,
    /// Account whose tokens the metadata server returns; the well-known one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_account: Option<String>,
}

/// A service account.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SeedServiceAccount {
    /// Email address, `NAME@PROJECT.iam.gserviceaccount.com`.
    pub email: String,
    /// Content of one of its key files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
}

impl From<&KeyFile> for SeedServiceAccount {
    /// The account of a key file, with that key.
    fn from(file: &KeyFile) -> Self {
        Self {
            email: file.email.clone(),
            key_file: Some(file.json(GCP_TOKEN_URI).to_string()),
        }
    }
}

impl fmt::Debug for SeedServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeedServiceAccount")
            .field("email", &self.email)
            .finish_non_exhaustive()
    }
}

/// A role on a resource and everything below it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SeedBinding {
    /// `projects/P`, or the full name of a key ring or key.
    pub resource: String,
    /// Role, such as `roles/cloudkms.cryptoKeyEncrypterDecrypter`.
    pub role: String,
    /// Members, such as `serviceAccount:NAME@PROJECT.iam.gserviceaccount.com`.
    pub members: Vec<String>,
}

impl GcpSeed {
    /// Applies the seed. The error names the entry that is wrong.
    pub(crate) fn apply(&self, gcp: &Gcp) -> Result<(), String> {
        for account in &self.service_accounts {
            let keys = account
                .key_file
                .as_ref()
                .map(|text| KeyFile::parse(text.as_bytes()))
                .transpose();
            let keys = keys.map_err(|why| {
                format!(
                    "service account {}: its keyFile can't be used: {why}",
                    account.email
                )
            })?;
            if !account.email.contains('@') {
                return Err(format!(
                    "service account {}: an address has an @",
                    account.email
                ));
            }
            let created = Account {
                email: account.email.clone(),
                display_name: String::new(),
                keys: keys.iter().map(Into::into).collect(),
            };
            if !gcp.identity.accounts.add(created) {
                return Err(format!(
                    "service account {}: there is one already",
                    account.email
                ));
            }
        }
        for binding in &self.bindings {
            for member in &binding.members {
                let added = gcp.policies.add(&binding.resource, &binding.role, member);
                added.map_err(|error| {
                    format!("binding on {}: {}", binding.resource, error.message)
                })?;
            }
        }
        if let Some(email) = &self.metadata_account {
            if gcp.identity.accounts.get(email).is_none() {
                return Err(format!(
                    "metadataAccount {email}: there is no such service account"
                ));
            }
            gcp.identity.set_default(email);
        }
        Ok(())
    }
}
