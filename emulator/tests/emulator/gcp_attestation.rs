//! Attestations of HSM keys, parsed as Marvell's parser does and verified as Google's
//! `verify_attestation.py` does.

use std::collections::BTreeMap;
use std::io::Read as _;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::gcp_iam::until;
use crate::gcp_rest::{RING, rest, with_key};

const SIGNATURE: usize = 256;

fn word(bytes: &[u8], at: usize) -> usize {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

fn half(bytes: &[u8], at: usize) -> usize {
    u16::from_be_bytes(bytes[at..at + 2].try_into().unwrap()).into()
}

/// The attributes of each object.
fn parsed(attestation: &[u8]) -> Vec<BTreeMap<usize, Vec<u8>>> {
    let data = &attestation[word(attestation, 8) - (word(attestation, 12) + SIGNATURE)..];
    let offsets = [half(data, 4), half(data, 6)]
        .into_iter()
        .filter(|offset| *offset > 0);
    offsets.map(|offset| attributes(&data[offset..])).collect()
}

fn attributes(object: &[u8]) -> BTreeMap<usize, Vec<u8>> {
    let (count, mut rest, mut all) = (word(object, 4), &object[12..], BTreeMap::new());
    for _ in 0..count {
        let (kind, length) = (word(rest, 0), word(rest, 4));
        all.insert(kind, rest[8..8 + length].to_vec());
        rest = &rest[8 + length..];
    }
    all
}

fn signed_by(pem: &str, attestation: &[u8]) -> bool {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    let certificate = pem.parse_x509().unwrap();
    let key = &certificate.public_key().subject_public_key.data;
    let (message, signature) = attestation.split_at(attestation.len() - SIGNATURE);
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key)
        .verify(message, signature)
        .is_ok()
}

#[tokio::test]
async fn hsm_versions_have_attestations_and_software_versions_do_not() {
    let (emulator, token) = with_key().await;
    let go = async |method: &str, path: &str, body: Value| {
        rest(
            &emulator,
            Some(&token),
            method,
            &format!("/v1/{RING}/{path}"),
            body,
        )
        .await
    };
    for (id, purpose, algorithm, classes) in [
        (
            "secret",
            "ENCRYPT_DECRYPT",
            "GOOGLE_SYMMETRIC_ENCRYPTION",
            &[4][..],
        ),
        (
            "rsa",
            "ASYMMETRIC_SIGN",
            "RSA_SIGN_PKCS1_2048_SHA256",
            &[2, 3],
        ),
        ("ec", "ASYMMETRIC_SIGN", "EC_SIGN_P256_SHA256", &[2, 3]),
    ] {
        let template = json!({ "algorithm": algorithm, "protectionLevel": "HSM" });
        let body = json!({ "purpose": purpose, "versionTemplate": template });
        assert_eq!(
            go("POST", &format!("cryptoKeys?cryptoKeyId={id}"), body)
                .await
                .status,
            200
        );
        let path = format!("cryptoKeys/{id}/cryptoKeyVersions/1");
        let displayed = until(
            &emulator,
            Some(&token),
            &format!("{RING}/{path}"),
            "ENABLED",
        )
        .await;
        let attestation = &displayed["attestation"];
        assert_eq!(attestation["format"], "CAVIUM_V2_COMPRESSED");
        let content = STANDARD
            .decode(attestation["content"].as_str().unwrap())
            .unwrap();
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(content.as_slice())
            .read_to_end(&mut bytes)
            .unwrap();
        assert_eq!(word(&bytes, 8), bytes.len(), "{id}");
        let objects = parsed(&bytes);
        assert_eq!(
            objects
                .iter()
                .map(|object| object[&0x0000][0])
                .collect::<Vec<_>>(),
            classes,
            "{id}"
        );
        for object in &objects {
            assert_eq!(object[&0x0102], format!("{RING}/{path}").as_bytes());
            let secret = object[&0x0000] != [2];
            assert_eq!(
                (object[&0x0162] == [0], object[&0x0164] == [1]),
                (secret, secret),
                "{id}"
            );
        }
        for chain in ["caviumCerts", "googleCardCerts", "googlePartitionCerts"] {
            let leaf = attestation["certChains"][chain][0].as_str().unwrap();
            assert!(signed_by(leaf, &bytes), "{id}: {chain}");
            bytes[20] ^= 1;
            assert!(!signed_by(leaf, &bytes), "{id}: {chain}");
            bytes[20] ^= 1;
        }
    }
    let software = go("GET", "cryptoKeys/k/cryptoKeyVersions/1", Value::Null)
        .await
        .json;
    assert_eq!(software.get("attestation"), None);
}
