//! Key encapsulation and raw RSA signatures in Cloud KMS, checked against independent
//! implementations.

use aws_lc_rs::kem::{EncapsulationKey, ML_KEM_768, ML_KEM_1024};
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::gcp_iam::version;
use crate::gcp_rest::{base64, rest, with_key};

fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn decapsulate_returns_the_secret_encapsulated_to_the_public_key() {
    let (emulator, token) = with_key().await;
    let token = Some(token.as_str());
    for (algorithm, kem) in [("ML_KEM_768", &ML_KEM_768), ("ML_KEM_1024", &ML_KEM_1024)] {
        let version = version(&emulator, token, "KEY_ENCAPSULATION", algorithm).await;
        let path = format!("/v1/{version}/publicKey");
        // The service requires the format of such a public key to be named.
        assert_eq!(
            rest(&emulator, token, "GET", &path, Value::Null)
                .await
                .status,
            400
        );
        let public = rest(
            &emulator,
            token,
            "GET",
            &format!("{path}?publicKeyFormat=NIST_PQC"),
            Value::Null,
        )
        .await;
        assert_eq!(
            public.json["publicKeyFormat"], "NIST_PQC",
            "{}",
            public.text
        );
        let public = EncapsulationKey::new(kem, &bytes(&public.json["publicKey"]["data"])).unwrap();
        let (ciphertext, secret) = public.encapsulate().unwrap();

        let path = format!("/v1/{version}:decapsulate");
        let go = async |ciphertext: &[u8]| {
            rest(
                &emulator,
                token,
                "POST",
                &path,
                json!({ "ciphertext": base64(ciphertext) }),
            )
            .await
        };
        let answer = go(ciphertext.as_ref()).await;
        assert_eq!(
            bytes(&answer.json["sharedSecret"]),
            secret.as_ref(),
            "{algorithm}: {}",
            answer.text
        );
        assert_eq!(go(&ciphertext.as_ref()[1..]).await.status, 400);
        let mut forged = ciphertext.as_ref().to_vec();
        forged[7] ^= 1;
        let answer = go(&forged).await;
        assert!(
            answer.status == 200 && bytes(&answer.json["sharedSecret"]) != secret.as_ref(),
            "{algorithm}"
        );
    }

    let wing = version(&emulator, token, "KEY_ENCAPSULATION", "KEM_XWING").await;
    let path = format!("/v1/{wing}/publicKey?publicKeyFormat=XWING_RAW_BYTES");
    let public = rest(&emulator, token, "GET", &path, Value::Null).await;
    assert_eq!(
        bytes(&public.json["publicKey"]["data"]).len(),
        1216,
        "{}",
        public.text
    );
    let body = json!({ "ciphertext": base64(&[0; 1120]) });
    let answer = rest(
        &emulator,
        token,
        "POST",
        &format!("/v1/{wing}:decapsulate"),
        body,
    )
    .await;
    assert_eq!(
        bytes(&answer.json["sharedSecret"]).len(),
        32,
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn raw_rsa_over_digest_info_equals_a_pkcs1_signature() {
    // DigestInfo of SHA-256 (RFC 8017, 9.2).
    const SHA_256: &str = "3031300d060960864801650304020105000420";
    let (emulator, token) = with_key().await;
    let token = Some(token.as_str());
    let version = version(
        &emulator,
        token,
        "ASYMMETRIC_SIGN",
        "RSA_SIGN_RAW_PKCS1_2048",
    )
    .await;
    let public = rest(
        &emulator,
        token,
        "GET",
        &format!("/v1/{version}/publicKey"),
        Value::Null,
    )
    .await
    .json;
    let lines = public["pem"]
        .as_str()
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect::<String>();
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, STANDARD.decode(lines).unwrap());

    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"message");
    let info = [hex::decode(SHA_256).unwrap(), digest.as_ref().to_vec()].concat();
    let path = format!("/v1/{version}:asymmetricSign");
    let signed = rest(
        &emulator,
        token,
        "POST",
        &path,
        json!({ "data": base64(&info) }),
    )
    .await;
    key.verify(b"message", &bytes(&signed.json["signature"]))
        .unwrap();

    for (length, status) in [(245, 200), (246, 400)] {
        let answer = rest(
            &emulator,
            token,
            "POST",
            &path,
            json!({ "data": base64(&vec![7; length]) }),
        )
        .await;
        assert_eq!(answer.status, status, "{length}: {}", answer.text);
    }
    let digest = json!({ "digest": { "sha256": base64(digest.as_ref()) } });
    assert_eq!(
        rest(&emulator, token, "POST", &path, digest).await.status,
        400
    );
}
