//! Deleted keys: kept for the vault's retention period, unless recovered or purged earlier.

use std::time::Duration;

use jiff::SignedDuration;
use kmslab_keycore::{Key, KeyState};
use serde_json::{Value, json};

use super::keys::{self, newest, newest_item};
use super::names;
use super::page::page;
use super::vaults::Vault;
use super::wire::seconds;
use super::{Asked, Azure, AzureError};

const DAY: Duration = Duration::from_hours(24);

pub(super) fn delete(azure: &Azure, asked: &Asked<'_>) -> Result<Value, AzureError> {
    let name = asked.key()?;
    let (key, _) = keys::find(azure, asked)?;
    let deleted =
        azure
            .core
            .schedule_deletion(&key.realm, &key.id, DAY * asked.vault.retention_days);
    let key = deleted.map_err(|error| AzureError::of_key(name, None, "delete", error))?;
    deleted_bundle(azure, asked, &key)
}

pub(super) fn get_deleted(azure: &Azure, asked: &Asked<'_>) -> Result<Value, AzureError> {
    let name = asked.key()?;
    let key = azure.core.key(&names::realm(&asked.vault.name), &name.id());
    let key = key
        .ok()
        .filter(|key| matches!(key.state, KeyState::PendingDeletion { .. }));
    let key = key.ok_or_else(|| AzureError::no_deleted_key(name))?;
    deleted_bundle(azure, asked, &key)
}

pub(super) fn list_deleted(azure: &Azure, asked: &Asked<'_>) -> Result<Value, AzureError> {
    let mut keys = azure.core.keys(&names::realm(&asked.vault.name));
    keys.retain(|key| matches!(key.state, KeyState::PendingDeletion { .. }));
    keys.sort_by(|a, b| a.id.cmp(&b.id));
    page(asked, "deletedkeys", &keys, |key| {
        let mut item = newest_item(asked, key);
        add_dates(&mut item, asked.vault, key);
        item
    })
}

pub(super) fn recover(azure: &Azure, asked: &Asked<'_>) -> Result<Value, AzureError> {
    let name = asked.key()?;
    let recovered = azure.core.cancel_deletion(
        &names::realm(&asked.vault.name),
        &name.id(),
        KeyState::Enabled,
    );
    let key = recovered.map_err(|_| AzureError::no_deleted_key(name))?;
    newest(azure, asked, &key)
}

pub(super) fn purge(azure: &Azure, asked: &Asked<'_>) -> Result<Value, AzureError> {
    let name = asked.key()?;
    let purged = azure
        .core
        .purge(&names::realm(&asked.vault.name), &name.id());
    purged.map_err(|_| AzureError::no_deleted_key(name))?;
    Ok(Value::Null)
}

fn deleted_bundle(azure: &Azure, asked: &Asked<'_>, key: &Key) -> Result<Value, AzureError> {
    let mut bundle = newest(azure, asked, key)?;
    add_dates(&mut bundle, asked.vault, key);
    Ok(bundle)
}

fn add_dates(shown: &mut Value, vault: &Vault, key: &Key) {
    let KeyState::PendingDeletion { at } = key.state else {
        return;
    };
    let kept = SignedDuration::from_hours(24 * i64::from(vault.retention_days));
    shown["recoveryId"] = json!(format!(
        "{}/deletedkeys/{}",
        names::vault_url(&vault.name),
        names::shown(key)
    ));
    shown["deletedDate"] = seconds(at - kept);
    shown["scheduledPurgeDate"] = seconds(at);
}
