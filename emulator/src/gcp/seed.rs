//! What a seed file may say about Google: service accounts and their keys, who may do what, whose
//! tokens the metadata server gives out.

use std::fmt;

use serde::Deserialize;

use super::Gcp;
use super::identity::{Account, KeyFile, TOKEN_URI};

/// The part of a seed file under `gcp`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GcpSeed {
    /// Service accounts, beside the well-known one.
    #[serde(default)]
    pub service_accounts: Vec<SeedServiceAccount>,
    /// Roles on projects, key rings and keys, which need not be there yet.
    #[serde(default)]
    pub bindings: Vec<SeedBinding>,
    /// The account whose tokens the metadata server gives out; the well-known one when absent.
    pub metadata_account: Option<String>,
}

/// A service account.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SeedServiceAccount {
    /// Its address, `NAME@PROJECT.iam.gserviceaccount.com`.
    pub email: String,
    /// A key file of it, as text.
    pub key_file: Option<String>,
}

impl From<&KeyFile> for SeedServiceAccount {
    /// The account that a key file is of, with that key.
    fn from(file: &KeyFile) -> Self {
        Self {
            email: file.email.clone(),
            key_file: Some(file.json(TOKEN_URI).to_string()),
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

/// A role that somebody has on a resource and on what is in it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedBinding {
    /// `projects/P`, or a key ring's or a key's full name.
    pub resource: String,
    /// Such as `roles/cloudkms.cryptoKeyEncrypterDecrypter`.
    pub role: String,
    /// Such as `serviceAccount:NAME@PROJECT.iam.gserviceaccount.com`.
    pub members: Vec<String>,
}

impl GcpSeed {
    /// Makes all of it; the error says what is wrong with which.
    pub(crate) fn plant(&self, gcp: &Gcp) -> Result<(), String> {
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
            let made = Account {
                email: account.email.clone(),
                display_name: String::new(),
                keys: keys.iter().map(Into::into).collect(),
            };
            if !gcp.identity.accounts.add(made) {
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
