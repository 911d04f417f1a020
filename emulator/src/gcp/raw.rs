//! RawEncrypt and RawDecrypt: AES in a mode that the caller chooses.

use kmslab_googleapis::kms;
use kmslab_googleapis::kms::crypto_key::CryptoKeyPurpose as Purpose;
use kmslab_keycore::AesMode;

use super::algorithms::Operation;
use super::auth::Caller;
use super::crypto::{ensure_length, version_for};
use super::data::Version;
use super::{Gcp, GcpError, versions, wire};

/// Length of a GCM tag in bytes.
const TAG_LEN: i32 = 16;
/// Length of a GCM nonce in bytes.
const NONCE_LEN: usize = 12;
/// Length in bytes of a block, and of the initialization vectors of the other modes.
const BLOCK_LEN: usize = 16;

pub(crate) fn encrypt(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::RawEncryptRequest,
) -> Result<kms::RawEncryptResponse, GcpError> {
    let name = versions::parse_name(&request.name)?;
    gcp.allow(
        caller,
        "cloudkms.cryptoKeyVersions.useToEncrypt",
        &request.name,
    )?;
    let (plaintext, aad) = (&request.plaintext, &request.additional_authenticated_data);
    let iv = &request.initialization_vector;
    let verified_plaintext_crc32c =
        wire::verify_checksum("plaintext", plaintext, request.plaintext_crc32c)?;
    let verified_additional_authenticated_data_crc32c = wire::verify_checksum(
        "additional_authenticated_data",
        aad,
        request.additional_authenticated_data_crc32c,
    )?;
    let verified_initialization_vector_crc32c = wire::verify_checksum(
        "initialization_vector",
        iv,
        request.initialization_vector_crc32c,
    )?;
    let version = version_for(gcp, &name, Purpose::RawEncryptDecrypt)?;
    ensure_length(&version, plaintext.len(), aad.len())?;
    let mode = mode(&version)?;
    ensure_aad_allowed(mode, aad)?;
    let iv = match (mode, iv.as_slice()) {
        (AesMode::Gcm, []) => gcp.core.random(NONCE_LEN).to_vec(),
        (_, []) => gcp.core.random(BLOCK_LEN).to_vec(),
        (AesMode::Gcm, _) => {
            return Err(GcpError::bad_field(
                "initialization_vector",
                "An initialization vector can be given for AES-CBC and AES-CTR only.",
            ));
        }
        (_, iv) => iv.to_vec(),
    };
    let encrypted = version.encrypt_aes(mode, &iv, plaintext, aad);
    let ciphertext = encrypted.map_err(|error| GcpError::from_version_error(&name, error))?;
    Ok(kms::RawEncryptResponse {
        ciphertext_crc32c: Some(wire::crc32c(&ciphertext)),
        ciphertext,
        initialization_vector_crc32c: Some(wire::crc32c(&iv)),
        initialization_vector: iv,
        tag_length: if mode == AesMode::Gcm { TAG_LEN } else { 0 },
        verified_plaintext_crc32c,
        verified_additional_authenticated_data_crc32c,
        verified_initialization_vector_crc32c,
        name: name.to_string(),
        protection_level: wire::protection_level(&version),
    })
}

pub(crate) fn decrypt(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::RawDecryptRequest,
) -> Result<kms::RawDecryptResponse, GcpError> {
    let name = versions::parse_name(&request.name)?;
    gcp.allow(
        caller,
        "cloudkms.cryptoKeyVersions.useToDecrypt",
        &request.name,
    )?;
    let (ciphertext, aad) = (&request.ciphertext, &request.additional_authenticated_data);
    let iv = &request.initialization_vector;
    let verified_ciphertext_crc32c =
        wire::verify_checksum("ciphertext", ciphertext, request.ciphertext_crc32c)?;
    let verified_additional_authenticated_data_crc32c = wire::verify_checksum(
        "additional_authenticated_data",
        aad,
        request.additional_authenticated_data_crc32c,
    )?;
    let verified_initialization_vector_crc32c = wire::verify_checksum(
        "initialization_vector",
        iv,
        request.initialization_vector_crc32c,
    )?;
    let version = version_for(gcp, &name, Purpose::RawEncryptDecrypt)?;
    let mode = mode(&version)?;
    ensure_aad_allowed(mode, aad)?;
    if mode == AesMode::Gcm && ![0, TAG_LEN].contains(&request.tag_length) {
        return Err(GcpError::bad_field(
            "tag_length",
            format!("The tag_length must be {TAG_LEN}."),
        ));
    }
    let opened = version.decrypt_aes(mode, iv, ciphertext, aad);
    let plaintext = opened.map_err(|error| GcpError::from_version_error(&name, error))?;
    Ok(kms::RawDecryptResponse {
        plaintext_crc32c: Some(wire::crc32c(&plaintext)),
        plaintext: plaintext.to_vec(),
        protection_level: wire::protection_level(&version),
        verified_ciphertext_crc32c,
        verified_additional_authenticated_data_crc32c,
        verified_initialization_vector_crc32c,
    })
}

fn mode(version: &Version) -> Result<AesMode, GcpError> {
    match wire::algorithm_info(version)?.usage {
        Operation::Raw(mode) => Ok(mode),
        _ => Err(GcpError::internal("a raw key with another algorithm")),
    }
}

fn ensure_aad_allowed(mode: AesMode, aad: &[u8]) -> Result<(), GcpError> {
    if mode == AesMode::Gcm || aad.is_empty() {
        return Ok(());
    }
    Err(GcpError::bad_field(
        "additional_authenticated_data",
        "Additional authenticated data can be given for AES-GCM only.",
    ))
}
