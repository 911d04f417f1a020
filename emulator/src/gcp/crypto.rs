//! Encrypt and Decrypt, with the checksums and limits of the service.

use kmslab_googleapis::kms;
use kmslab_googleapis::kms::crypto_key::CryptoKeyPurpose as Purpose;

use super::auth::Caller;
use super::data::{Key, Version, VersionRef};
use super::names::{KeyName, VersionName};
use super::{Gcp, GcpError, blob, keys, version_of, wire};

/// Maximum length in bytes of a plaintext, and of additional data, for software keys.
pub(crate) const MAX_SOFTWARE_LEN: usize = 64 * 1024;
/// Maximum length in bytes of both together, for HSM keys.
pub(crate) const MAX_HSM_LEN: usize = 8 * 1024;
/// Maximum difference in length between a ciphertext's payload and its plaintext.
const MAX_OVERHEAD: usize = 128;

/// Fails if the input is too long for the version's protection level.
pub(crate) fn ensure_length(
    version: &Version,
    plaintext: usize,
    aad: usize,
) -> Result<(), GcpError> {
    let hsm = wire::protection_level(version) == i32::from(kms::ProtectionLevel::Hsm);
    if hsm && plaintext + aad > MAX_HSM_LEN {
        return Err(GcpError::invalid(format!(
            "The plaintext and the additional authenticated data together must not be longer than {MAX_HSM_LEN} bytes."
        )));
    }
    for (field, length) in [
        ("plaintext", plaintext),
        ("additional_authenticated_data", aad),
    ] {
        if length > MAX_SOFTWARE_LEN {
            return Err(GcpError::bad_field(
                field,
                format!("The {field} must not be longer than {MAX_SOFTWARE_LEN} bytes."),
            ));
        }
    }
    Ok(())
}

/// Fails if the key has another purpose.
pub(crate) fn ensure_purpose(
    name: &KeyName,
    key: &Key,
    requested: &[Purpose],
) -> Result<(), GcpError> {
    let purpose = key.data.purpose;
    if requested.contains(&purpose) {
        return Ok(());
    }
    let requested: Vec<&str> = requested.iter().map(Purpose::as_str_name).collect();
    let (purpose, requested) = (purpose.as_str_name(), requested.join(" or "));
    Err(GcpError::precondition(format!(
        "CryptoKey {name} has purpose {purpose}; the call is for {requested}."
    )))
}

pub(crate) fn encrypt(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::EncryptRequest,
) -> Result<kms::EncryptResponse, GcpError> {
    // The name of a version has two more segments.
    let (name, version) = match VersionName::parse(&request.name) {
        Some(version) => (version.key.clone(), Some(version)),
        None => (keys::parse_name(&request.name)?, None),
    };
    gcp.allow(
        caller,
        "cloudkms.cryptoKeyVersions.useToEncrypt",
        &request.name,
    )?;
    let (plaintext, aad) = (&request.plaintext, &request.additional_authenticated_data);
    let verified_plaintext_crc32c =
        wire::verify_checksum("plaintext", plaintext, request.plaintext_crc32c)?;
    let verified_additional_authenticated_data_crc32c = wire::verify_checksum(
        "additional_authenticated_data",
        aad,
        request.additional_authenticated_data_crc32c,
    )?;
    let key = gcp.key(&name)?;
    ensure_purpose(&name, &key, &[Purpose::EncryptDecrypt])?;
    let version = match &version {
        Some(requested) => version_of(&key, requested)?,
        None => key
            .primary()
            .map_err(|error| GcpError::from_key_error(&name, error))?,
    };
    ensure_length(&version, plaintext.len(), aad.len())?;
    let used = name.version(version.number);
    let encrypted = version
        .encrypt(plaintext, aad)
        .map_err(|error| GcpError::from_version_error(&used, error))?;
    let ciphertext = blob::encode(&encrypted);
    Ok(kms::EncryptResponse {
        name: used.to_string(),
        ciphertext_crc32c: Some(wire::crc32c(&ciphertext)),
        ciphertext,
        verified_plaintext_crc32c,
        verified_additional_authenticated_data_crc32c,
        protection_level: wire::protection_level(&version),
    })
}

pub(crate) fn decrypt(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::DecryptRequest,
) -> Result<kms::DecryptResponse, GcpError> {
    let name = keys::parse_name(&request.name)?;
    gcp.allow(
        caller,
        "cloudkms.cryptoKeyVersions.useToDecrypt",
        &request.name,
    )?;
    let (ciphertext, aad) = (&request.ciphertext, &request.additional_authenticated_data);
    wire::verify_checksum("ciphertext", ciphertext, request.ciphertext_crc32c)?;
    wire::verify_checksum(
        "additional_authenticated_data",
        aad,
        request.additional_authenticated_data_crc32c,
    )?;
    let key = gcp.key(&name)?;
    ensure_purpose(&name, &key, &[Purpose::EncryptDecrypt])?;
    if ciphertext.len() > MAX_SOFTWARE_LEN + MAX_OVERHEAD {
        return Err(GcpError::decryption_failed());
    }
    let blob = blob::parse(ciphertext).ok_or_else(GcpError::decryption_failed)?;
    let version = key
        .version_where(|version| blob::blob_id(&version.id) == blob.id)
        .map_err(|_| GcpError::wrong_key())?;
    let opened = version.decrypt(&blob.nonce, &blob.body, aad);
    let plaintext = opened
        .map_err(|error| GcpError::from_version_error(&name.version(version.number), error))?;
    Ok(kms::DecryptResponse {
        plaintext_crc32c: Some(wire::crc32c(&plaintext)),
        plaintext: plaintext.to_vec(),
        used_primary: key.primary == Some(version.id),
        protection_level: wire::protection_level(&version),
    })
}

/// Resolves the version of a call that names one.
pub(crate) fn version_for<'a>(
    gcp: &'a Gcp,
    name: &VersionName,
    purpose: Purpose,
) -> Result<VersionRef<'a>, GcpError> {
    let version = gcp.version(name)?;
    ensure_purpose(&name.key, version.key(), &[purpose])?;
    Ok(version)
}
