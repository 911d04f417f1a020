//! Key operations: create, import, get, list, update, rotate, back up. Deletion is in
//! [`super::deleted`].

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::date;
use kmslab_keycore::{
    Algorithm, Key, KeyError, KeyState, NewKey, NewVersion, Purpose, Version, VersionFields,
    VersionState,
};
use serde_json::{Map, Value, json};

use super::jwk::{self, KeyType};
use super::names::{self, KeyName};
use super::page::page;
use super::wire::{ApiVersion, Input, encode_base64url, epoch_seconds};
use super::{Azure, AzureError, RequestContext};

/// Version attribute: the key type, with or without `-HSM`.
pub(super) const KTY_ATTRIBUTE: &str = "kty";
/// Version attribute: key operations, separated by commas.
pub(super) const KEY_OPS_ATTRIBUTE: &str = "key_ops";
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
        None => kind.operations().join(","),
    };
    let version = NewVersion {
        material,
        not_before: changes.not_before,
        expires: changes.expires,
        labels: changes.tags.unwrap_or_default(),
        attributes: BTreeMap::from([
            (KTY_ATTRIBUTE.to_owned(), kind.kty.to_owned()),
            (KEY_OPS_ATTRIBUTE.to_owned(), operations),
        ]),
        ..NewVersion::new(kind.algorithm)
    };
    let (realm, id) = (names::realm(&vault.name), name.id());
    let refused = |error| AzureError::from_key_error(name, None, "create", error);
    let mut key = match azure.core.key(&realm, &id) {
        Ok(there) => {
            not_deleted(&there, name)?;
            azure
                .core
                .add_version(&realm, &id, version)
                .map_err(refused)?
        }
        Err(_) => {
            let attributes = BTreeMap::from([(names::NAME_ATTRIBUTE.to_owned(), name.to_string())]);
            let new = NewKey {
                id: id.clone(),
                algorithm: kind.algorithm,
                first: Some(version.clone()),
                purpose: Purpose::Any,
                description: String::new(),
                labels: BTreeMap::new(),
                policy: None,
                attributes,
            };
            match azure.core.create(&realm, new) {
                // Another request created it meanwhile.
                Err(KeyError::AlreadyExists { .. }) => azure
                    .core
                    .add_version(&realm, &id, version)
                    .map_err(refused)?,
                created => created.map_err(refused)?,
            }
        }
    };
    if changes.enabled == Some(false)
        && let Some(created) = key.primary
    {
        let disabled =
            azure
                .core
                .update_version(&realm, &id, &created, Some(VersionState::Disabled), |_| ());
        key = disabled.map_err(refused)?;
    }
    newest_bundle(azure, ctx, &key)
}

pub(super) fn get(azure: &Azure, ctx: &RequestContext<'_>) -> Result<Value, AzureError> {
    let (key, version) = find(azure, ctx)?;
    bundle(azure, ctx, &key, &version)
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
    let (key, version) = find(azure, ctx)?;
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
    let change = |fields: VersionFields<'_>| {
        if let Some(at) = changes.not_before {
            *fields.not_before = Some(at);
        }
        if let Some(at) = changes.expires {
            *fields.expires = Some(at);
        }
        if let Some(tags) = &changes.tags {
            fields.labels.clone_from(tags);
        }
        if let Some(operations) = &operations {
            fields
                .attributes
                .insert(KEY_OPS_ATTRIBUTE.to_owned(), operations.clone());
        }
    };
    let changed = azure
        .core
        .update_version(&key.realm, &key.id, &version.id, to, change);
    let key = changed.map_err(|error| AzureError::from_key_error(name, None, "update", error))?;
    let version = key
        .version(&version.id)
        .ok_or_else(|| AzureError::not_found(name, None))?;
    bundle(azure, ctx, &key, version)
}

pub(super) fn rotate(azure: &Azure, ctx: &RequestContext<'_>) -> Result<Value, AzureError> {
    let name = ctx.key()?;
    let (key, _) = find(azure, ctx)?;
    let rotated = azure.core.rotate_now(&key.realm, &key.id, None);
    let key = rotated.map_err(|error| AzureError::from_key_error(name, None, "rotate", error))?;
    newest_bundle(azure, ctx, &key)
}

/// Keys are not exportable, so none has a release policy. The message is the emulator's own.
pub(super) fn release(azure: &Azure, ctx: &RequestContext<'_>) -> Result<Value, AzureError> {
    ctx.input.required_string("target")?;
    let (key, _) = find(azure, ctx)?;
    let name = names::display_name(&key);
    Err(AzureError::bad_parameter(format!(
        "The key {name} is not exportable, and keys of the kmslab emulator never are."
    )))
}

pub(super) fn backup(azure: &Azure, ctx: &RequestContext<'_>) -> Result<Value, AzureError> {
    let name = ctx.key()?;
    let (key, _) = find(azure, ctx)?;
    let backup = azure.core.backup(&key.realm, &key.id);
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
    newest_bundle(azure, ctx, &key)
}

/// Returns the requested key and version, by default the newest. Deleted keys are not found.
pub(super) fn find(
    azure: &Azure,
    ctx: &RequestContext<'_>,
) -> Result<(std::sync::Arc<Key>, Version), AzureError> {
    let (name, requested) = (ctx.key()?, ctx.call.version.as_deref());
    let not_found = || AzureError::not_found(name, requested);
    let key = azure
        .core
        .key(&names::realm(&ctx.vault.name), &name.id())
        .map_err(|_| not_found())?;
    if matches!(key.state, KeyState::PendingDeletion { .. }) {
        return Err(not_found());
    }
    let version = match requested {
        Some(requested) => names::find_version(&key, requested).ok_or_else(not_found)?,
        None => key.primary().map_err(|_| not_found())?,
    };
    let version = version.clone();
    Ok((key, version))
}

/// The bundle of a key's newest version.
pub(super) fn newest_bundle(
    azure: &Azure,
    ctx: &RequestContext<'_>,
    key: &Key,
) -> Result<Value, AzureError> {
    bundle(
        azure,
        ctx,
        key,
        key.primary().map_err(AzureError::internal)?,
    )
}

/// A key as a list item.
pub(super) fn newest_key_item(ctx: &RequestContext<'_>, key: &Key) -> Value {
    key.primary().map_or(Value::Null, |version| {
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
struct VersionUpdate {
    enabled: Option<bool>,
    not_before: Option<Timestamp>,
    expires: Option<Timestamp>,
    tags: Option<BTreeMap<String, String>>,
}

impl VersionUpdate {
    fn from_request(input: &Input) -> Result<Self, AzureError> {
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

/// Converts operations to their stored form; fails on unknown ones.
fn parse_operations(operations: Vec<String>) -> Result<String, AzureError> {
    let known = operations.iter().map(|operation| {
        let known = OPERATIONS
            .iter()
            .find(|known| known.eq_ignore_ascii_case(operation))
            .copied();
        known.ok_or_else(|| {
            AzureError::bad_parameter(format!(
                "Property key_ops has an invalid value: {operation}"
            ))
        })
    });
    Ok(known.collect::<Result<Vec<_>, _>>()?.join(","))
}

/// The key operations of a version.
pub(super) fn operations(version: &Version) -> impl Iterator<Item = &str> {
    let text = version
        .attributes
        .get(KEY_OPS_ATTRIBUTE)
        .map_or("", String::as_str);
    text.split(',').filter(|operation| !operation.is_empty())
}

/// Builds a `KeyBundle`.
pub(super) fn bundle(
    azure: &Azure,
    ctx: &RequestContext<'_>,
    key: &Key,
    version: &Version,
) -> Result<Value, AzureError> {
    let public = azure
        .core
        .public_key((&key.realm, &key.id, &version.id))
        .ok();
    let mut jwk = Map::new();
    jwk.insert(
        "kid".into(),
        names::kid(&ctx.vault.name, key, &version.id).into(),
    );
    jwk.insert(
        "kty".into(),
        version.attributes.get(KTY_ATTRIBUTE).cloned().into(),
    );
    jwk.insert(
        "key_ops".into(),
        operations(version).collect::<Vec<_>>().into(),
    );
    jwk.extend(jwk::public_members(public.as_ref()));
    let mut bundle = json!({ "key": jwk, "attributes": attributes(ctx, version) });
    if !version.labels.is_empty() {
        bundle["tags"] = json!(version.labels);
    }
    Ok(bundle)
}

/// Builds a `KeyItem`.
pub(super) fn item(ctx: &RequestContext<'_>, version: &Version, kid: String) -> Value {
    let mut item = json!({ "kid": kid, "attributes": attributes(ctx, version) });
    if !version.labels.is_empty() {
        item["tags"] = json!(version.labels);
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
    let (kty, is_managed_hsm) = (
        version
            .attributes
            .get(KTY_ATTRIBUTE)
            .map_or("", String::as_str),
        names::is_managed_hsm(&vault.name),
    );
    if is_managed_hsm || ctx.version >= ApiVersion::Numbered(3) {
        attributes["exportable"] = false.into();
    }
    if !is_managed_hsm && ctx.version >= ApiVersion::Numbered(5) {
        // 0 for software, 2 for hardware of FIPS 140-3 level 3.
        attributes["hsmPlatform"] = if kty.ends_with("-HSM") { "2" } else { "0" }.into();
    }
    if let Algorithm::Aes { bits } = version.algorithm
        && ctx.version >= ApiVersion::Dated(date(2026, 1, 1))
    {
        attributes["key_size"] = bits.into();
    }
    attributes
}
