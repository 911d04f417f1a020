//! Encrypt and Decrypt, with the checksums and limits of the service.

use std::sync::Arc;

use kmslab_googleapis::kms;
use kmslab_googleapis::kms::crypto_key::CryptoKeyPurpose as Purpose;
use kmslab_keycore::{Key, KeyError, Version};

use super::auth::Caller;
use super::names::{KeyName, VersionName};
use super::{Gcp, GcpError, blob, keys, wire};

/// The longest plaintext, and the longest additional data, of keys in software.
pub(crate) const SOFTWARE: usize = 64 * 1024;
/// The longest of both together for keys in an HSM.
pub(crate) const HSM: usize = 8 * 1024;
/// What the body of a ciphertext is longer than its plaintext, at most.
const FRAME: usize = 128;

/// Refuses what is too long for a version.
pub(crate) fn checked_length(
    version: &Version,
    plaintext: usize,
    aad: usize,
) -> Result<(), GcpError> {
    let hsm = wire::protection_of(version) == i32::from(kms::ProtectionLevel::Hsm);
    if hsm && plaintext + aad > HSM {
        return Err(GcpError::invalid(format!(
            "The plaintext and the additional authenticated data together must not be longer than {HSM} bytes."
        )));
    }
    for (field, length) in [
        ("plaintext", plaintext),
        ("additional_authenticated_data", aad),
    ] {
        if length > SOFTWARE {
            return Err(GcpError::bad_field(
                field,
                format!("The {field} must not be longer than {SOFTWARE} bytes."),
            ));
        }
    }
    Ok(())
}

/// Refuses a key that is for something else.
pub(crate) fn for_purpose(name: &KeyName, key: &Key, wanted: &[Purpose]) -> Result<(), GcpError> {
    let purpose = wire::purpose(key);
    if wanted.contains(&purpose) {
        return Ok(());
    }
    let wanted: Vec<&str> = wanted.iter().map(Purpose::as_str_name).collect();
    let (purpose, wanted) = (purpose.as_str_name(), wanted.join(" or "));
    Err(GcpError::precondition(format!(
        "CryptoKey {name} has purpose {purpose}; the call is for {wanted}."
    )))
}

pub(crate) fn encrypt(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::EncryptRequest,
) -> Result<kms::EncryptResponse, GcpError> {
    // The name of a version is longer by its last two parts.
    let (name, version) = match VersionName::parse(&request.name) {
        Some(version) => (version.key.clone(), Some(version)),
        None => (keys::name(&request.name)?, None),
    };
    gcp.allow(
        caller,
        "cloudkms.cryptoKeyVersions.useToEncrypt",
        &request.name,
    )?;
    let (plaintext, aad) = (&request.plaintext, &request.additional_authenticated_data);
    let verified_plaintext_crc32c =
        wire::checked("plaintext", plaintext, request.plaintext_crc32c)?;
    let verified_additional_authenticated_data_crc32c = wire::checked(
        "additional_authenticated_data",
        aad,
        request.additional_authenticated_data_crc32c,
    )?;
    let key = gcp.key(&name)?;
    for_purpose(&name, &key, &[Purpose::EncryptDecrypt])?;
    let version = match &version {
        Some(wanted) => wanted
            .find(&key)
            .ok_or_else(|| GcpError::of_version(wanted, KeyError::VersionNotFound))?,
        None => key
            .primary()
            .map_err(|error| GcpError::of_key(&name, error))?,
    };
    checked_length(version, plaintext.len(), aad.len())?;
    let named = (&key.realm, &key.id, &version.id);
    let used = name.version(version.number);
    let sealed = gcp
        .core
        .encrypt_with_version(named, plaintext, aad)
        .map_err(|error| GcpError::of_version(&used, error))?;
    let ciphertext = blob::encode(&sealed);
    Ok(kms::EncryptResponse {
        name: used.to_string(),
        ciphertext_crc32c: Some(wire::crc32c(&ciphertext)),
        ciphertext,
        verified_plaintext_crc32c,
        verified_additional_authenticated_data_crc32c,
        protection_level: wire::protection_of(version),
    })
}

pub(crate) fn decrypt(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::DecryptRequest,
) -> Result<kms::DecryptResponse, GcpError> {
    let name = keys::name(&request.name)?;
    gcp.allow(
        caller,
        "cloudkms.cryptoKeyVersions.useToDecrypt",
        &request.name,
    )?;
    let (ciphertext, aad) = (&request.ciphertext, &request.additional_authenticated_data);
    wire::checked("ciphertext", ciphertext, request.ciphertext_crc32c)?;
    wire::checked(
        "additional_authenticated_data",
        aad,
        request.additional_authenticated_data_crc32c,
    )?;
    let key = gcp.key(&name)?;
    for_purpose(&name, &key, &[Purpose::EncryptDecrypt])?;
    if ciphertext.len() > SOFTWARE + FRAME {
        return Err(GcpError::does_not_open());
    }
    let blob = blob::parse(ciphertext).ok_or_else(GcpError::does_not_open)?;
    let version = blob::version_of(&key, &blob).ok_or_else(GcpError::of_another_key)?;
    let opened = gcp.core.decrypt(
        &key.realm,
        &key.id,
        &version.id,
        &blob.nonce,
        &blob.body,
        aad,
    );
    let plaintext =
        opened.map_err(|error| GcpError::of_version(&name.version(version.number), error))?;
    Ok(kms::DecryptResponse {
        plaintext_crc32c: Some(wire::crc32c(&plaintext)),
        plaintext: plaintext.to_vec(),
        used_primary: key.primary == Some(version.id),
        protection_level: wire::protection_of(version),
    })
}

/// The key and the version of a call that names a version.
pub(crate) fn used(
    gcp: &Gcp,
    name: &VersionName,
    purpose: Purpose,
) -> Result<(Arc<Key>, Version), GcpError> {
    let (key, version) = gcp.version(name)?;
    for_purpose(&name.key, &key, &[purpose])?;
    Ok((key, version))
}
