//! Public keys, signatures, asymmetric decryption, message authentication codes and random bytes.

use kmslab_googleapis::kms;
use kmslab_googleapis::kms::crypto_key::CryptoKeyPurpose as Purpose;
use kmslab_googleapis::kms::digest::Digest;
use kmslab_googleapis::kms::public_key::PublicKeyFormat;
use kmslab_keycore::{Algorithm, Hash, Kem, PublicKey, SignInput, VersionState};

use super::algorithms::Operation;
use super::auth::Caller;
use super::crypto::{MAX_SOFTWARE_LEN, ensure_purpose, version_for};
use super::{Gcp, GcpError, rings, versions, wire};

/// Allowed `length_bytes` of GenerateRandomBytes.
const RANDOM_BYTES_LEN: std::ops::RangeInclusive<i32> = 8..=1024;

pub(crate) fn public_key(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::GetPublicKeyRequest,
) -> Result<kms::PublicKey, GcpError> {
    let name = versions::parse_name(&request.name)?;
    gcp.allow(
        caller,
        "cloudkms.cryptoKeyVersions.viewPublicKey",
        &request.name,
    )?;
    let version = gcp.version(&name)?;
    ensure_purpose(
        &name.key,
        version.key(),
        &[
            Purpose::AsymmetricSign,
            Purpose::AsymmetricDecrypt,
            Purpose::KeyEncapsulation,
        ],
    )?;
    if version.state != VersionState::Enabled {
        return Err(GcpError::not_enabled(&name, version.state));
    }
    let public = version
        .public_key()
        .map_err(|error| GcpError::from_version_error(&name, error))?;
    let checksummed = |data: Vec<u8>| kms::ChecksummedData {
        crc32c_checksum: Some(wire::crc32c(&data)),
        data,
    };
    let mut json = kms::PublicKey {
        algorithm: version.data.template.algorithm.into(),
        name: name.to_string(),
        protection_level: wire::protection_level(&version),
        public_key_format: PublicKeyFormat::Pem.into(),
        ..kms::PublicKey::default()
    };
    let format = PublicKeyFormat::try_from(request.public_key_format).unwrap_or_default();
    let der = match public {
        PublicKey::Kem(bytes) => {
            let requested = match version.algorithm {
                Algorithm::Kem(Kem::XWing) => PublicKeyFormat::XwingRawBytes,
                _ => PublicKeyFormat::NistPqc,
            };
            if format != requested {
                let requested = requested.as_str_name();
                return Err(GcpError::bad_field(
                    "public_key_format",
                    format!(
                        "The public_key_format must be {requested} for a key of this algorithm."
                    ),
                ));
            }
            json.public_key_format = format.into();
            json.public_key = Some(checksummed(bytes));
            return Ok(json);
        }
        PublicKey::Rsa { der, .. } | PublicKey::Ec { der, .. } => der,
    };
    match format {
        PublicKeyFormat::Unspecified | PublicKeyFormat::Pem => {
            json.pem = wire::pem("PUBLIC KEY", &der);
            json.pem_crc32c = Some(wire::crc32c(json.pem.as_bytes()));
            if request.public_key_format != 0 {
                json.public_key = Some(checksummed(json.pem.clone().into_bytes()));
            }
        }
        PublicKeyFormat::Der => {
            json.public_key_format = PublicKeyFormat::Der.into();
            json.public_key = Some(checksummed(der));
        }
        _ => {
            return Err(GcpError::bad_field(
                "public_key_format",
                "The public_key_format must be PEM or DER.",
            ));
        }
    }
    Ok(json)
}

pub(crate) fn sign(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::AsymmetricSignRequest,
) -> Result<kms::AsymmetricSignResponse, GcpError> {
    let name = versions::parse_name(&request.name)?;
    gcp.allow(
        caller,
        "cloudkms.cryptoKeyVersions.useToSign",
        &request.name,
    )?;
    let digest = request.digest.and_then(|digest| digest.digest);
    let digest = digest.map(|digest| match digest {
        Digest::Sha256(bytes) => (Some(Hash::Sha256), bytes),
        Digest::Sha384(bytes) => (Some(Hash::Sha384), bytes),
        Digest::Sha512(bytes) => (Some(Hash::Sha512), bytes),
        // Used by algorithms that the emulator does not have.
        Digest::ExternalMu(bytes) => (None, bytes),
    });
    let hashed = digest.as_ref().map_or(&[][..], |(_, bytes)| bytes);
    let verified_digest_crc32c = wire::verify_checksum("digest", hashed, request.digest_crc32c)?;
    let verified_data_crc32c = wire::verify_checksum("data", &request.data, request.data_crc32c)?;
    let version = version_for(gcp, &name, Purpose::AsymmetricSign)?;
    let row = wire::algorithm_info(&version)?;
    let Operation::Sign(how) = row.usage else {
        return Err(GcpError::internal("a signing key with another algorithm"));
    };
    let input = match (&digest, request.data.as_slice()) {
        (Some(_), [_, ..]) => {
            return Err(GcpError::invalid(
                "The digest and the data can not be given together.",
            ));
        }
        (None, data) => SignInput::Message(data),
        (Some((hash, bytes)), []) if hash.is_some() && row.hash() == *hash => {
            SignInput::Digest(bytes)
        }
        (Some(_), []) => {
            let algorithm = row.name.as_str_name();
            return Err(GcpError::bad_field(
                "digest",
                format!("The digest is not of the kind that {algorithm} signs."),
            ));
        }
    };
    let signed = version.sign(how, input);
    let signature = signed.map_err(|error| GcpError::from_version_error(&name, error))?;
    Ok(kms::AsymmetricSignResponse {
        signature_crc32c: Some(wire::crc32c(&signature)),
        signature,
        verified_digest_crc32c,
        name: name.to_string(),
        verified_data_crc32c,
        protection_level: wire::protection_level(&version),
    })
}

pub(crate) fn decrypt(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::AsymmetricDecryptRequest,
) -> Result<kms::AsymmetricDecryptResponse, GcpError> {
    let name = versions::parse_name(&request.name)?;
    gcp.allow(
        caller,
        "cloudkms.cryptoKeyVersions.useToDecrypt",
        &request.name,
    )?;
    let verified_ciphertext_crc32c =
        wire::verify_checksum("ciphertext", &request.ciphertext, request.ciphertext_crc32c)?;
    let version = version_for(gcp, &name, Purpose::AsymmetricDecrypt)?;
    let Operation::Decrypt(padding) = wire::algorithm_info(&version)?.usage else {
        return Err(GcpError::internal(
            "a decrypting key with another algorithm",
        ));
    };
    let opened = version.decrypt_rsa(padding, &request.ciphertext);
    let plaintext = opened.map_err(|error| GcpError::from_version_error(&name, error))?;
    Ok(kms::AsymmetricDecryptResponse {
        plaintext_crc32c: Some(wire::crc32c(&plaintext)),
        plaintext: plaintext.to_vec(),
        verified_ciphertext_crc32c,
        protection_level: wire::protection_level(&version),
    })
}

pub(crate) fn decapsulate(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::DecapsulateRequest,
) -> Result<kms::DecapsulateResponse, GcpError> {
    let name = versions::parse_name(&request.name)?;
    gcp.allow(
        caller,
        "cloudkms.cryptoKeyVersions.useToDecapsulate",
        &request.name,
    )?;
    let verified_ciphertext_crc32c =
        wire::verify_checksum("ciphertext", &request.ciphertext, request.ciphertext_crc32c)?;
    let version = version_for(gcp, &name, Purpose::KeyEncapsulation)?;
    let opened = version.decapsulate(&request.ciphertext);
    let secret = opened.map_err(|error| GcpError::from_version_error(&name, error))?;
    Ok(kms::DecapsulateResponse {
        name: name.to_string(),
        shared_secret_crc32c: Some(wire::crc32c(&secret)),
        shared_secret: secret.to_vec(),
        verified_ciphertext_crc32c,
        protection_level: wire::protection_level(&version),
    })
}

pub(crate) fn mac_sign(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::MacSignRequest,
) -> Result<kms::MacSignResponse, GcpError> {
    let name = versions::parse_name(&request.name)?;
    gcp.allow(
        caller,
        "cloudkms.cryptoKeyVersions.useToSign",
        &request.name,
    )?;
    let verified_data_crc32c = wire::verify_checksum("data", &request.data, request.data_crc32c)?;
    let version = version_for(gcp, &name, Purpose::Mac)?;
    ensure_length(&request.data)?;
    let created = version.mac(&request.data);
    let mac = created.map_err(|error| GcpError::from_version_error(&name, error))?;
    Ok(kms::MacSignResponse {
        name: name.to_string(),
        mac_crc32c: Some(wire::crc32c(&mac)),
        mac,
        verified_data_crc32c,
        protection_level: wire::protection_level(&version),
    })
}

pub(crate) fn mac_verify(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::MacVerifyRequest,
) -> Result<kms::MacVerifyResponse, GcpError> {
    let name = versions::parse_name(&request.name)?;
    gcp.allow(
        caller,
        "cloudkms.cryptoKeyVersions.useToVerify",
        &request.name,
    )?;
    let verified_data_crc32c = wire::verify_checksum("data", &request.data, request.data_crc32c)?;
    let verified_mac_crc32c = wire::verify_checksum("mac", &request.mac, request.mac_crc32c)?;
    let version = version_for(gcp, &name, Purpose::Mac)?;
    ensure_length(&request.data)?;
    let verified = version.verify_mac(&request.data, &request.mac);
    let success = verified.map_err(|error| GcpError::from_version_error(&name, error))?;
    Ok(kms::MacVerifyResponse {
        name: name.to_string(),
        success,
        verified_data_crc32c,
        verified_mac_crc32c,
        verified_success_integrity: success,
        protection_level: wire::protection_level(&version),
    })
}

fn ensure_length(data: &[u8]) -> Result<(), GcpError> {
    if data.len() <= MAX_SOFTWARE_LEN {
        return Ok(());
    }
    Err(GcpError::bad_field(
        "data",
        format!("The data must not be longer than {MAX_SOFTWARE_LEN} bytes."),
    ))
}

pub(crate) fn random(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::GenerateRandomBytesRequest,
) -> Result<kms::GenerateRandomBytesResponse, GcpError> {
    rings::parse_location(&request.location)?;
    gcp.allow(
        caller,
        "cloudkms.locations.generateRandomBytes",
        &request.location,
    )?;
    if request.protection_level != i32::from(kms::ProtectionLevel::Hsm) {
        return Err(GcpError::new(
            tonic::Code::Unimplemented,
            "Random bytes can be generated with protection level HSM only.",
        ));
    }
    let length = usize::try_from(request.length_bytes)
        .ok()
        .filter(|_| RANDOM_BYTES_LEN.contains(&request.length_bytes));
    let length = length.ok_or_else(|| {
        GcpError::bad_field("length_bytes", "The length_bytes must be from 8 to 1024.")
    })?;
    let data = gcp.core.random(length).to_vec();
    Ok(kms::GenerateRandomBytesResponse {
        data_crc32c: Some(wire::crc32c(&data)),
        data,
    })
}
