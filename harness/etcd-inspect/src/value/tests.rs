use proptest::prelude::*;

use super::*;

fn value(prefix: &str, payload: &[u8]) -> Vec<u8> {
    [prefix.as_bytes(), payload].concat()
}

fn object() -> EncryptedObject {
    EncryptedObject {
        encrypted_data: vec![7; 60],
        key_id: "k1-1".to_owned(),
        encrypted_dek_source: vec![1, 2, 3],
        annotations: [("kek.kmslab.dev".to_owned(), b"{}".to_vec())].into(),
        encrypted_dek_source_type: 1,
    }
}

fn reason(bytes: &[u8]) -> (Format, String) {
    match recognise(bytes) {
        Value::Malformed { format, reason, .. } => (format, reason),
        other => panic!("{other:?} is not malformed"),
    }
}

#[test]
fn kms_v2_value_has_provider_and_object() {
    let bytes = stored::encode("p1", &object()).unwrap();
    let Value::KmsV2 {
        provider,
        object: found,
    } = recognise(&bytes)
    else {
        panic!("not KMS v2");
    };
    assert_eq!((provider, *found), ("p1", object()));
}

#[test]
fn kms_v1_value_is_split_by_its_length() {
    let mut payload = vec![0, 3, 9, 9, 9];
    payload.extend([5; 28]);
    let bytes = value("k8s:enc:kms:v1:old:", &payload);
    let expected = Value::KmsV1 {
        provider: "old",
        encrypted_dek: &[9, 9, 9],
        data: &[5; 28],
    };
    assert!(recognise(&bytes) == expected);
}

#[test]
fn local_provider_value_has_key_name_and_data() {
    for (prefix, length, format) in [
        ("k8s:enc:aesgcm:v1:key1:", 28, Format::AesGcm),
        ("k8s:enc:aescbc:v1:key1:", 32, Format::AesCbc),
        ("k8s:enc:secretbox:v1:key1:", 40, Format::Secretbox),
    ] {
        let bytes = value(prefix, &vec![3; length]);
        let found = recognise(&bytes);
        assert_eq!((found.format(), found.name()), (format, Some("key1")));
        assert!(!matches!(found, Value::Malformed { .. }), "{prefix}");
        assert_eq!(reason(&bytes[..bytes.len() - 1]).0, format);
    }
}

#[test]
fn plaintext_value_has_its_object_type() {
    let protobuf = b"k8s\0\n\x0c\n\x02v1\x12\x06Secret\x12\x02hi\x1a\0\"\0";
    assert!(
        recognise(protobuf)
            == Value::Protobuf {
                api_version: "v1".into(),
                kind: "Secret".into()
            }
    );
    assert!(
        recognise(b"{\"apiVersion\":\"e.com/v1\",\"kind\":\"Widget\",\"spec\":{}}\n")
            == Value::Json {
                api_version: "e.com/v1".into(),
                kind: "Widget".into()
            }
    );
    assert!(recognise(&[0xd9, 0xd9, 0xf7, 0xa0]) == Value::Cbor);
}

#[test]
fn unknown_providers_and_other_bytes_are_distinguished() {
    let future = recognise(b"k8s:enc:kms:v3:p1:\x00\x01");
    assert!(
        future
            == Value::UnknownEncrypted {
                prefix: "k8s:enc:kms:v3:p1:".into()
            }
    );
    for bytes in [&b""[..], b"k8s:en", b"k8s", b"hello", &[0xff; 9]] {
        assert!(recognise(bytes) == Value::Unrecognised, "{bytes:?}");
    }
}

#[test]
fn invalid_payloads_have_a_reason() {
    let whole = stored::encode("p1", &object()).unwrap();
    let cut = reason(&whole[..whole.len() - 9]);
    assert_eq!(cut.0, Format::KmsV2);
    assert!(cut.1.contains("not an EncryptedObject"), "{}", cut.1);
    assert_eq!(
        reason(b"k8s:enc:kms:v2:p1:").1,
        "encrypted data is empty",
        "an empty message is an object without data"
    );
    assert_eq!(
        reason(b"k8s:enc:kms:v2:p1").1,
        "the prefix ends without `<name>:`"
    );
    assert_eq!(
        reason(b"k8s:enc:kms:v1::\0\x01a").1,
        "the name in the prefix is empty"
    );
    assert_eq!(
        reason(b"k8s:enc:kms:v1:p:\0\x09abc").1,
        "announces 9 bytes of encrypted DEK, 3 follow"
    );
    assert_eq!(reason(b"k8s\0\xff\xff").0, Format::Protobuf);
}

#[test]
fn invalid_json_is_not_quoted() {
    let (format, reason) = reason(b"{\"kind\": hunter2}");
    assert_eq!(format, Format::Json);
    assert!(!reason.contains("hunter2"), "{reason}");
}

proptest! {
    #[test]
    fn recognise_never_fails(
        prefix in prop::sample::select(vec![
            "", "k8s:enc:", "k8s:enc:kms:v2:p:", "k8s:enc:kms:v1:p:", "k8s:enc:kms:v2:", "k8s\0", "{",
            "k8s:enc:aesgcm:v1:k:", "k8s:enc:aescbc:v1:k:", "k8s:enc:secretbox:v1:k:",
        ]),
        payload in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let bytes = value(prefix, &payload);
        let found = recognise(&bytes);
        let _ = format!("{found:?}");
        if prefix.starts_with("k8s:enc:") {
            prop_assert!(!found.format().is_plaintext());
        }
    }

    #[test]
    fn changed_value_never_panics(at in 0usize..120, to in any::<u8>()) {
        let mut bytes = stored::encode("p1", &object()).unwrap();
        let at = at % bytes.len();
        bytes[at] = to;
        let _ = recognise(&bytes).format();
    }
}

/// As written by k3s and RKE2 after `secrets-encrypt rotate`.
#[test]
fn provider_name_with_colons_is_read_completely() {
    for (scheme, length) in [("aescbc", 48), ("aesgcm", 60), ("secretbox", 80)] {
        let name = format!("{scheme}key-2022-08-04T20:37:15Z");
        let bytes = value(&format!("k8s:enc:{scheme}:v1:{name}:"), &vec![b'A'; length]);
        let found = recognise(&bytes);
        assert_eq!(
            (found.format().as_str(), found.name()),
            (scheme, Some(&*name))
        );
        assert!(!matches!(found, Value::Malformed { .. }), "{found:?}");
    }
    let mut payload = vec![0, 3, 9, 9, 9];
    payload.extend([5; 28]);
    let old = value("k8s:enc:kms:v1:vault:team-a:", &payload);
    assert!(
        recognise(&old)
            == Value::KmsV1 {
                provider: "vault:team-a",
                encrypted_dek: &[9, 9, 9],
                data: &[5; 28]
            }
    );
    // The API server rejects such a name for KMS v2; other writers may use it.
    let new = stored::encode("p1", &object()).unwrap();
    let new = value(
        "k8s:enc:kms:v2:p1:team-a:",
        new.strip_prefix(b"k8s:enc:kms:v2:p1:").unwrap(),
    );
    let Value::KmsV2 { provider, .. } = recognise(&new) else {
        panic!("not KMS v2")
    };
    assert_eq!(provider, "p1:team-a");
}

proptest! {
    /// Ciphertext that looks like a name by chance moves the end of the name, but never makes a
    /// readable value unreadable.
    #[test]
    fn random_data_after_a_plain_name_is_readable(data in proptest::collection::vec(any::<u8>(), 28..200)) {
        let bytes = value("k8s:enc:aesgcm:v1:key1:", &data);
        let found = recognise(&bytes);
        prop_assert!(matches!(found, Value::AesGcm(_)));
        prop_assert!(found.name().is_some_and(|name| name == "key1" || name.starts_with("key1:")));
    }
}
