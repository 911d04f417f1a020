//! Deleted keys: kept for the vault's retention period, unless recovered or purged earlier.

use std::time::Duration;

use jiff::SignedDuration;
use kmslab_keycore::KeyState;
use serde_json::{Value, json};

use super::data::{Key, KeyRef};
use super::keys::{self, newest_bundle, newest_key_item};
use super::names;
use super::page::page;
use super::vaults::Vault;
use super::wire::epoch_seconds;
use super::{Azure, AzureError, RequestContext};

const DAY: Duration = Duration::from_hours(24);

pub(super) fn delete(azure: &Azure, ctx: &RequestContext<'_>) -> Result<Value, AzureError> {
    let name = ctx.key()?;
    let version = keys::find(azure, ctx)?;
    let deleted = version
        .key()
        .schedule_deletion(DAY * ctx.vault.retention_days);
    let key = deleted.map_err(|error| AzureError::from_key_error(name, None, "delete", error))?;
    deleted_bundle(ctx, &key)
}

pub(super) fn get_deleted(azure: &Azure, ctx: &RequestContext<'_>) -> Result<Value, AzureError> {
    deleted_bundle(ctx, &find_deleted(azure, ctx)?)
}

pub(super) fn list_deleted(azure: &Azure, ctx: &RequestContext<'_>) -> Result<Value, AzureError> {
    let mut keys = azure.core.keys(&names::realm(&ctx.vault.name));
    keys.retain(|key| matches!(key.state, KeyState::PendingDeletion { .. }));
    keys.sort_by(|a, b| a.id.cmp(&b.id));
    page(ctx, "deletedkeys", &keys, |key| {
        let mut item = newest_key_item(ctx, key);
        add_dates(&mut item, ctx.vault, key);
        item
    })
}

pub(super) fn recover(azure: &Azure, ctx: &RequestContext<'_>) -> Result<Value, AzureError> {
    let recovered = find_deleted(azure, ctx)?.cancel_deletion(KeyState::Enabled);
    let name = ctx.key()?;
    newest_bundle(
        ctx,
        &recovered.map_err(|_| AzureError::no_deleted_key(name))?,
    )
}

pub(super) fn purge(azure: &Azure, ctx: &RequestContext<'_>) -> Result<Value, AzureError> {
    let purged = find_deleted(azure, ctx)?.purge();
    let name = ctx.key()?;
    purged.map_err(|_| AzureError::no_deleted_key(name))?;
    Ok(Value::Null)
}

fn find_deleted<'a>(azure: &'a Azure, ctx: &RequestContext<'_>) -> Result<KeyRef<'a>, AzureError> {
    let name = ctx.key()?;
    let key = azure.core.key(&names::realm(&ctx.vault.name), &name.id());
    key.ok()
        .filter(|key| matches!(key.state, KeyState::PendingDeletion { .. }))
        .ok_or_else(|| AzureError::no_deleted_key(name))
}

fn deleted_bundle(ctx: &RequestContext<'_>, key: &KeyRef<'_>) -> Result<Value, AzureError> {
    let mut bundle = newest_bundle(ctx, key)?;
    add_dates(&mut bundle, ctx.vault, key);
    Ok(bundle)
}

fn add_dates(listed: &mut Value, vault: &Vault, key: &Key) {
    let KeyState::PendingDeletion { at } = key.state else {
        return;
    };
    let kept = SignedDuration::from_hours(24 * i64::from(vault.retention_days));
    listed["recoveryId"] = json!(format!(
        "{}/deletedkeys/{}",
        names::vault_url(&vault.name),
        key.data.name
    ));
    let deleted = at.checked_sub(kept).unwrap_or(jiff::Timestamp::MIN);
    listed["deletedDate"] = epoch_seconds(deleted);
    listed["scheduledPurgeDate"] = epoch_seconds(at);
}
