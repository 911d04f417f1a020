//! AWS in a seed file: access keys, and keys with their aliases and versions.

pub(crate) mod apply;
pub(crate) mod export;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::auth::Credential;
use crate::seed::material::{MaterialSchema, SeedMaterial};
use crate::seed::text_or::text_or;
use crate::well_known::{AWS_ACCOUNT, AWS_REGION};

/// An access key.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
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

/// A key of AWS KMS. Absent fields have the service's defaults.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SeedKey {
    /// Account id, 12 digits, quoted; 123456789012 if absent.
    #[serde(default = "default_account")]
    pub account: String,
    /// Region; us-east-1 if absent.
    #[serde(default = "default_region")]
    pub region: String,
    /// Key id, a lower-case UUID, or `mrk-` and 32 hex digits; random if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Aliases, `alias/…`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<SeedAlias>,
    /// As in CreateKey.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// As in CreateKey, for example `SYMMETRIC_DEFAULT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_spec: Option<String>,
    /// As in CreateKey, for example `ENCRYPT_DECRYPT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_usage: Option<String>,
    /// As in CreateKey.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multi_region: Option<bool>,
    /// As in CreateKey: the policy document as a string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Tags by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// State; `Enabled` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<SeedKeyState>,
    /// When a key with state `PendingDeletion` is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_date: Option<Timestamp>,
    /// Creation date; the lab clock's time if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// Enables automatic rotation with this period, from 90 to 2560.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_period_in_days: Option<u32>,
    /// Date of the next automatic rotation; one period from now if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_rotation: Option<Timestamp>,
    /// Number of on-demand rotations so far, of which a key has at most 25; by default as many as
    /// there are versions of that kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_demand_rotations: Option<u32>,
    /// Key material of a key with one version; random if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<MaterialSchema>")]
    pub material: Option<SeedMaterial>,
    /// All versions of the key material, oldest first; the last is the current one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<SeedKeyVersion>,
}

/// A version of a key's material.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SeedKeyVersion {
    /// `KeyMaterialId`, 64 lower-case hex digits; if absent, derived from the key's ARN and the
    /// version's position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Date of the rotation; the key's creation date if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// How the version was made; by default the first with the key and later ones on demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<SeedRotationType>,
    /// Key material; random if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<MaterialSchema>")]
    pub material: Option<SeedMaterial>,
}

/// `KeyState` of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SeedKeyState {
    /// The key can be used.
    Enabled,
    /// The key cannot be used until it is enabled.
    Disabled,
    /// The key will be deleted at `deletionDate`.
    PendingDeletion,
}

/// `RotationType` of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SeedRotationType {
    /// By the schedule.
    Automatic,
    /// By RotateKeyOnDemand.
    OnDemand,
}

/// An alias: its name, or a map with its dates.
#[derive(Debug, Clone)]
pub struct SeedAlias {
    /// Name, `alias/…`.
    pub name: String,
    /// Creation date; the lab clock's time if absent.
    pub created: Option<Timestamp>,
    /// Date of the last change; the creation date if absent.
    pub updated: Option<Timestamp>,
}

/// An alias with its dates.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DatedAlias {
    /// Name, `alias/…`.
    name: String,
    /// Creation date; the lab clock's time if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created: Option<Timestamp>,
    /// Date of the last change; the creation date if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    updated: Option<Timestamp>,
}

impl From<String> for SeedAlias {
    fn from(name: String) -> Self {
        Self {
            name,
            created: None,
            updated: None,
        }
    }
}

impl From<DatedAlias> for SeedAlias {
    fn from(dated: DatedAlias) -> Self {
        Self {
            name: dated.name,
            created: dated.created,
            updated: dated.updated,
        }
    }
}

impl<'de> Deserialize<'de> for SeedAlias {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or::<_, DatedAlias, _>(deserializer, "an alias, or a map with its name and dates")
    }
}

impl Serialize for SeedAlias {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.created.is_none() && self.updated.is_none() {
            return serializer.serialize_str(&self.name);
        }
        let dated = DatedAlias {
            name: self.name.clone(),
            created: self.created,
            updated: self.updated,
        };
        dated.serialize(serializer)
    }
}

impl JsonSchema for SeedAlias {
    fn schema_name() -> Cow<'static, str> {
        "SeedAlias".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (text, dated) = (
            generator.subschema_for::<String>(),
            generator.subschema_for::<DatedAlias>(),
        );
        json_schema!({
            "description": "An alias: its name, or a map with its dates.",
            "anyOf": [text, dated],
        })
    }
}

impl Default for SeedKey {
    /// A key with the service's defaults.
    fn default() -> Self {
        Self {
            account: default_account(),
            region: default_region(),
            id: None,
            aliases: Vec::new(),
            description: None,
            key_spec: None,
            key_usage: None,
            multi_region: None,
            policy: None,
            tags: BTreeMap::new(),
            state: None,
            deletion_date: None,
            created: None,
            rotation_period_in_days: None,
            next_rotation: None,
            on_demand_rotations: None,
            material: None,
            versions: Vec::new(),
        }
    }
}

impl SeedKey {
    /// All key material of the key.
    pub(crate) fn materials(&mut self) -> impl Iterator<Item = &mut SeedMaterial> {
        let versions = self.versions.iter_mut();
        self.material
            .iter_mut()
            .chain(versions.filter_map(|version| version.material.as_mut()))
    }
}

fn default_account() -> String {
    AWS_ACCOUNT.to_owned()
}

fn default_region() -> String {
    AWS_REGION.to_owned()
}
