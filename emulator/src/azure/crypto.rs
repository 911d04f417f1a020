//! Cryptographic operations: encrypt and decrypt, wrap and unwrap, sign and verify, random bytes.

use kmslab_keycore::{
    AesMode, Algorithm, Hash, KeyError, RsaPadding, SignInput, SignatureAlgorithm,
};
use serde_json::{Value, json};

use super::data::{Version, VersionRef};
use super::operation::Operation;
use super::wire::{Input, encode_base64url};
use super::{Azure, AzureError, RequestContext, keys, names};

/// How an encryption algorithm is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cipher {
    Rsa(RsaPadding),
    /// AES with a key of that many bits.
    Aes(u16, AesMode),
}

fn cipher(alg: &str) -> Option<Cipher> {
    use AesMode::{Cbc, CbcPkcs7, Gcm, KeyWrap};
    Some(match alg {
        "RSA1_5" => Cipher::Rsa(RsaPadding::Pkcs1),
        "RSA-OAEP" => Cipher::Rsa(RsaPadding::OaepSha1),
        "RSA-OAEP-256" => Cipher::Rsa(RsaPadding::OaepSha256),
        _ => {
            let (bits, rest) = alg.strip_prefix('A')?.split_at_checked(3)?;
            let bits = match bits {
                "128" => 128,
                "192" => 192,
                "256" => 256,
                _ => return None,
            };
            let mode = match rest {
                "GCM" => Gcm,
                "CBC" => Cbc,
                "CBCPAD" => CbcPkcs7,
                "KW" => KeyWrap,
                _ => return None,
            };
            Cipher::Aes(bits, mode)
        }
    })
}

fn signature(alg: &str) -> Option<SignatureAlgorithm> {
    use Hash::{Sha256, Sha384, Sha512};
    Some(match alg {
        "RS256" => SignatureAlgorithm::RsaPkcs1(Sha256),
        "RS384" => SignatureAlgorithm::RsaPkcs1(Sha384),
        "RS512" => SignatureAlgorithm::RsaPkcs1(Sha512),
        "PS256" => SignatureAlgorithm::RsaPss(Sha256),
        "PS384" => SignatureAlgorithm::RsaPss(Sha384),
        "PS512" => SignatureAlgorithm::RsaPss(Sha512),
        "ES256" | "ES256K" | "ECDSA256" => SignatureAlgorithm::EcdsaFixed(Sha256),
        "ES384" => SignatureAlgorithm::EcdsaFixed(Sha384),
        "ES512" => SignatureAlgorithm::EcdsaFixed(Sha512),
        _ => return None,
    })
}

/// ES256 and ES256K use the same hash with different curves.
fn matches_curve(alg: &str, algorithm: Algorithm) -> bool {
    use kmslab_keycore::Curve::{P256, Secp256k1};
    match alg {
        "ES256" => algorithm == Algorithm::Ec(P256),
        "ES256K" | "ECDSA256" => algorithm == Algorithm::Ec(Secp256k1),
        _ => true,
    }
}

fn unknown(alg: &str) -> AzureError {
    AzureError::bad_parameter(format!("Invalid value for property alg: {alg}"))
}

fn incompatible(alg: &str, version: &Version) -> AzureError {
    let kty = &version.data.kty;
    AzureError::bad_parameter(format!(
        "Algorithm {alg} is not supported by a key of type {kty} and of its size"
    ))
}

/// Returns the version of a request if it allows the operation, and the operation's name. Whether
/// the version can be used now is checked by the core.
fn version_for<'a>(
    azure: &'a Azure,
    ctx: &RequestContext<'_>,
) -> Result<(VersionRef<'a>, &'static str), AzureError> {
    // These six operations have the same names in access policies, `key_ops` and error messages.
    let word = ctx.call.operation.permission().unwrap_or_default();
    let version = keys::find(azure, ctx)?;
    if !version.data.key_ops.iter().any(|allowed| allowed == word) {
        return Err(AzureError::not_permitted(word));
    }
    Ok((version, word))
}

fn kid(ctx: &RequestContext<'_>, version: &VersionRef<'_>) -> String {
    names::kid(&ctx.vault.name, version.key(), &version.id)
}

/// Returns the cipher of a request if the key supports it. Key wrap is for wrapKey and unwrapKey,
/// the other AES modes are for encrypt and decrypt.
fn cipher_for(ctx: &RequestContext<'_>, version: &Version) -> Result<Cipher, AzureError> {
    let alg = ctx.input.required_string("alg")?;
    let cipher = cipher(alg).ok_or_else(|| unknown(alg))?;
    let wraps = matches!(
        ctx.call.operation,
        Operation::WrapKey | Operation::UnwrapKey
    );
    let fits = match (cipher, version.algorithm) {
        (Cipher::Rsa(_), Algorithm::Rsa { .. }) => true,
        (Cipher::Aes(bits, mode), Algorithm::Aes { bits: has }) => {
            bits == has && wraps == (mode == AesMode::KeyWrap)
        }
        _ => false,
    };
    if fits {
        Ok(cipher)
    } else {
        Err(incompatible(alg, version))
    }
}

/// encrypt and wrapKey.
pub(super) fn encrypt(azure: &Azure, ctx: &RequestContext<'_>) -> Result<Value, AzureError> {
    let (version, word) = version_for(azure, ctx)?;
    let cipher = cipher_for(ctx, &version)?;
    let value = zeroize::Zeroizing::new(ctx.input.required_bytes("value")?);
    let mut answer = json!({ "kid": kid(ctx, &version) });
    let body = match cipher {
        Cipher::Rsa(padding) => version.encrypt_rsa(padding, &value),
        Cipher::Aes(_, AesMode::Gcm) => {
            // The service generates the nonce, so that none is ever reused.
            let iv = azure.core.random(12);
            let aad = ctx.input.bytes("aad")?.unwrap_or_default();
            let encrypted = version.encrypt_aes(AesMode::Gcm, &iv, &value, &aad);
            let mut body = encrypted.map_err(|error| key_error(ctx, word, error))?;
            let tag = body.split_off(body.len().saturating_sub(16));
            answer["iv"] = encode_base64url(&iv);
            answer["tag"] = encode_base64url(&tag);
            if !aad.is_empty() {
                answer["aad"] = encode_base64url(&aad);
            }
            Ok(body)
        }
        Cipher::Aes(_, mode) => {
            let iv = iv(ctx.input, mode)?;
            if mode != AesMode::KeyWrap {
                answer["iv"] = encode_base64url(&iv);
            }
            version.encrypt_aes(mode, &iv, &value, &[])
        }
    };
    answer["value"] = encode_base64url(&body.map_err(|error| key_error(ctx, word, error))?);
    Ok(answer)
}

/// decrypt and unwrapKey.
pub(super) fn decrypt(azure: &Azure, ctx: &RequestContext<'_>) -> Result<Value, AzureError> {
    let (version, word) = version_for(azure, ctx)?;
    let cipher = cipher_for(ctx, &version)?;
    let value = ctx.input.required_bytes("value")?;
    let plaintext = match cipher {
        Cipher::Rsa(padding) => version.decrypt_rsa(padding, &value),
        Cipher::Aes(_, AesMode::Gcm) => {
            let (iv, tag) = (
                ctx.input.required_bytes("iv")?,
                ctx.input.required_bytes("tag")?,
            );
            let aad = ctx.input.bytes("aad")?.unwrap_or_default();
            if tag.len() != 16 {
                return Err(super::wire::invalid("tag"));
            }
            version.decrypt_aes(AesMode::Gcm, &iv, &[value, tag].concat(), &aad)
        }
        Cipher::Aes(_, mode) => version.decrypt_aes(mode, &iv(ctx.input, mode)?, &value, &[]),
    };
    let plaintext = plaintext.map_err(|error| key_error(ctx, word, error))?;
    Ok(json!({ "kid": kid(ctx, &version), "value": encode_base64url(&plaintext) }))
}

fn iv(input: &Input, mode: AesMode) -> Result<Vec<u8>, AzureError> {
    if mode == AesMode::KeyWrap {
        Ok(Vec::new())
    } else {
        input.required_bytes("iv")
    }
}

pub(super) fn sign(azure: &Azure, ctx: &RequestContext<'_>) -> Result<Value, AzureError> {
    let (version, word) = version_for(azure, ctx)?;
    let alg = ctx.input.required_string("alg")?;
    let how = signature(alg).ok_or_else(|| unknown(alg))?;
    if !matches_curve(alg, version.algorithm) {
        return Err(incompatible(alg, &version));
    }
    let digest = ctx.input.required_bytes("value")?;
    let signed = version.sign(how, SignInput::Digest(&digest));
    let signed = signed.map_err(|error| match error {
        KeyError::WrongAlgorithm { .. } => incompatible(alg, &version),
        error => key_error(ctx, word, error),
    })?;
    Ok(json!({ "kid": kid(ctx, &version), "value": encode_base64url(&signed) }))
}

pub(super) fn verify(azure: &Azure, ctx: &RequestContext<'_>) -> Result<Value, AzureError> {
    let (version, word) = version_for(azure, ctx)?;
    let alg = ctx.input.required_string("alg")?;
    let how = signature(alg).ok_or_else(|| unknown(alg))?;
    if !matches_curve(alg, version.algorithm) {
        return Err(incompatible(alg, &version));
    }
    let (digest, signature) = (
        ctx.input.required_bytes("digest")?,
        ctx.input.required_bytes("value")?,
    );
    let holds = version.verify(how, SignInput::Digest(&digest), &signature);
    let holds = holds.map_err(|error| match error {
        KeyError::WrongAlgorithm { .. } => incompatible(alg, &version),
        error => key_error(ctx, word, error),
    })?;
    Ok(json!({ "value": holds }))
}

pub(super) fn random_bytes(azure: &Azure, ctx: &RequestContext<'_>) -> Result<Value, AzureError> {
    let count = ctx
        .input
        .integer("count")?
        .ok_or_else(|| super::wire::missing("count"))?;
    let count = usize::try_from(count)
        .ok()
        .filter(|count| (1..=128).contains(count));
    let count = count.ok_or_else(|| {
        AzureError::bad_parameter("Requested random bytes count must be from 1 to 128")
    })?;
    Ok(json!({ "value": encode_base64url(&azure.core.random(count)) }))
}

fn key_error(ctx: &RequestContext<'_>, word: &str, error: KeyError) -> AzureError {
    match ctx.key() {
        Ok(name) => AzureError::from_key_error(name, ctx.call.version.as_deref(), word, error),
        Err(missing) => missing,
    }
}
