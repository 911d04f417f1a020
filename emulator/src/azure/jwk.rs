//! Key types, curves and JSON Web Keys.

use kmslab_keycore::{Algorithm, Curve, ImportedMaterial, PublicKey, RsaParts};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::AzureError;
use super::wire::{Input, encode_base64url, invalid, missing};

/// A key type with its algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyType {
    /// The type as requested, with or without `-HSM`.
    pub(super) kty: &'static str,
    pub(super) algorithm: Algorithm,
}

const CURVES: &[(&str, Curve)] = &[
    ("P-256", Curve::P256),
    ("P-384", Curve::P384),
    ("P-521", Curve::P521),
    ("P-256K", Curve::Secp256k1),
];
const TYPES: &[&str] = &["RSA", "RSA-HSM", "EC", "EC-HSM", "oct", "oct-HSM"];

/// The type as the service spells it.
pub(super) fn kty(text: &str) -> Result<&'static str, AzureError> {
    let known = TYPES
        .iter()
        .find(|known| known.eq_ignore_ascii_case(text))
        .copied();
    known.ok_or_else(|| {
        AzureError::bad_parameter(format!("Property kty has an invalid value: {text}"))
    })
}

impl KeyType {
    /// The key type of a create request. A managed HSM keeps all keys in hardware, with or without
    /// `-HSM` in the request.
    pub(super) fn from_request(input: &Input, is_managed_hsm: bool) -> Result<Self, AzureError> {
        let kty = match kty(input.required_string("kty")?)? {
            kty if is_managed_hsm => in_hardware(kty),
            kty => kty,
        };
        let size = input.integer("key_size")?;
        let algorithm = match kty {
            "RSA" | "RSA-HSM" => {
                // The Java client sends 0 for the default.
                if let Some(exponent) = input
                    .integer("public_exponent")?
                    .filter(|given| ![0, 65_537].contains(given))
                {
                    return Err(AzureError::bad_parameter(format!(
                        "Property public_exponent has an invalid value: {exponent}"
                    )));
                }
                match size.unwrap_or(2048) {
                    2048 => Algorithm::Rsa { bits: 2048 },
                    3072 => Algorithm::Rsa { bits: 3072 },
                    4096 => Algorithm::Rsa { bits: 4096 },
                    _ => return Err(AzureError::bad_parameter("Invalid key size for RSA")),
                }
            }
            "EC" | "EC-HSM" => Algorithm::Ec(curve(input.string("crv")?.unwrap_or("P-256"))?),
            "oct-HSM" => match size.unwrap_or(256) {
                128 => Algorithm::Aes { bits: 128 },
                192 => Algorithm::Aes { bits: 192 },
                256 => Algorithm::AES_256,
                _ => return Err(AzureError::bad_parameter("Invalid key size for oct-HSM")),
            },
            // A vault keeps symmetric keys in hardware only.
            _ => {
                return Err(AzureError::bad_parameter(format!(
                    "Property kty has an invalid value: {kty}"
                )));
            }
        };
        Ok(Self { kty, algorithm })
    }

    /// The key operations of a key whose request lists none.
    pub(super) fn operations(self) -> &'static [&'static str] {
        match self.algorithm {
            Algorithm::Ec(_) => &["sign", "verify"],
            Algorithm::Aes { .. } => &["encrypt", "decrypt", "wrapKey", "unwrapKey"],
            _ => &[
                "encrypt",
                "decrypt",
                "sign",
                "verify",
                "wrapKey",
                "unwrapKey",
            ],
        }
    }
}

/// The name of a curve in a JSON Web Key. Vaults have no others.
pub(super) fn curve_name(curve: Curve) -> &'static str {
    let known = CURVES.iter().find(|(_, known)| *known == curve);
    known.map_or("", |(name, _)| name)
}

fn in_hardware(kty: &'static str) -> &'static str {
    match kty {
        "RSA" => "RSA-HSM",
        "EC" => "EC-HSM",
        "oct" => "oct-HSM",
        kty => kty,
    }
}

fn curve(text: &str) -> Result<Curve, AzureError> {
    // The first versions of the API used this name for secp256k1.
    let text = if text == "SECP256K1" { "P-256K" } else { text };
    let known = CURVES.iter().find(|(name, _)| *name == text);
    known
        .map(|(_, curve)| *curve)
        .ok_or_else(|| AzureError::bad_parameter(format!("Unsupported curve: {text}")))
}

/// The key of an import request.
pub(super) fn from_jwk(jwk: &Input, hsm: bool) -> Result<(KeyType, ImportedMaterial), AzureError> {
    let kty = kty(jwk.required_string("kty")?)?;
    let part = |name: &str| jwk.required_bytes(name).map(Zeroizing::new);
    let material = match kty {
        "RSA" | "RSA-HSM" => {
            let (n, e) = (part("n")?, part("e")?);
            if !matches!(
                n.iter().skip_while(|byte| **byte == 0).count(),
                256 | 384 | 512
            ) {
                return Err(AzureError::bad_parameter("Invalid key size for RSA"));
            }
            let (d, p, q) = (part("d")?, part("p")?, part("q")?);
            let (d_p, d_q, q_inv) = (part("dp")?, part("dq")?, part("qi")?);
            let parts = RsaParts {
                n: &n,
                e: &e,
                d: &d,
                p: &p,
                q: &q,
                d_p: &d_p,
                d_q: &d_q,
                q_inv: &q_inv,
            };
            ImportedMaterial::rsa(&parts)
        }
        "EC" | "EC-HSM" => {
            let curve = curve(jwk.string("crv")?.ok_or_else(|| missing("crv"))?)?;
            ImportedMaterial::ec(curve, &part("d")?, &part("x")?, &part("y")?)
        }
        _ => ImportedMaterial::aes(&part("k")?),
    };
    let material = material.map_err(|_| invalid("key"))?;
    let kty = if hsm || kty == "oct" {
        in_hardware(kty)
    } else {
        kty
    };
    Ok((
        KeyType {
            kty,
            algorithm: material.algorithm(),
        },
        material,
    ))
}

/// The public members of a bundle's `key`. Symmetric keys have none.
pub(super) fn public_members(key: Option<&PublicKey>) -> Map<String, Value> {
    let mut members = Map::new();
    match key {
        Some(PublicKey::Rsa { n, e, .. }) => {
            members.insert("n".into(), encode_base64url(n));
            members.insert("e".into(), encode_base64url(e));
        }
        Some(PublicKey::Ec { curve, x, y, .. }) => {
            members.insert("crv".into(), curve_name(*curve).into());
            members.insert("x".into(), encode_base64url(x));
            members.insert("y".into(), encode_base64url(y));
        }
        // Vaults have no such keys.
        Some(PublicKey::Kem(_)) | None => {}
    }
    members
}
