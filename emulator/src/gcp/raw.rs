//! RawEncrypt and RawDecrypt: AES as callers know it, in modes that they choose.

use kmslab_googleapis::kms;
use kmslab_googleapis::kms::crypto_key::CryptoKeyPurpose as Purpose;
use kmslab_keycore::AesMode;

use super::algorithms::Use;
use super::auth::Caller;
use super::crypto::{checked_length, used};
use super::{Gcp, GcpError, versions, wire};

/// Bytes of an authentication tag of GCM.
const TAG: i32 = 16;
/// Bytes of the nonce of GCM.
const NONCE: usize = 12;
/// Bytes of a block, and of the other modes' initialization vectors.
const BLOCK: usize = 16;

pub(crate) fn encrypt(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::RawEncryptRequest,
) -> Result<kms::RawEncryptResponse, GcpError> {
    let name = versions::name(&request.name)?;
    gcp.allow(
        caller,
        "cloudkms.cryptoKeyVersions.useToEncrypt",
        &request.name,
    )?;
    let (plaintext, aad) = (&request.plaintext, &request.additional_authenticated_data);
    let iv = &request.initialization_vector;
    let verified_plaintext_crc32c =
        wire::checked("plaintext", plaintext, request.plaintext_crc32c)?;
    let verified_additional_authenticated_data_crc32c = wire::checked(
        "additional_authenticated_data",
        aad,
        request.additional_authenticated_data_crc32c,
    )?;
    let verified_initialization_vector_crc32c = wire::checked(
        "initialization_vector",
        iv,
        request.initialization_vector_crc32c,
    )?;
    let (key, version) = used(gcp, &name, Purpose::RawEncryptDecrypt)?;
    checked_length(&version, plaintext.len(), aad.len())?;
    let mode = mode(&version)?;
    only_gcm_has_aad(mode, aad)?;
    let iv = match (mode, iv.as_slice()) {
        (AesMode::Gcm, []) => gcp.core.random(NONCE).to_vec(),
        (_, []) => gcp.core.random(BLOCK).to_vec(),
        (AesMode::Gcm, _) => {
            return Err(GcpError::bad_field(
                "initialization_vector",
                "An initialization vector can be given for AES-CBC and AES-CTR only.",
            ));
        }
        (_, iv) => iv.to_vec(),
    };
    let named = (&key.realm, &key.id, &version.id);
    let sealed = gcp.core.encrypt_aes(named, mode, &iv, plaintext, aad);
    let ciphertext = sealed.map_err(|error| GcpError::of_version(&name, error))?;
    Ok(kms::RawEncryptResponse {
        ciphertext_crc32c: Some(wire::crc32c(&ciphertext)),
        ciphertext,
        initialization_vector_crc32c: Some(wire::crc32c(&iv)),
        initialization_vector: iv,
        tag_length: if mode == AesMode::Gcm { TAG } else { 0 },
        verified_plaintext_crc32c,
        verified_additional_authenticated_data_crc32c,
        verified_initialization_vector_crc32c,
        name: name.to_string(),
        protection_level: wire::protection_of(&version),
    })
}

pub(crate) fn decrypt(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::RawDecryptRequest,
) -> Result<kms::RawDecryptResponse, GcpError> {
    let name = versions::name(&request.name)?;
    gcp.allow(
        caller,
        "cloudkms.cryptoKeyVersions.useToDecrypt",
        &request.name,
    )?;
    let (ciphertext, aad) = (&request.ciphertext, &request.additional_authenticated_data);
    let iv = &request.initialization_vector;
    let verified_ciphertext_crc32c =
        wire::checked("ciphertext", ciphertext, request.ciphertext_crc32c)?;
    let verified_additional_authenticated_data_crc32c = wire::checked(
        "additional_authenticated_data",
        aad,
        request.additional_authenticated_data_crc32c,
    )?;
    let verified_initialization_vector_crc32c = wire::checked(
        "initialization_vector",
        iv,
        request.initialization_vector_crc32c,
    )?;
    let (key, version) = used(gcp, &name, Purpose::RawEncryptDecrypt)?;
    let mode = mode(&version)?;
    only_gcm_has_aad(mode, aad)?;
    if mode == AesMode::Gcm && ![0, TAG].contains(&request.tag_length) {
        return Err(GcpError::bad_field(
            "tag_length",
            format!("The tag_length must be {TAG}."),
        ));
    }
    let named = (&key.realm, &key.id, &version.id);
    let opened = gcp.core.decrypt_aes(named, mode, iv, ciphertext, aad);
    let plaintext = opened.map_err(|error| GcpError::of_version(&name, error))?;
    Ok(kms::RawDecryptResponse {
        plaintext_crc32c: Some(wire::crc32c(&plaintext)),
        plaintext: plaintext.to_vec(),
        protection_level: wire::protection_of(&version),
        verified_ciphertext_crc32c,
        verified_additional_authenticated_data_crc32c,
        verified_initialization_vector_crc32c,
    })
}

fn mode(version: &kmslab_keycore::Version) -> Result<AesMode, GcpError> {
    match wire::row(version)?.usage {
        Use::Raw(mode) => Ok(mode),
        _ => Err(GcpError::internal("a raw key with another algorithm")),
    }
}

fn only_gcm_has_aad(mode: AesMode, aad: &[u8]) -> Result<(), GcpError> {
    if mode == AesMode::Gcm || aad.is_empty() {
        return Ok(());
    }
    Err(GcpError::bad_field(
        "additional_authenticated_data",
        "Additional authenticated data can be given for AES-GCM only.",
    ))
}
