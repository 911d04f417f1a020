//! AWS KMS over the key core.
//!
//! Each pair of account and region is a realm. [`auth`] verifies signatures before an operation is
//! called. Key policies are stored and not evaluated: a caller may do everything in its own account
//! and nothing in another.

mod aliases;
mod audit;
pub(crate) mod audit_export;
pub(crate) mod auth;
mod blob;
pub(crate) mod catalog;
mod crypto;
mod data;
mod error;
mod faults;
mod keys;
mod names;
mod operation;
mod other_usages;
mod page;
mod policy;
mod query;
mod rotation;
pub(crate) mod route;
pub(crate) mod seed;
pub(crate) mod service;
pub mod sigv4;
mod tags;
mod wire;

use std::sync::Arc;

use kmslab_emulator_api::{KeyRow, VersionRow};
use kmslab_keycore::{Entropy, KeyError, KeyId, KeyState};

use crate::pipeline::audit::Audit;

pub(crate) use error::AwsError;

use blob::CiphertextIndex;
use data::{Key, KeyCore, KeyRef};
use names::{Arn, Name};
pub(crate) use operation::Operation;
use wire::Input;

/// The caller of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Account id, 12 digits.
    pub account: String,
    /// Region that the request is for.
    pub region: String,
    /// Access key that signed the request.
    pub access_key_id: String,
}

/// How an operation accepts a key to be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accept {
    /// By key id or key ARN: operations that manage keys.
    Keys,
    /// Also by alias name or alias ARN: DescribeKey and cryptographic operations.
    Aliases,
}

/// A key that a request named.
#[derive(Debug, Clone)]
pub(crate) struct ResolvedKey<'a> {
    pub(crate) key: KeyRef<'a>,
    pub(crate) arn: String,
}

impl ResolvedKey<'_> {
    /// Translates an error of the core about this key.
    pub(crate) fn key_error(&self, error: KeyError) -> AwsError {
        AwsError::from_key_error(&self.arn, error)
    }

    /// Fails if the key is pending deletion.
    pub(crate) fn ensure_not_pending_deletion(&self) -> Result<(), AwsError> {
        match self.key.state {
            KeyState::PendingDeletion { .. } => Err(AwsError::pending_deletion(&self.arn)),
            KeyState::Enabled | KeyState::Disabled => Ok(()),
        }
    }
}

/// The AWS KMS front end.
#[derive(Debug, Clone)]
pub(crate) struct Aws {
    pub(crate) core: Arc<KeyCore>,
    entropy: Arc<dyn Entropy>,
    ciphertexts: Arc<CiphertextIndex>,
    /// Has the latest use of each key.
    audit: Arc<Audit>,
}

impl Aws {
    /// Creates a front end over a core.
    pub(crate) fn new(core: Arc<KeyCore>, entropy: Arc<dyn Entropy>, audit: Arc<Audit>) -> Self {
        Self {
            core,
            entropy,
            ciphertexts: Arc::default(),
            audit,
        }
    }

    /// Lists all keys with their versions, without key material.
    pub(crate) fn key_table(&self) -> Vec<KeyRow> {
        let mut realms = self.core.realms();
        realms.sort();
        let keys = realms.iter().flat_map(|realm| self.core.keys(realm));
        keys.filter_map(|key| key_row(&key)).collect()
    }

    /// Resolves the required member `member`, whatever the state of the key.
    pub(crate) fn resolve_member(
        &self,
        caller: &Caller,
        input: &Input,
        member: &str,
        accept: Accept,
    ) -> Result<ResolvedKey<'_>, AwsError> {
        self.resolve_key(
            caller,
            input.operation().permission,
            input.required_string(member, 1..=2048)?,
            accept,
        )
    }

    /// Resolves a key id, ARN or alias, whatever the state of the key. `permission` is the IAM
    /// action that the caller needs.
    pub(crate) fn resolve_key(
        &self,
        caller: &Caller,
        permission: &'static str,
        text: &str,
        accept: Accept,
    ) -> Result<ResolvedKey<'_>, AwsError> {
        let name = match text.starts_with("arn:") {
            true => resolve_arn(caller, permission, text)?,
            false if text.starts_with("alias/") => Name::Alias(text),
            false => Name::Id(text),
        };
        let realm = names::realm(&caller.account, &caller.region);
        let key_arn = |id: &KeyId| names::key_arn(&caller.account, &caller.region, id.as_str());
        let key = match name {
            Name::Alias(_) if accept == Accept::Keys => return Err(AwsError::invalid_key_id(text)),
            Name::Alias(alias) => {
                let key = self.core.key_by_alias(&realm, alias);
                key.map_err(|_| AwsError::no_such_alias(names::alias_arn(caller, alias)))?
            }
            Name::Id(id) if names::is_key_id(id) => {
                let id = KeyId::new(id);
                let key = self.core.key(&realm, &id);
                key.map_err(|error| AwsError::from_key_error(&key_arn(&id), error))?
            }
            Name::Id(id) => return Err(AwsError::invalid_key_id(id)),
        };
        let arn = key_arn(&key.id);
        Ok(ResolvedKey { key, arn })
    }
}

/// Parses an ARN; fails if it is of another account or region.
fn resolve_arn<'a>(caller: &Caller, permission: &str, text: &'a str) -> Result<Name<'a>, AwsError> {
    let arn = Arn::parse(text).ok_or_else(|| AwsError::invalid_arn(text))?;
    if arn.region != caller.region {
        return Err(AwsError::invalid_arn(arn.region));
    }
    if arn.account != caller.account {
        return Err(AwsError::access_denied(
            &names::user_arn(caller),
            permission,
            text,
        ));
    }
    Ok(arn.name)
}

fn key_row(key: &Key) -> Option<KeyRow> {
    let (account, region) = names::account_and_region(&key.realm)?;
    let versions = key.versions.iter().map(|version| VersionRow {
        number: version.number,
        id: version.id.to_string(),
        blob_id: Some(hex::encode(blob::blob_id(&version.id))),
        created: Some(version.created),
    });
    Some(KeyRow {
        cloud: "aws".to_owned(),
        key: names::key_arn(account, region, key.id.as_str()),
        state: keys::state_name(key.state).to_owned(),
        primary: key.primary_version().map_or(0, |version| version.number),
        versions: versions.collect(),
    })
}
