//! The configured key: a vault by name or URL, a key in it, and optionally a version.

use azure_core::http::Url;

use super::cloud::AzureCloud;

/// Why the flags do not name a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{flag} {given:?} cannot be used: {reason}")]
pub struct NameError {
    flag: &'static str,
    given: String,
    reason: &'static str,
}

/// A key in a vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyName {
    /// URL of the vault, such as `https://NAME.vault.azure.net`, without trailing slash.
    pub(super) vault: String,
    pub(super) key: String,
    /// `None` means the newest version.
    pub(super) version: Option<String>,
}

impl KeyName {
    /// Parses `--keyvault-name` or `--vault-url`, `--key-name` and `--key-version`.
    pub(super) fn parse(
        vault: &Vault,
        cloud: AzureCloud,
        key: &str,
        version: Option<&str>,
    ) -> Result<Self, NameError> {
        let error = |flag, given: &str, reason| NameError {
            flag,
            given: given.to_owned(),
            reason,
        };
        let vault = match vault {
            Vault::Name(name) => {
                let fits = (3..=24).contains(&name.len())
                    && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
                if !fits {
                    let reason = "a vault's name has 3 to 24 letters, digits and dashes; for a vault elsewhere give --vault-url";
                    return Err(error("--keyvault-name", name, reason));
                }
                format!(
                    "https://{}{}",
                    name.to_ascii_lowercase(),
                    cloud.vault_suffix()
                )
            }
            Vault::Url(given) => {
                let bad = |reason| error("--vault-url", given, reason);
                let url: Url = given
                    .parse()
                    .map_err(|_| bad("it is not a URL such as https://my-vault.vault.azure.net"))?;
                if url.scheme() != "https" {
                    return Err(bad("Key Vault is reached by https:// only"));
                }
                if url.host_str().is_none() || url.query().is_some() || url.fragment().is_some() {
                    return Err(bad("it must be a vault's own URL, without a query"));
                }
                given.trim_end_matches('/').to_owned()
            }
        };
        if key.is_empty()
            || key.len() > 127
            || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        {
            return Err(error(
                "--key-name",
                key,
                "a key's name has 1 to 127 letters, digits and dashes",
            ));
        }
        if let Some(version) = version.filter(|version| {
            version.len() != 32 || !version.bytes().all(|b| b.is_ascii_hexdigit())
        }) {
            return Err(error(
                "--key-version",
                version,
                "a version's name has 32 hexadecimal digits; leave it out to follow rotations",
            ));
        }
        Ok(Self {
            vault,
            key: key.to_owned(),
            version: version.map(str::to_ascii_lowercase),
        })
    }

    /// The key as messages show it.
    pub(super) fn display_name(&self) -> String {
        format!("{}/keys/{}", self.vault, self.key)
    }
}

/// How a vault is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vault {
    /// By its name, in Azure's public cloud.
    Name(String),
    /// By its URL.
    Url(String),
}

/// Splits the `kid` of a response into the key's URL and the version.
pub(super) fn split_kid(kid: &str) -> Option<(String, String)> {
    let (key, version) = kid.trim_end_matches('/').rsplit_once('/')?;
    let (_, name) = key.rsplit_once("/keys/")?;
    (!name.is_empty() && !version.is_empty())
        .then(|| (key.to_ascii_lowercase(), version.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Vault {
        Vault::Name(name.into())
    }

    #[test]
    fn vault_is_given_by_name_or_url() {
        let by_name =
            KeyName::parse(&named("K8s-KMS"), AzureCloud::Public, "k8s-secrets", None).unwrap();
        assert_eq!(
            by_name.display_name(),
            "https://k8s-kms.vault.azure.net/keys/k8s-secrets"
        );
        let gov = KeyName::parse(
            &named("K8s-KMS"),
            AzureCloud::UsGovernment,
            "k8s-secrets",
            None,
        )
        .unwrap();
        assert_eq!(
            gov.display_name(),
            "https://k8s-kms.vault.usgovcloudapi.net/keys/k8s-secrets"
        );
        let by_url = KeyName::parse(
            &Vault::Url("https://v.vault.azure.cn/".into()),
            AzureCloud::Public,
            "k",
            Some(&"AB".repeat(16)),
        )
        .unwrap();
        assert_eq!(by_url.display_name(), "https://v.vault.azure.cn/keys/k");
        assert_eq!(by_url.version, Some("ab".repeat(16)));
    }

    #[test]
    fn invalid_vault_and_key_names_are_rejected_with_their_flag() {
        let url = |text: &str| Vault::Url(text.into());
        for (vault, key, version, flag) in [
            (named("a"), "k", None, "--keyvault-name"),
            (named("my_vault"), "k", None, "--keyvault-name"),
            (url("http://v.vault.azure.net"), "k", None, "--vault-url"),
            (url("v.vault.azure.net"), "k", None, "--vault-url"),
            (
                url("https://v.vault.azure.net?x=y"),
                "k",
                None,
                "--vault-url",
            ),
            (named("vault"), "", None, "--key-name"),
            (named("vault"), "a/b", None, "--key-name"),
            (named("vault"), "k", Some("1"), "--key-version"),
        ] {
            let error = KeyName::parse(&vault, AzureCloud::Public, key, version)
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(flag), "{error}");
        }
    }

    #[test]
    fn kid_splits_into_key_and_version() {
        let kid = "https://V.vault.azure.net/keys/K/0A";
        assert_eq!(
            split_kid(kid),
            Some(("https://v.vault.azure.net/keys/k".into(), "0a".into()))
        );
        for bad in [
            "",
            "https://v.vault.azure.net/keys/k",
            "https://v.vault.azure.net/secrets/k/1",
            "/keys//1",
        ] {
            assert_eq!(split_kid(bad), None, "{bad}");
        }
    }
}
