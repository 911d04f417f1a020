//! Key operations: create, import, get, list, update, rotate, back up. Deletion is in
//! [`super::deleted`].

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::date;
use kmslab_keycore::{
    Algorithm, KeyError, KeyState, NewKey, NewVersion, Purpose, VersionFields, VersionState,
};
use serde_json::{Map, Value, json};

use super::data::{AzureFront, Key, KeyData, KeyRef, Version, VersionData, VersionRef};
use super::jwk::{self, KeyType};
use super::names::{self, KeyName};
use super::page::page;
use super::wire::{ApiVersion, Input, encode_base64url, epoch_seconds};
use super::{Azure, AzureError, RequestContext};

const OPERATIONS: &[&str] = &[
    "encrypt",
    "decrypt",
    "sign",
    "verify",
    "wrapKey",
    "unwrapKey",
    "import",
    "export",
];
const MAX_TAGS: usize = 15;
const MAX_TAG_LEN: usize = 256;

pub(super) fn create(azure: &Azure, ctx: &RequestContext<'_>) -> Result<Value, AzureError> {
    let kind = KeyType::from_request(ctx.input, names::is_managed_hsm(&ctx.vault.name))?;
    create_version(azure, ctx, kind, None, ctx.input.strings("key_ops")?)
}

pub(super) fn import(azure: &Azure, ctx: &RequestContext<'_>) -> Result<Value, AzureError> {
    let jwk = ctx
        .input
        .object("key")?
        .ok_or_else(|| super::wire::missing("key"))?;
    // `Hsm` in all versions of the API; `hsm` in some clients.
    let hsm = ctx
        .input
        .boolean("Hsm")?
        .or(ctx.input.boolean("hsm")?)
        .unwrap_or(false);
    let hsm = hsm || names::is_managed_hsm(&ctx.vault.name);
    let (kind, material) = jwk::from_jwk(&jwk, hsm)?;
    let operations = jwk.strings("key_ops")?.or(ctx.input.strings("key_ops")?);
    create_version(azure, ctx, kind, Some(material), operations)
}

/// Creates a key, or a new version if the key exists.
fn create_version(
    azure: &Azure,
    ctx: &RequestContext<'_>,
    kind: KeyType,
    material: Option<kmslab_keycore::ImportedMaterial>,
    operations: Option<Vec<String>>,
) -> Result<Value, AzureError> {
    let (name, vault) = (ctx.key()?, ctx.vault);
    let changes = VersionUpdate::from_request(ctx.input)?;
    let operations = match operations.filter(|operations| !operations.is_empty()) {
        Some(operations) => parse_operations(operations)?,
        None => kind
            .operations()
            .iter()
            .map(|&name| name.to_owned())
            .collect(),
    };
    let version = NewVersion {
        material,
        not_before: changes.not_before,
        expires: changes.expires,
        data: VersionData {
            kty: kind.kty.to_owned(),
            key_ops: operations,
            tags: changes.tags.unwrap_or_default(),
        },
        ..NewVersion::new(kind.algorithm)
    };
    let (realm, id) = (names::realm(&vault.name), name.id());
    let refused = |error| AzureError::from_key_error(name, None, "create", error);
    let new = |version| NewKey {
        id: id.clone(),
        algorithm: kind.algorithm,
        first: Some(version),
        purpose: Purpose::Any,
        data: KeyData {
            name: name.to_string(),
            rotation_policy: None,
        },
    };
    let mut key = match azure.core.key(&realm, &id) {
        Ok(there) => {
            not_deleted(&there, name)?;
            there.add_version(version)
        }
        Err(_) => match azure.core.create(&realm, new(version.clone())) {
            // Another request created it meanwhile.
            Err(KeyError::AlreadyExists { .. }) => azure
                .core
                .key(&realm, &id)
                .and_then(|key| key.add_version(version)),
            created => created,
        },
    }
    .map_err(refused)?;
    if changes.enabled == Some(false)
        && let Ok(created) = key.primary()
    {
        let disabled = created.update(Some(VersionState::Disabled), |_| ());
        key = disabled.map_err(refused)?;
    }
    newest_bundle(ctx, &key)
}

pub(super) fn get(azure: &Azure, ctx: &RequestContext<'_>) -> Result<Value, AzureError> {
    bundle(ctx, &find(azure, ctx)?)
}

pub(super) fn list(azure: &Azure, ctx: &RequestContext<'_>) -> Result<Value, AzureError> {
    let mut keys = azure.core.keys(&names::realm(&ctx.vault.name));
    keys.retain(|key| !matches!(key.state, KeyState::PendingDeletion { .. }));
    keys.sort_by(|a, b| a.id.cmp(&b.id));
    page(ctx, "keys", &keys, |key| newest_key_item(ctx, key))
}

pub(super) fn list_versions(azure: &Azure, ctx: &RequestContext<'_>) -> Result<Value, AzureError> {
    let name = ctx.key()?;
    let vault = ctx.vault;
    let key = azure.core.key(&names::realm(&vault.name), &name.id());
    // A key that does not exist has no versions.
    let key = key
        .ok()
        .filter(|key| !matches!(key.state, KeyState::PendingDeletion { .. }));
    let versions: Vec<(&Key, &Version)> = key
        .iter()
        .flat_map(|key| key.versions.iter().map(|version| (&**key, version)))
        .collect();
    page(
        ctx,
        &format!("keys/{name}/versions"),
        &versions,
        |(key, version)| item(ctx, version, names::kid(&ctx.vault.name, key, &version.id)),
    )
}

pub(super) fn update(azure: &Azure, ctx: &RequestContext<'_>) -> Result<Value, AzureError> {
    let name = ctx.key()?;
    let version = find(azure, ctx)?;
    let changes = VersionUpdate::from_request(ctx.input)?;
    let operations = ctx
        .input
        .strings("key_ops")?
        .map(parse_operations)
        .transpose()?;
    let to = changes.enabled.map(|enabled| {
        if enabled {
            VersionState::Enabled
        } else {
            VersionState::Disabled
        }
    });
    let change = |fields: VersionFields<'_, AzureFront>| {
        if let Some(at) = changes.not_before {
            *fields.not_before = Some(at);
        }
        if let Some(at) = changes.expires {
            *fields.expires = Some(at);
        }
        if let Some(tags) = &changes.tags {
            fields.data.tags.clone_from(tags);
        }
        if let Some(operations) = &operations {
            fields.data.key_ops.clone_from(operations);
        }
    };
    let changed = version.update(to, change);
    let key = changed.map_err(|error| AzureError::from_key_error(name, None, "update", error))?;
    let version = key.version(&version.id);
    bundle(
        ctx,
        &version.map_err(|_| AzureError::not_found(name, None))?,
    )
}

pub(super) fn rotate(azure: &Azure, ctx: &RequestContext<'_>) -> Result<Value, AzureError> {
    let name = ctx.key()?;
    let rotated = find(azure, ctx)?.key().rotate_now(None);
    let key = rotated.map_err(|error| AzureError::from_key_error(name, None, "rotate", error))?;
    newest_bundle(ctx, &key)
}

/// Keys are not exportable, so none has a release policy. The message is the emulator's own.
pub(super) fn release(azure: &Azure, ctx: &RequestContext<'_>) -> Result<Value, AzureError> {
    ctx.input.required_string("target")?;
    let version = find(azure, ctx)?;
    let name = &version.key().data.name;
    Err(AzureError::bad_parameter(format!(
        "The key {name} is not exportable, and keys of the kmslab emulator never are."
    )))
}

pub(super) fn backup(azure: &Azure, ctx: &RequestContext<'_>) -> Result<Value, AzureError> {
    let name = ctx.key()?;
    let backup = find(azure, ctx)?.key().backup();
    Ok(
        json!({ "value": encode_base64url(&backup.map_err(|error| AzureError::from_key_error(name, None, "backup", error))?) }),
    )
}

pub(super) fn restore(azure: &Azure, ctx: &RequestContext<'_>) -> Result<Value, AzureError> {
    let backup = ctx.input.required_bytes("value")?;
    let restored = azure.core.restore(&names::realm(&ctx.vault.name), &backup);
    let key = restored.map_err(|error| {
        let named = |id: &str| {
            KeyName::parse(id).ok_or_else(|| AzureError::internal("a key without a name"))
        };
        match &error {
            KeyError::AlreadyExists { id } => {
                named(id).map_or_else(|e| e, |name| AzureError::already_exists(&name))
            }
            KeyError::PendingDeletion { id } => {
                named(id).map_or_else(|e| e, |name| AzureError::is_deleted(&name))
            }
            KeyError::BadBackup => {
                AzureError::bad_parameter("Backup blob contains invalid or corrupt version.")
            }
            other => AzureError::internal(other),
        }
    })?;
    newest_bundle(ctx, &key)
}

/// Returns the requested version of a key, by default the newest. Deleted keys are not found.
pub(super) fn find<'a>(
    azure: &'a Azure,
    ctx: &RequestContext<'_>,
) -> Result<VersionRef<'a>, AzureError> {
    let (name, requested) = (ctx.key()?, ctx.call.version.as_deref());
    let not_found = |_| AzureError::not_found(name, requested);
    let key = azure
        .core
        .key(&names::realm(&ctx.vault.name), &name.id())
        .map_err(not_found)?;
    if matches!(key.state, KeyState::PendingDeletion { .. }) {
        return Err(AzureError::not_found(name, requested));
    }
    match requested {
        Some(requested) => {
            key.version_where(|version| names::is_version_name(&version.id, requested))
        }
        None => key.primary(),
    }
    .map_err(not_found)
}

/// The bundle of a key's newest version.
pub(super) fn newest_bundle(
    ctx: &RequestContext<'_>,
    key: &KeyRef<'_>,
) -> Result<Value, AzureError> {
    bundle(ctx, &key.primary().map_err(AzureError::internal)?)
}

/// A key as a list item.
pub(super) fn newest_key_item(ctx: &RequestContext<'_>, key: &Key) -> Value {
    key.primary_version().map_or(Value::Null, |version| {
        item(ctx, version, names::key_url(&ctx.vault.name, key))
    })
}

pub(super) fn not_deleted(key: &Key, name: &KeyName) -> Result<(), AzureError> {
    match key.state {
        KeyState::PendingDeletion { .. } => Err(AzureError::is_deleted(name)),
        KeyState::Enabled | KeyState::Disabled => Ok(()),
    }
}

/// What an update request changes in a version.
pub(super) struct VersionUpdate {
    enabled: Option<bool>,
    not_before: Option<Timestamp>,
    expires: Option<Timestamp>,
    pub(super) tags: Option<BTreeMap<String, String>>,
}

impl VersionUpdate {
    pub(super) fn from_request(input: &Input) -> Result<Self, AzureError> {
        let attributes = input.object("attributes")?.unwrap_or_default();
        let (not_before, expires) = (attributes.time("nbf")?, attributes.time("exp")?);
        if let (Some(from), Some(until)) = (not_before, expires)
            && until <= from
        {
            return Err(AzureError::bad_parameter(
                "Property exp must be later than nbf",
            ));
        }
        let tags = input.map("tags")?;
        if let Some(tags) = &tags
            && (tags.len() > MAX_TAGS
                || tags
                    .iter()
                    .any(|(k, v)| k.len() > MAX_TAG_LEN || v.len() > MAX_TAG_LEN))
        {
            return Err(AzureError::bad_parameter(format!(
                "At most {MAX_TAGS} tags, each of {MAX_TAG_LEN} characters, are allowed"
            )));
        }
        Ok(Self {
            enabled: attributes.boolean("enabled")?,
            not_before,
            expires,
            tags,
        })
    }
}

/// Converts operations to the service's spelling; fails on unknown ones.
pub(super) fn parse_operations(operations: Vec<String>) -> Result<Vec<String>, AzureError> {
    let known = operations.iter().map(|operation| {
        let known = OPERATIONS
            .iter()
            .find(|known| known.eq_ignore_ascii_case(operation))
            .map(|&known| known.to_owned());
        known.ok_or_else(|| {
            AzureError::bad_parameter(format!(
                "Property key_ops has an invalid value: {operation}"
            ))
        })
    });
    known.collect()
}

/// Builds a `KeyBundle`.
pub(super) fn bundle(
    ctx: &RequestContext<'_>,
    version: &VersionRef<'_>,
) -> Result<Value, AzureError> {
    let public = version.public_key().ok();
    let mut jwk = Map::new();
    jwk.insert(
        "kid".into(),
        names::kid(&ctx.vault.name, version.key(), &version.id).into(),
    );
    jwk.insert("kty".into(), version.data.kty.as_str().into());
    jwk.insert("key_ops".into(), json!(version.data.key_ops));
    jwk.extend(jwk::public_members(public.as_ref()));
    let mut bundle = json!({ "key": jwk, "attributes": attributes(ctx, version) });
    if !version.data.tags.is_empty() {
        bundle["tags"] = json!(version.data.tags);
    }
    Ok(bundle)
}

/// Builds a `KeyItem`.
pub(super) fn item(ctx: &RequestContext<'_>, version: &Version, kid: String) -> Value {
    let mut item = json!({ "kid": kid, "attributes": attributes(ctx, version) });
    if !version.data.tags.is_empty() {
        item["tags"] = json!(version.data.tags);
    }
    item
}

fn attributes(ctx: &RequestContext<'_>, version: &Version) -> Value {
    let vault = ctx.vault;
    let mut attributes = json!({ "enabled": version.state == VersionState::Enabled });
    if let Some(at) = version.not_before {
        attributes["nbf"] = epoch_seconds(at);
    }
    if let Some(at) = version.expires {
        attributes["exp"] = epoch_seconds(at);
    }
    attributes["created"] = epoch_seconds(version.created);
    attributes["updated"] = epoch_seconds(version.updated);
    let level = if vault.retention_days < 90 {
        "CustomizedRecoverable+Purgeable"
    } else {
        "Recoverable+Purgeable"
    };
    attributes["recoveryLevel"] = level.into();
    attributes["recoverableDays"] = vault.retention_days.into();
    let is_managed_hsm = names::is_managed_hsm(&vault.name);
    if is_managed_hsm || ctx.version >= ApiVersion::Numbered(3) {
        attributes["exportable"] = false.into();
    }
    if !is_managed_hsm && ctx.version >= ApiVersion::Numbered(5) {
        // 0 for software, 2 for hardware of FIPS 140-3 level 3.
        attributes["hsmPlatform"] = if version.data.kty.ends_with("-HSM") {
            "2"
        } else {
            "0"
        }
        .into();
    }
    if let Algorithm::Aes { bits } = version.algorithm
        && ctx.version >= ApiVersion::Dated(date(2026, 1, 1))
    {
        attributes["key_size"] = bits.into();
    }
    attributes
}
