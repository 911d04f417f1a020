//! Versions of keys: made, shown, enabled and disabled, made the primary, destroyed and restored.

use kmslab_googleapis::kms;
use kmslab_googleapis::kms::ProtectionLevel;
use kmslab_googleapis::kms::crypto_key::CryptoKeyPurpose as Purpose;
use kmslab_googleapis::kms::crypto_key_version::CryptoKeyVersionState as State;
use kmslab_keycore::{Algorithm, Key, KeyError, Version, VersionState};

use super::auth::Caller;
use super::names::{KeyName, VersionName};
use super::page::{Wanted, page};
use super::{Gcp, GcpError, algorithms, keys, wire};

/// The version of a name that came in.
pub(crate) fn name(name: &str) -> Result<VersionName, GcpError> {
    VersionName::parse(name).ok_or_else(|| GcpError::bad_name(name, "CryptoKeyVersion"))
}

/// A version as the service shows it: what an HSM holds with the HSM's word.
pub(crate) fn shown(
    gcp: &Gcp,
    name: &KeyName,
    key: &Key,
    version: &Version,
) -> Result<kms::CryptoKeyVersion, GcpError> {
    let mut shown = wire::crypto_key_version(name, version);
    let is_there = !matches!(
        version.state,
        VersionState::Pending | VersionState::Destroyed
    );
    if shown.protection_level == i32::from(ProtectionLevel::Hsm) && is_there {
        let public =
            match version.algorithm {
                Algorithm::Aes { .. } | Algorithm::Hmac { .. } => None,
                Algorithm::Rsa { .. } | Algorithm::Ec(_) | Algorithm::Kem(_) => {
                    let public = gcp.core.public_key((&key.realm, &key.id, &version.id));
                    Some(public.map_err(|error| {
                        GcpError::of_version(&name.version(version.number), error)
                    })?)
                }
            };
        let name = name.version(version.number);
        shown.attestation = Some(
            gcp.hsm
                .attest(&name, version, key.purpose, public.as_ref())?,
        );
    }
    Ok(shown)
}

pub(crate) fn list(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::ListCryptoKeyVersionsRequest,
) -> Result<kms::ListCryptoKeyVersionsResponse, GcpError> {
    let name = keys::name(&request.parent)?;
    gcp.allow(caller, "cloudkms.cryptoKeyVersions.list", &request.parent)?;
    let key = gcp.key(&name)?;
    let page = page(
        key.versions
            .iter()
            .map(|version| shown(gcp, &name, &key, version))
            .collect::<Result<_, _>>()?,
        Wanted {
            size: request.page_size,
            token: &request.page_token,
            filter: &request.filter,
            order_by: &request.order_by,
        },
    )?;
    Ok(kms::ListCryptoKeyVersionsResponse {
        crypto_key_versions: page.items,
        next_page_token: page.next,
        total_size: page.total,
    })
}

pub(crate) fn get(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::GetCryptoKeyVersionRequest,
) -> Result<kms::CryptoKeyVersion, GcpError> {
    let name = name(&request.name)?;
    gcp.allow(caller, "cloudkms.cryptoKeyVersions.get", &request.name)?;
    let (key, version) = gcp.version(&name)?;
    shown(gcp, &name.key, &key, &version)
}

pub(crate) fn create(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::CreateCryptoKeyVersionRequest,
) -> Result<kms::CryptoKeyVersion, GcpError> {
    let name = keys::name(&request.parent)?;
    gcp.allow(caller, "cloudkms.cryptoKeyVersions.create", &request.parent)?;
    let key = gcp.key(&name)?;
    if key.attributes.contains_key(wire::IMPORT_ONLY) {
        return Err(GcpError::precondition(format!(
            "CryptoKey {name} is import_only: its versions are imported."
        )));
    }
    let row = algorithms::find(wire::algorithm(&key.attributes));
    let row = row.ok_or_else(|| GcpError::internal("a key without an algorithm"))?;
    // Never the primary: that is UpdateCryptoKeyPrimaryVersion's.
    let new = kmslab_keycore::NewVersion {
        primary: false,
        ..keys::new_version(row, &key.attributes)
    };
    let key = gcp
        .core
        .add_version(&key.realm, &key.id, new)
        .map_err(|error| GcpError::of_key(&name, error))?;
    gcp.finish_pending(&key);
    let made = key
        .versions
        .last()
        .ok_or_else(|| GcpError::internal("no version was made"))?;
    shown(gcp, &name, &key, made)
}

pub(crate) fn update(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::UpdateCryptoKeyVersionRequest,
) -> Result<kms::CryptoKeyVersion, GcpError> {
    let wanted = request.crypto_key_version;
    let wanted = wanted.ok_or_else(|| {
        GcpError::bad_field("crypto_key_version", "The CryptoKeyVersion is required.")
    })?;
    let name = name(&wanted.name)?;
    let mask = request
        .update_mask
        .map(|mask| mask.paths)
        .filter(|paths| !paths.is_empty());
    let mask =
        mask.ok_or_else(|| GcpError::bad_field("update_mask", "The update_mask is required."))?;
    if let Some(other) = mask.iter().find(|path| *path != "state") {
        return Err(GcpError::bad_field(
            "update_mask",
            format!("The field {other} can not be updated."),
        ));
    }
    let to = match State::try_from(wanted.state) {
        Ok(State::Enabled) => VersionState::Enabled,
        Ok(State::Disabled) => VersionState::Disabled,
        _ => {
            return Err(GcpError::bad_field(
                "crypto_key_version.state",
                "The state of a CryptoKeyVersion can be updated to ENABLED or DISABLED only.",
            ));
        }
    };
    gcp.allow(caller, "cloudkms.cryptoKeyVersions.update", &wanted.name)?;
    let (_, version) = gcp.version(&name)?;
    if !matches!(
        version.state,
        VersionState::Enabled | VersionState::Disabled
    ) {
        return Err(wrong_state(&name, &version, "ENABLED or DISABLED"));
    }
    moved(gcp, &name, &version, to)
}

pub(crate) fn update_primary(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::UpdateCryptoKeyPrimaryVersionRequest,
) -> Result<kms::CryptoKey, GcpError> {
    let key = keys::name(&request.name)?;
    gcp.allow(caller, "cloudkms.cryptoKeys.update", &request.name)?;
    let there = gcp.key(&key)?;
    if wire::purpose(&there) != Purpose::EncryptDecrypt {
        return Err(GcpError::precondition(format!(
            "{key} has no primary: its purpose is not ENCRYPT_DECRYPT."
        )));
    }
    let id = &request.crypto_key_version_id;
    let name = VersionName::parse(&format!("{key}/cryptoKeyVersions/{id}"));
    let name = name.ok_or_else(|| {
        GcpError::bad_field("crypto_key_version_id", format!("Invalid id [{id}]."))
    })?;
    let (_, version) = gcp.version(&name)?;
    let updated = gcp.core.set_primary(&there.realm, &there.id, &version.id);
    Ok(wire::crypto_key(
        &key,
        &*updated.map_err(|error| GcpError::of_version(&name, error))?,
    ))
}

pub(crate) fn destroy(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::DestroyCryptoKeyVersionRequest,
) -> Result<kms::CryptoKeyVersion, GcpError> {
    let name = name(&request.name)?;
    gcp.allow(caller, "cloudkms.cryptoKeyVersions.destroy", &request.name)?;
    let (key, version) = gcp.version(&name)?;
    if !matches!(
        version.state,
        VersionState::Enabled | VersionState::Disabled
    ) {
        return Err(wrong_state(&name, &version, "ENABLED or DISABLED"));
    }
    let at = gcp.core.now().checked_add(wire::destroy_after(&key));
    let at = at.map_err(|_| GcpError::of_version(&name, KeyError::OutOfRange))?;
    moved(gcp, &name, &version, VersionState::DestroyScheduled { at })
}

pub(crate) fn restore(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::RestoreCryptoKeyVersionRequest,
) -> Result<kms::CryptoKeyVersion, GcpError> {
    let name = name(&request.name)?;
    gcp.allow(caller, "cloudkms.cryptoKeyVersions.restore", &request.name)?;
    let (_, version) = gcp.version(&name)?;
    if !matches!(version.state, VersionState::DestroyScheduled { .. }) {
        return Err(wrong_state(&name, &version, "DESTROY_SCHEDULED"));
    }
    moved(gcp, &name, &version, VersionState::Disabled)
}

fn wrong_state(name: &VersionName, version: &Version, wanted: &str) -> GcpError {
    let state = wire::state_name(version.state);
    GcpError::precondition(format!(
        "{name} must be in state {wanted}, current state is: {state}."
    ))
}

fn moved(
    gcp: &Gcp,
    name: &VersionName,
    version: &Version,
    to: VersionState,
) -> Result<kms::CryptoKeyVersion, GcpError> {
    let moved = gcp
        .core
        .set_version_state(&name.key.ring.realm(), &name.key.id(), &version.id, to);
    let key = moved.map_err(|error| match error {
        // Somebody else moved it meanwhile.
        KeyError::InvalidTransition { .. } => wrong_state(name, version, "another"),
        error => GcpError::of_version(name, error),
    })?;
    let version = name
        .find(&key)
        .ok_or_else(|| GcpError::of_version(name, KeyError::VersionNotFound))?;
    shown(gcp, &name.key, &key, version)
}
