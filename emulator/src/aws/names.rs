//! ARNs, key ids, realms, and the enums of the API model.

use kmslab_keycore::{KeyId, Realm};

use super::Caller;

/// The realm of an account and region.
pub(crate) fn realm(account: &str, region: &str) -> Realm {
    Realm::new(["aws/", account, "/", region].concat())
}

/// Account and region of a realm from [`realm`].
pub(crate) fn account_and_region(realm: &Realm) -> Option<(&str, &str)> {
    realm.as_str().strip_prefix("aws/")?.split_once('/')
}

/// Region prefixes of the other partitions (botocore's partitions.json).
const PARTITIONS: &[(&str, &str)] = &[
    ("cn-", "aws-cn"),
    ("us-gov-", "aws-us-gov"),
    ("us-iso-", "aws-iso"),
    ("us-isob-", "aws-iso-b"),
    ("eu-isoe-", "aws-iso-e"),
    ("us-isof-", "aws-iso-f"),
    ("eusc-", "aws-eusc"),
];

fn partition(region: &str) -> &'static str {
    PARTITIONS
        .iter()
        .find(|(prefix, _)| region.starts_with(prefix))
        .map_or("aws", |(_, partition)| partition)
}

fn arn(account: &str, region: &str, kind: &str, name: &str) -> String {
    // Not by format!, which is slower: each audit event has an ARN.
    let parts = [
        "arn:",
        partition(region),
        ":kms:",
        region,
        ":",
        account,
        ":",
        kind,
        name,
    ];
    parts.concat()
}

/// `arn:aws:kms:REGION:ACCOUNT:key/ID`.
pub(crate) fn key_arn(account: &str, region: &str, id: &str) -> String {
    arn(account, region, "key/", id)
}

/// The ARN of an alias; `name` starts with `alias/`.
pub(crate) fn alias_arn(caller: &Caller, name: &str) -> String {
    arn(&caller.account, &caller.region, "", name)
}

/// The caller as an IAM user, as error messages show it.
pub(crate) fn user_arn(caller: &Caller) -> String {
    format!(
        "arn:{}:iam::{}:user/{}",
        partition(&caller.region),
        caller.account,
        caller.access_key_id
    )
}

/// The account's root, as key policies name it.
pub(crate) fn root_arn(caller: &Caller) -> String {
    format!(
        "arn:{}:iam::{}:root",
        partition(&caller.region),
        caller.account
    )
}

/// A text that names a key or an alias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name<'a> {
    /// A key id, not yet validated.
    Id(&'a str),
    /// `alias/…`.
    Alias(&'a str),
}

/// The parts of a KMS ARN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arn<'a> {
    pub(crate) region: &'a str,
    pub(crate) account: &'a str,
    pub(crate) name: Name<'a>,
}

impl<'a> Arn<'a> {
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        let (scheme, partition_, service) = (parts.next()?, parts.next()?, parts.next()?);
        let (region, account, resource) = (parts.next()?, parts.next()?, parts.next()?);
        if scheme != "arn"
            || service != "kms"
            || partition_ != partition(region)
            || region.is_empty()
        {
            return None;
        }
        let name = match resource.strip_prefix("key/") {
            Some(id) => Name::Id(id),
            None if resource.starts_with("alias/") => Name::Alias(resource),
            None => return None,
        };
        Some(Self {
            region,
            account,
            name,
        })
    }
}

/// Checks the form of a key id: a lower-case UUID with dashes, or `mrk-` and 32 hex digits.
pub(crate) fn is_key_id(text: &str) -> bool {
    let hex = |part: &str| {
        part.bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    if let Some(rest) = text.strip_prefix("mrk-") {
        return rest.len() == 32 && hex(rest);
    }
    let parts = || text.split('-');
    parts().map(str::len).eq([8, 4, 4, 4, 12]) && parts().all(hex)
}

/// The id of a new key.
pub(crate) fn new_key_id(id: uuid::Uuid, multi_region: bool) -> KeyId {
    KeyId::new(if multi_region {
        format!("mrk-{}", id.simple())
    } else {
        id.hyphenated().to_string()
    })
}

/// Reports whether a key id is of a multi-Region key.
pub(crate) fn is_multi_region(id: &KeyId) -> bool {
    id.as_str().starts_with("mrk-")
}

/// The only key spec that can be created.
pub(crate) const SYMMETRIC_DEFAULT: &str = "SYMMETRIC_DEFAULT";
/// The only usage of such keys.
pub(crate) const ENCRYPT_DECRYPT: &str = "ENCRYPT_DECRYPT";
/// The only origin of key material.
pub(crate) const AWS_KMS: &str = "AWS_KMS";

// Enums of the API model in its order. The order in which the service lists them in errors is
// recorded for few of them.

/// `KeySpec`.
pub(crate) const KEY_SPECS: &[&str] = &[
    "RSA_2048",
    "RSA_3072",
    "RSA_4096",
    "ECC_NIST_P256",
    "ECC_NIST_P384",
    "ECC_NIST_P521",
    "ECC_SECG_P256K1",
    SYMMETRIC_DEFAULT,
    "HMAC_224",
    "HMAC_256",
    "HMAC_384",
    "HMAC_512",
    "SM2",
    "ML_DSA_44",
    "ML_DSA_65",
    "ML_DSA_87",
    "ECC_NIST_EDWARDS25519",
    "ML_KEM_512",
    "ML_KEM_768",
    "ML_KEM_1024",
];
/// `KeyUsage`.
pub(crate) const KEY_USAGES: &[&str] = &[
    "SIGN_VERIFY",
    ENCRYPT_DECRYPT,
    "GENERATE_VERIFY_MAC",
    "KEY_AGREEMENT",
    "ENCAPSULATE_DECAPSULATE",
];

/// The usages that a key spec allows.
pub(crate) fn allowed_usages(spec: &str) -> &'static [&'static str] {
    match spec {
        SYMMETRIC_DEFAULT => &[ENCRYPT_DECRYPT],
        "RSA_2048" | "RSA_3072" | "RSA_4096" => &[ENCRYPT_DECRYPT, "SIGN_VERIFY"],
        "ECC_NIST_P256" | "ECC_NIST_P384" | "ECC_NIST_P521" => &["SIGN_VERIFY", "KEY_AGREEMENT"],
        "SM2" => &[ENCRYPT_DECRYPT, "SIGN_VERIFY", "KEY_AGREEMENT"],
        "HMAC_224" | "HMAC_256" | "HMAC_384" | "HMAC_512" => &["GENERATE_VERIFY_MAC"],
        "ML_KEM_512" | "ML_KEM_768" | "ML_KEM_1024" => &["ENCAPSULATE_DECAPSULATE"],
        _ => &["SIGN_VERIFY"],
    }
}
/// `Origin`.
pub(crate) const ORIGINS: &[&str] = &[AWS_KMS, "EXTERNAL", "AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"];
/// `EncryptionAlgorithm`.
pub(crate) const ENCRYPTION_ALGORITHMS: &[&str] = &[
    SYMMETRIC_DEFAULT,
    "RSAES_OAEP_SHA_1",
    "RSAES_OAEP_SHA_256",
    "SM2PKE",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_ids_are_lower_case_uuids() {
        assert!(is_key_id("1234abcd-12ab-34cd-56ef-1234567890ab"));
        assert!(is_key_id("mrk-1234abcd12ab34cd56ef1234567890ab"));
        for not in [
            "",
            "1234abcd12ab34cd56ef1234567890ab",
            "mrk-fake",
            "1234ABCD-12ab-34cd-56ef-1234567890ab",
            "----",
        ] {
            assert!(!is_key_id(not), "{not}");
        }
    }

    #[test]
    fn arns_round_trip() {
        let text = key_arn("123456789012", "cn-north-1", "x");
        assert_eq!(text, "arn:aws-cn:kms:cn-north-1:123456789012:key/x");
        let parsed = Arn {
            region: "cn-north-1",
            account: "123456789012",
            name: Name::Id("x"),
        };
        assert_eq!(Arn::parse(&text), Some(parsed));
        for not in [
            "arn:aws:s3:::b",
            "arn:aws:kms:cn-north-1:1:key/x",
            "arn:aws:kms:us-east-1:1:grant/x",
            "arn:::",
        ] {
            assert_eq!(Arn::parse(not), None, "{not}");
        }
        let here = realm("123456789012", "us-gov-west-1");
        assert_eq!(
            account_and_region(&here),
            Some(("123456789012", "us-gov-west-1"))
        );
    }
}
