//! Version operations: list, get, create, update, set primary, destroy and restore.

use kmslab_googleapis::kms;
use kmslab_googleapis::kms::ProtectionLevel;
use kmslab_googleapis::kms::crypto_key::CryptoKeyPurpose as Purpose;
use kmslab_googleapis::kms::crypto_key_version::CryptoKeyVersionState as State;
use kmslab_keycore::{Algorithm, KeyError, VersionState};

use super::auth::Caller;
use super::data::{KeyRef, NewVersion, Version, VersionRef};
use super::names::{KeyName, VersionName};
use super::page::{PageRequest, page};
use super::{Gcp, GcpError, algorithms, keys, version_of, wire};

/// Parses the name of a version.
pub(crate) fn parse_name(name: &str) -> Result<VersionName, GcpError> {
    VersionName::parse(name).ok_or_else(|| GcpError::bad_name(name, "CryptoKeyVersion"))
}

/// Converts a version; versions at protection level HSM get their attestation.
pub(crate) fn to_proto(
    gcp: &Gcp,
    name: &KeyName,
    version: &VersionRef<'_>,
) -> Result<kms::CryptoKeyVersion, GcpError> {
    let mut json = wire::crypto_key_version(name, version);
    let is_there = !matches!(
        version.state,
        VersionState::Pending | VersionState::Destroyed
    );
    if json.protection_level == i32::from(ProtectionLevel::Hsm) && is_there {
        let public = match version.algorithm {
            Algorithm::Aes { .. } | Algorithm::Hmac { .. } => None,
            Algorithm::Rsa { .. } | Algorithm::Ec(_) | Algorithm::Kem(_) => {
                Some(version.public_key().map_err(|error| {
                    GcpError::from_version_error(&name.version(version.number), error)
                })?)
            }
        };
        let name = name.version(version.number);
        json.attestation =
            Some(
                gcp.hsm
                    .attest(&name, version, version.key().purpose, public.as_ref())?,
            );
    }
    Ok(json)
}

pub(crate) fn list(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::ListCryptoKeyVersionsRequest,
) -> Result<kms::ListCryptoKeyVersionsResponse, GcpError> {
    let name = keys::parse_name(&request.parent)?;
    gcp.allow(caller, "cloudkms.cryptoKeyVersions.list", &request.parent)?;
    let key = gcp.key(&name)?;
    let page = page(
        key.version_refs()
            .map(|version| to_proto(gcp, &name, &version))
            .collect::<Result<_, _>>()?,
        PageRequest {
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
    let name = parse_name(&request.name)?;
    gcp.allow(caller, "cloudkms.cryptoKeyVersions.get", &request.name)?;
    to_proto(gcp, &name.key, &gcp.version(&name)?)
}

pub(crate) fn create(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::CreateCryptoKeyVersionRequest,
) -> Result<kms::CryptoKeyVersion, GcpError> {
    let name = keys::parse_name(&request.parent)?;
    gcp.allow(caller, "cloudkms.cryptoKeyVersions.create", &request.parent)?;
    let key = gcp.key(&name)?;
    if key.data.import_only {
        return Err(GcpError::precondition(format!(
            "CryptoKey {name} is import_only: its versions are imported."
        )));
    }
    let row = algorithms::find(key.data.template.algorithm);
    let row = row.ok_or_else(|| GcpError::internal("a key without an algorithm"))?;
    // Not the primary: UpdateCryptoKeyPrimaryVersion sets that.
    let new = NewVersion {
        primary: false,
        ..keys::new_version(row, key.data.template)
    };
    let key = key
        .add_version(new)
        .map_err(|error| GcpError::from_key_error(&name, error))?;
    gcp.finish_pending(&key);
    to_proto(gcp, &name, &newest(&key)?)
}

pub(crate) fn update(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::UpdateCryptoKeyVersionRequest,
) -> Result<kms::CryptoKeyVersion, GcpError> {
    let requested = request.crypto_key_version;
    let requested = requested.ok_or_else(|| {
        GcpError::bad_field("crypto_key_version", "The CryptoKeyVersion is required.")
    })?;
    let name = parse_name(&requested.name)?;
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
    let to = match State::try_from(requested.state) {
        Ok(State::Enabled) => VersionState::Enabled,
        Ok(State::Disabled) => VersionState::Disabled,
        _ => {
            return Err(GcpError::bad_field(
                "crypto_key_version.state",
                "The state of a CryptoKeyVersion can be updated to ENABLED or DISABLED only.",
            ));
        }
    };
    gcp.allow(caller, "cloudkms.cryptoKeyVersions.update", &requested.name)?;
    let version = gcp.version(&name)?;
    if !matches!(
        version.state,
        VersionState::Enabled | VersionState::Disabled
    ) {
        return Err(wrong_state(&name, &version, "ENABLED or DISABLED"));
    }
    set_state(gcp, &name, &version, to)
}

pub(crate) fn update_primary(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::UpdateCryptoKeyPrimaryVersionRequest,
) -> Result<kms::CryptoKey, GcpError> {
    let key = keys::parse_name(&request.name)?;
    gcp.allow(caller, "cloudkms.cryptoKeys.update", &request.name)?;
    let there = gcp.key(&key)?;
    if there.data.purpose != Purpose::EncryptDecrypt {
        return Err(GcpError::precondition(format!(
            "{key} has no primary: its purpose is not ENCRYPT_DECRYPT."
        )));
    }
    let id = &request.crypto_key_version_id;
    let name = VersionName::parse(&format!("{key}/cryptoKeyVersions/{id}"));
    let name = name.ok_or_else(|| {
        GcpError::bad_field("crypto_key_version_id", format!("Invalid id [{id}]."))
    })?;
    let version = gcp.version(&name)?;
    let updated = version.set_primary();
    let updated = updated.map_err(|error| GcpError::from_version_error(&name, error))?;
    Ok(wire::crypto_key(&key, &updated))
}

pub(crate) fn destroy(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::DestroyCryptoKeyVersionRequest,
) -> Result<kms::CryptoKeyVersion, GcpError> {
    let name = parse_name(&request.name)?;
    gcp.allow(caller, "cloudkms.cryptoKeyVersions.destroy", &request.name)?;
    let version = gcp.version(&name)?;
    if !matches!(
        version.state,
        VersionState::Enabled | VersionState::Disabled
    ) {
        return Err(wrong_state(&name, &version, "ENABLED or DISABLED"));
    }
    let at = gcp.core.now().checked_add(version.key().data.destroy_after);
    let at = at.map_err(|_| GcpError::from_version_error(&name, KeyError::OutOfRange))?;
    set_state(gcp, &name, &version, VersionState::DestroyScheduled { at })
}

pub(crate) fn restore(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::RestoreCryptoKeyVersionRequest,
) -> Result<kms::CryptoKeyVersion, GcpError> {
    let name = parse_name(&request.name)?;
    gcp.allow(caller, "cloudkms.cryptoKeyVersions.restore", &request.name)?;
    let version = gcp.version(&name)?;
    if !matches!(version.state, VersionState::DestroyScheduled { .. }) {
        return Err(wrong_state(&name, &version, "DESTROY_SCHEDULED"));
    }
    set_state(gcp, &name, &version, VersionState::Disabled)
}

fn wrong_state(name: &VersionName, version: &Version, requested: &str) -> GcpError {
    let state = wire::state_name(version.state);
    GcpError::precondition(format!(
        "{name} must be in state {requested}, current state is: {state}."
    ))
}

fn set_state(
    gcp: &Gcp,
    name: &VersionName,
    version: &VersionRef<'_>,
    to: VersionState,
) -> Result<kms::CryptoKeyVersion, GcpError> {
    let key = version.set_state(to).map_err(|error| match error {
        // Another call changed its state meanwhile.
        KeyError::InvalidTransition { .. } => wrong_state(name, version, "another"),
        error => GcpError::from_version_error(name, error),
    })?;
    to_proto(gcp, &name.key, &version_of(&key, name)?)
}

/// The version that was added last.
pub(crate) fn newest<'a>(key: &KeyRef<'a>) -> Result<VersionRef<'a>, GcpError> {
    key.version_where(|_| true).map_err(GcpError::internal)
}
