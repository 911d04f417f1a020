//! The stored value: round trips, errors with kube-apiserver's messages and order, and arbitrary
//! bytes.

use kmslab_kmsv2::stored::{
    EncryptedDekSourceType, EncryptedObject, StoredError, decode, encode, split, validate,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

fn object() -> EncryptedObject {
    EncryptedObject {
        encrypted_data: vec![1, 2, 3],
        key_id: "1".into(),
        encrypted_dek_source: vec![4, 5, 6],
        annotations: [("kek.kmslab.dev".to_owned(), b"x".to_vec())].into(),
        encrypted_dek_source_type: EncryptedDekSourceType::HkdfSha256XnonceAesGcmSeed.into(),
    }
}

fn any_object() -> impl Strategy<Value = EncryptedObject> {
    let annotations = btree_map("[a-z]{1,8}\\.[a-z]{2,3}", vec(any::<u8>(), 0..40), 0..5);
    (
        vec(any::<u8>(), 1..300),
        ".{1,80}",
        vec(any::<u8>(), 1..1024),
        annotations,
        0..=1i32,
    )
        .prop_map(
            |(
                encrypted_data,
                key_id,
                encrypted_dek_source,
                annotations,
                encrypted_dek_source_type,
            )| EncryptedObject {
                encrypted_data,
                key_id,
                encrypted_dek_source,
                annotations,
                encrypted_dek_source_type,
            },
        )
}

proptest! {
    #[test]
    fn stored_values_round_trip(object in any_object(), provider in "[a-z0-9.-]{1,20}") {
        let value = encode(&provider, &object).unwrap();
        let (name, payload) = split(&value).unwrap();
        prop_assert_eq!(name, provider.as_str());
        prop_assert_eq!(&decode(payload).unwrap(), &object);
        prop_assert_eq!(encode(&provider, &object).unwrap(), value, "the encoding is canonical");
    }

    #[test]
    fn truncated_values_never_panic(object in any_object(), cut in any::<prop::sample::Index>()) {
        let value = encode("p", &object).unwrap();
        let cut = cut.index(value.len());
        if let Some((_, payload)) = split(&value[..cut]) {
            // A message truncated between two fields is valid protobuf; validation then reports the
            // missing field, or only annotations or type are lost.
            if let Ok(read) = decode(payload) {
                prop_assert_ne!(&read, &object);
                prop_assert_eq!(read.encrypted_data, object.encrypted_data);
                prop_assert_eq!(read.encrypted_dek_source, object.encrypted_dek_source);
            }
        }
    }

    #[test]
    fn decoding_arbitrary_bytes_never_panics(bytes in vec(any::<u8>(), 0..400)) {
        let _ = split(&bytes);
        let _ = decode(&bytes);
        let mut prefixed = b"k8s:enc:kms:v2:".to_vec();
        prefixed.extend(bytes);
        let _ = split(&prefixed).map(|(_, payload)| decode(payload));
    }
}

#[test]
fn encoding_matches_protobuf() {
    let value = encode("kmslab", &object()).unwrap();
    let expected = [
        b"k8s:enc:kms:v2:kmslab:".as_slice(),
        b"\x0a\x03\x01\x02\x03",                    // 1: encryptedData
        b"\x12\x011",                               // 2: keyID
        b"\x1a\x03\x04\x05\x06",                    // 3: encryptedDEKSource
        b"\x22\x13\x0a\x0ekek.kmslab.dev\x12\x01x", // 4: annotations
        b"\x28\x01",                                // 5: encryptedDEKSourceType
    ]
    .concat();
    assert_eq!(hex::encode(value), hex::encode(expected));
}

#[test]
fn only_complete_prefixes_split() {
    assert_eq!(
        split(b"k8s:enc:kms:v2:p:x:y"),
        Some(("p", b"x:y".as_slice()))
    );
    assert_eq!(split(b"k8s:enc:kms:v2:p:"), Some(("p", b"".as_slice())));
    for none in [
        b"k8s:enc:kms:v2:p".as_slice(),
        b"k8s:enc:kms:v2::x",
        b"k8s:enc:kms:v1:p:x",
        b"k8s:enc:kms:v2:\xff:x",
        b"",
        b"k8s",
    ] {
        assert_eq!(split(none), None);
    }
}

#[test]
fn validation_errors_follow_upstream_order_and_messages() {
    type Break = fn(&mut EncryptedObject);
    let cases: [(Break, &str); 7] = [
        (
            |object| object.encrypted_dek_source_type = 55,
            "unknown encryptedDEKSourceType: 55",
        ),
        (
            |object| object.encrypted_data.clear(),
            "encrypted data is empty",
        ),
        (
            |object| object.encrypted_dek_source.clear(),
            "failed to validate encrypted DEK source: encrypted DEK source is empty",
        ),
        (
            |object| object.encrypted_dek_source = vec![0; 1025],
            "failed to validate encrypted DEK source: encrypted DEK source is 1025 bytes, which exceeds the max size of 1024",
        ),
        (
            |object| object.key_id.clear(),
            "failed to validate key id: keyID is empty",
        ),
        (
            |object| object.key_id = "k".repeat(1025),
            "failed to validate key id: keyID is 1025 bytes, which exceeds the max size of 1024",
        ),
        (
            |object| object.annotations = [("com".to_owned(), vec![])].into(),
            "failed to validate annotations: annotations: Invalid value: \"com\": should be a domain with at least two segments \
             separated by dots",
        ),
    ];
    // From the last check to the first: each fault is reported before those added earlier.
    let mut broken = object();
    for (case, message) in cases.iter().rev() {
        case(&mut broken);
        assert_eq!(validate(&broken).unwrap_err().to_string(), *message);
        let mut alone = object();
        case(&mut alone);
        assert_eq!(validate(&alone).unwrap_err().to_string(), *message);
        assert!(
            encode("p", &alone).is_err(),
            "what would be refused on reading is not written"
        );
    }
}

#[test]
fn malformed_bytes_and_providers_are_rejected() {
    assert!(matches!(decode(&[0x0a]), Err(StoredError::Malformed(_))));
    // keyID that is not UTF-8
    assert!(matches!(
        decode(&[0x12, 1, 0xff]),
        Err(StoredError::Malformed(_))
    ));
    // An unknown field 99 is skipped; a missing field is reported.
    assert_eq!(decode(&[0x9a, 0x06, 1, 7]), Err(StoredError::NoData));
    assert_eq!(
        encode("a:b", &object()),
        Err(StoredError::Provider("a:b".into()))
    );
    assert_eq!(
        encode("", &object()),
        Err(StoredError::Provider(String::new()))
    );
}
