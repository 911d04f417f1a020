//! Deleted keys: kept for the vault's retention period, unless recovered or purged earlier.

use std::time::Duration;

use jiff::SignedDuration;
use kmslab_keycore::{Key, KeyState};
use serde_json::{Value, json};

use super::keys::{self, newest_bundle, newest_key_item};
use super::names;
use super::page::page;
use super::vaults::Vault;
use super::wire::epoch_seconds;
use super::{Azure, AzureError, RequestContext};

const DAY: Duration = Duration::from_hours(24);

pub(super) fn delete(azure: &Azure, ctx: &RequestContext<'_>) -> Result<Value, AzureError> {
    let name = ctx.key()?;
    let (key, _) = keys::find(azure, ctx)?;
    let deleted = azure
        .core
        .schedule_deletion(&key.realm, &key.id, DAY * ctx.vault.retention_days);
    let key = deleted.map_err(|error| AzureError::from_key_error(name, None, "delete", error))?;
    deleted_bundle(azure, ctx, &key)
}

pub(super) fn get_deleted(azure: &Azure, ctx: &RequestContext<'_>) -> Result<Value, AzureError> {
    let name = ctx.key()?;
    let key = azure.core.key(&names::realm(&ctx.vault.name), &name.id());
    let key = key
        .ok()
        .filter(|key| matches!(key.state, KeyState::PendingDeletion { .. }));
    let key = key.ok_or_else(|| AzureError::no_deleted_key(name))?;
    deleted_bundle(azure, ctx, &key)
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
    let name = ctx.key()?;
    let recovered = azure.core.cancel_deletion(
        &names::realm(&ctx.vault.name),
        &name.id(),
        KeyState::Enabled,
    );
    let key = recovered.map_err(|_| AzureError::no_deleted_key(name))?;
    newest_bundle(azure, ctx, &key)
}

pub(super) fn purge(azure: &Azure, ctx: &RequestContext<'_>) -> Result<Value, AzureError> {
    let name = ctx.key()?;
    let purged = azure.core.purge(&names::realm(&ctx.vault.name), &name.id());
    purged.map_err(|_| AzureError::no_deleted_key(name))?;
    Ok(Value::Null)
}

fn deleted_bundle(azure: &Azure, ctx: &RequestContext<'_>, key: &Key) -> Result<Value, AzureError> {
    let mut bundle = newest_bundle(azure, ctx, key)?;
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
        names::display_name(key)
    ));
    listed["deletedDate"] = epoch_seconds(at - kept);
    listed["scheduledPurgeDate"] = epoch_seconds(at);
}
