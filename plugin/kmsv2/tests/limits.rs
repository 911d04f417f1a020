//! The limits, checked with the tables of k8s.io/apiserver v0.36.3 `kmsv2/envelope_test.go`.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use kmslab_kmsv2::limits::{
    LimitError, check_annotations, check_encrypted_dek_source, check_key_id,
};

fn annotations<const N: usize>(all: [(&str, usize); N]) -> BTreeMap<String, Vec<u8>> {
    all.into_iter()
        .map(|(name, len)| (name.to_owned(), vec![b'a'; len]))
        .collect()
}

fn refused(name: &str) -> String {
    check_annotations(&annotations([(name, 3)]))
        .unwrap_err()
        .to_string()
}

fn long(last: usize) -> String {
    format!(
        "{}.{}.{}.{}.k8s.io",
        "a".repeat(63),
        "b".repeat(63),
        "c".repeat(63),
        "d".repeat(last)
    )
}

#[test]
fn valid_annotation_names_are_accepted() {
    let label = format!("{}.k8s.io", "a".repeat(63));
    for name in [
        "a.com",
        "k8s.io",
        "dev.k8s.io",
        "dev.k8s.io.",
        "foo.example.com",
        "this.is.a.really.long.fqdn",
        "bbc.co.uk",
        "10.0.0.1",
        "hyphens-are-good.k8s.io",
        &label,
        &long(54),
    ] {
        assert_eq!(
            check_annotations(&annotations([(name, 3)])),
            Ok(()),
            "{name}"
        );
    }
}

#[test]
fn invalid_annotation_names_are_rejected() {
    let subdomain = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
        start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
        '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    for name in [
        "@",
        "...",
        ".io",
        ".com",
        "Dev.k8s.io",
        ".foo.example.com",
        "*.example.com",
        "*.bar.com",
        "*.foo.bar.com",
        "underscores_are_bad.k8s.io",
        "foo@bar.example.com",
        "http://foo.example.com",
        "-a.example.com",
        "a-.example.com",
        "a..b",
        "é.example.com",
    ] {
        let displayed = name.strip_suffix('.').unwrap_or(name);
        assert_eq!(
            refused(name),
            format!("annotations: Invalid value: {displayed:?}: {subdomain}")
        );
    }
    assert!(refused(".").contains(subdomain));
    assert_eq!(refused(""), "annotations: Required value");
    let segments = "should be a domain with at least two segments separated by dots";
    assert_eq!(
        refused("com"),
        format!("annotations: Invalid value: \"com\": {segments}")
    );
    assert_eq!(
        refused("com."),
        format!("annotations: Invalid value: \"com\": {segments}")
    );
    let label = "a".repeat(64);
    let expected =
        format!("annotations: Invalid value: \"{label}\": must be no more than 63 characters");
    assert_eq!(refused(&format!("{label}.k8s.io")), expected);
    assert!(refused(&long(55)).ends_with("must be no more than 253 characters"));
    let both = format!("{}_", "a".repeat(253));
    assert!(
        refused(&both)
            .contains("must be no more than 253 characters,a lowercase RFC 1123 subdomain")
    );
}

#[test]
fn total_annotation_size_is_limited() {
    let (kib, name) = (1024, "k8s.io");
    assert_eq!(check_annotations(&BTreeMap::new()), Ok(()));
    assert_eq!(
        check_annotations(&annotations([(name, 32 * kib - 6)])),
        Ok(())
    );
    let over = check_annotations(&annotations([(name, 32 * kib - 5)])).unwrap_err();
    assert_eq!(
        over.to_string(),
        "total size of annotations is 32769, which exceeds the max size of 32768"
    );
    let split = check_annotations(&annotations([("a.io", 31 * kib), ("b.io", kib)])).unwrap_err();
    assert!(split.to_string().contains("which exceeds the max size of"));
}

#[test]
fn several_errors_are_joined_in_brackets_without_duplicates() {
    let faults = check_annotations(&annotations([("com", 33 * 1024), ("org", 1)]))
        .unwrap_err()
        .to_string();
    let segments = "should be a domain with at least two segments separated by dots";
    assert_eq!(
        faults,
        format!(
            "[annotations: Invalid value: \"com\": {segments}, annotations: Invalid value: \"org\": {segments}, \
             total size of annotations is 33799, which exceeds the max size of 32768]"
        )
    );
    // Both names show the same invalid label, so there is one message without brackets.
    let label = "a".repeat(64);
    let twice = annotations([(&*format!("{label}.io"), 1), (&*format!("{label}.de"), 1)]);
    assert!(
        check_annotations(&twice)
            .unwrap_err()
            .to_string()
            .starts_with("annotations: ")
    );
}

#[test]
fn key_ids_and_ciphertexts_are_1_to_1024_bytes() {
    assert_eq!(check_key_id("1234"), Ok(()));
    assert_eq!(check_key_id(&"a".repeat(1024)), Ok(()));
    assert_eq!(check_key_id("").unwrap_err().to_string(), "keyID is empty");
    let long = check_key_id(&"a".repeat(1025)).unwrap_err();
    assert_eq!(
        (&long, long.to_string().as_str()),
        (
            &LimitError::KeyIdTooLong(1025),
            "keyID is 1025 bytes, which exceeds the max size of 1024"
        )
    );
    // Bytes count, not characters.
    assert_eq!(
        check_key_id(&"é".repeat(513)),
        Err(LimitError::KeyIdTooLong(1026))
    );

    assert_eq!(check_encrypted_dek_source(&[1, 2, 3]), Ok(()));
    assert_eq!(check_encrypted_dek_source(&[0; 1024]), Ok(()));
    assert_eq!(
        check_encrypted_dek_source(&[]).unwrap_err().to_string(),
        "encrypted DEK source is empty"
    );
    let long = check_encrypted_dek_source(&[0; 1025])
        .unwrap_err()
        .to_string();
    assert_eq!(
        long,
        "encrypted DEK source is 1025 bytes, which exceeds the max size of 1024"
    );
}
