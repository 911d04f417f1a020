//! Names of vaults, keys and versions, and their URLs.

use std::fmt;

use kmslab_keycore::{KeyId, Realm, VersionId};

use super::data::Key;
use super::identity::{HSM_RESOURCE, VAULT_RESOURCE};

const VAULT_SUFFIX: &str = ".vault.azure.net";
/// Suffix of all Key Vault hosts. A managed HSM's name here includes [`HSM`], so that no vault can
/// have it.
const SUFFIX: &str = ".azure.net";
pub(super) const HSM: &str = ".managedhsm";
const REALM_PREFIX: &str = "azure/";

/// A key name: 1 to 127 letters, digits and dashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyName(String);

impl KeyName {
    /// Parses a name. Names are compared without regard to case and returned as they were first
    /// written.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let fits = (1..=127).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        fits.then(|| Self(text.to_owned()))
    }

    pub(crate) fn id(&self) -> KeyId {
        KeyId::new(self.0.to_ascii_lowercase())
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks a vault name: 3 to 24 letters, digits and dashes; a letter first, no dash last, no two
/// dashes in a row.
pub(crate) fn is_vault_name(text: &str) -> bool {
    (3..=24).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && !text.ends_with('-')
        && !text.contains("--")
}

/// The realm of a vault.
pub(crate) fn realm(vault: &str) -> Realm {
    Realm::new(format!("{REALM_PREFIX}{}", vault.to_ascii_lowercase()))
}

/// The vault of a realm.
pub(crate) fn vault_name(realm: &Realm) -> Option<&str> {
    realm.as_str().strip_prefix(REALM_PREFIX)
}

/// Reports whether a vault is a managed HSM, by its name.
pub(crate) fn is_managed_hsm(vault: &str) -> bool {
    vault.len() > HSM.len() && vault.to_ascii_lowercase().ends_with(HSM)
}

/// Public URL of a vault, `https://NAME.vault.azure.net`, whatever host the request used.
pub(crate) fn vault_url(vault: &str) -> String {
    let suffix = if is_managed_hsm(vault) {
        SUFFIX
    } else {
        VAULT_SUFFIX
    };
    format!("https://{}{suffix}", vault.to_ascii_lowercase())
}

/// The vault or managed HSM of a host without port.
pub(crate) fn vault_at(host: &str) -> Option<&str> {
    host.strip_suffix(VAULT_SUFFIX).or_else(|| {
        host.strip_suffix(SUFFIX)
            .filter(|name| is_managed_hsm(name))
    })
}

/// The resource that a vault accepts tokens for.
pub(crate) fn resource(vault: &str) -> &'static str {
    if is_managed_hsm(vault) {
        HSM_RESOURCE
    } else {
        VAULT_RESOURCE
    }
}

/// A version's name: 32 hexadecimal digits.
pub(crate) fn version_name(version: &VersionId) -> String {
    hex::encode(&version.as_bytes()[..16])
}

/// Reports whether a version has the name `text`.
pub(crate) fn is_version_name(version: &VersionId, text: &str) -> bool {
    version_name(version).eq_ignore_ascii_case(text)
}

/// The URL of a key.
pub(crate) fn key_url(vault: &str, key: &Key) -> String {
    format!("{}/keys/{}", vault_url(vault), key.data.name)
}

/// The URL that a key of this name would have.
pub(crate) fn key_url_of(vault: &str, name: &KeyName) -> String {
    format!("{}/keys/{name}", vault_url(vault))
}

/// The URL of a version: its `kid`.
pub(crate) fn kid(vault: &str, key: &Key, version: &VersionId) -> String {
    format!("{}/{}", key_url(vault, key), version_name(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managed_hsm_hosts_are_distinct_from_vault_hosts() {
        for (host, name) in [
            ("abc.vault.azure.net", Some("abc")),
            ("abc.managedhsm.azure.net", Some("abc.managedhsm")),
            (".managedhsm.azure.net", None),
            ("managedhsm.azure.net", None),
            ("abc.azure.net", None),
        ] {
            assert_eq!(vault_at(host), name, "{host}");
            if let Some(name) = name {
                assert_eq!(vault_url(name), format!("https://{host}"));
            }
        }
        assert_eq!(
            (resource("abc"), resource("abc.managedhsm")),
            (VAULT_RESOURCE, HSM_RESOURCE)
        );
    }

    #[test]
    fn names_follow_the_services_rules() {
        for good in ["a", "my-key", "K8s", &"a".repeat(127)] {
            assert!(KeyName::parse(good).is_some(), "{good}");
        }
        for bad in ["", "a_b", "a.b", "ä", "a/b", &"a".repeat(128)] {
            assert!(KeyName::parse(bad).is_none(), "{bad}");
        }
        for good in ["abc", "k8s-kms-vault", "A1b"] {
            assert!(is_vault_name(good), "{good}");
        }
        for bad in ["ab", "1ab", "a--b", "abc-", "a_c", &"a".repeat(25)] {
            assert!(!is_vault_name(bad), "{bad}");
        }
    }
}
