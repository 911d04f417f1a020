//! The cluster's EncryptionConfiguration, built from the file in kind-config/ that can also be
//! applied by hand.

use std::io;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::StartError;
use crate::cluster::{Cipher, Encryption, LocalKey, LocalProvider, Provider as Wanted};
use crate::runtime_dir::write_private;

const TEMPLATE: &str = include_str!("../../../../kind-config/encryption-configuration.yaml");
const TEMPLATE_NAME: &str = "kind-config/encryption-configuration.yaml";
/// File name in the cluster's directory.
pub(super) const CONFIG_FILE: &str = "encryption-configuration.yaml";

/// The resources in the file of kind-config/.
pub fn default_resources() -> Result<Vec<String>, StartError> {
    Ok(Template::read()?.rule.resources)
}

/// Renders the file for kube-apiserver.
pub(in crate::cluster) fn render(encryption: &Encryption) -> Result<String, StartError> {
    let Template {
        mut document,
        mut rule,
    } = Template::read()?;
    let kms = rule.providers.iter().find_map(Provider::kms).cloned();
    let kms = kms.ok_or_else(|| invalid("it has no kms provider"))?;
    rule.resources.clone_from(&encryption.resources);
    let kms = |version: &str, name: &str, socket: &Path| Kms {
        api_version: version.to_owned(),
        name: name.to_owned(),
        endpoint: format!("unix://{}", socket.display()),
        ..kms.clone()
    };
    let entry = |wanted: &Wanted| match wanted {
        Wanted::Kms { name, socket } => Provider::Kms(kms("v2", name, socket)),
        Wanted::KmsV1 { name, socket } => Provider::Kms(kms("v1", name, socket)),
        Wanted::Local(local) => Provider::from_provider(local),
        Wanted::Identity => Provider::Identity(Identity {}),
    };
    rule.providers = encryption.providers.iter().map(entry).collect();
    document.resources = vec![rule];
    serde_saphyr::to_string(&document).map_err(|error| invalid(&error.to_string()))
}

/// Replaces the file atomically while a server may read it. Returns the hash that the server's
/// metrics show for it.
pub(in crate::cluster) fn replace(dir: &Path, text: &str) -> io::Result<String> {
    let new = dir.join("encryption-configuration.new");
    write_private(&new, text.as_bytes())?;
    std::fs::rename(new, dir.join(CONFIG_FILE))?;
    Ok(format!(
        "sha256:{}",
        hex::encode(digest(&SHA256, text.as_bytes()))
    ))
}

/// The file's content, with its single rule separated.
struct Template {
    document: EncryptionConfiguration,
    rule: Rule,
}

impl Template {
    fn read() -> Result<Self, StartError> {
        let mut document: EncryptionConfiguration =
            serde_saphyr::from_str(TEMPLATE).map_err(|error| invalid(&error.to_string()))?;
        match (document.resources.pop(), document.resources.is_empty()) {
            (Some(rule), true) => Ok(Self { document, rule }),
            _ => Err(invalid("it must have one rule")),
        }
    }
}

fn invalid(why: &str) -> StartError {
    StartError::Invalid {
        what: TEMPLATE_NAME.into(),
        why: why.into(),
    }
}

/// The part of apiserver.config.k8s.io/v1 that the file uses.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EncryptionConfiguration {
    api_version: String,
    kind: String,
    resources: Vec<Rule>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    resources: Vec<String>,
    providers: Vec<Provider>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Provider {
    Kms(Kms),
    Aescbc(Keys),
    Aesgcm(Keys),
    Secretbox(Keys),
    Identity(Identity),
}

impl Provider {
    fn from_provider(local: &LocalProvider) -> Self {
        let key = |key: &LocalKey| Key {
            name: key.name.clone(),
            secret: STANDARD.encode(&*key.secret),
        };
        let keys = Keys {
            keys: local.keys.iter().map(key).collect(),
        };
        match local.cipher {
            Cipher::Aescbc => Self::Aescbc(keys),
            Cipher::Aesgcm => Self::Aesgcm(keys),
            Cipher::Secretbox => Self::Secretbox(keys),
        }
    }

    fn kms(&self) -> Option<&Kms> {
        match self {
            Self::Kms(kms) => Some(kms),
            _ => None,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    keys: Vec<Key>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    name: String,
    secret: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Kms {
    api_version: String,
    name: String,
    endpoint: String,
    timeout: String,
}

/// `{}`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(yaml: &str) -> serde_json::Value {
        serde_saphyr::from_str(yaml).unwrap()
    }

    #[test]
    fn example_config_writes_with_kms_v2_and_reads_plaintext_last() {
        let file = parsed(TEMPLATE);
        let providers = file["resources"][0]["providers"].as_array().unwrap();
        assert_eq!(providers[0]["kms"]["apiVersion"], "v2");
        assert_eq!(
            providers[0]["kms"]["endpoint"],
            "unix:///var/run/kmsplugin/socket.sock"
        );
        assert!(providers.last().unwrap()["identity"].is_object());
        let resources = default_resources().unwrap();
        assert_eq!(resources, ["secrets", "configmaps", "widgets.example.com"]);
    }

    #[test]
    fn rendered_config_changes_only_socket_name_and_resources() {
        let config = Encryption::kms("aws-kms", "/run/lab/kms.sock", vec!["secrets".into()]);
        let mut expected = parsed(TEMPLATE);
        expected["resources"][0]["resources"] = serde_json::json!(["secrets"]);
        expected["resources"][0]["providers"][0]["kms"]["name"] = "aws-kms".into();
        expected["resources"][0]["providers"][0]["kms"]["endpoint"] =
            "unix:///run/lab/kms.sock".into();
        assert_eq!(parsed(&render(&config).unwrap()), expected);
    }

    #[test]
    fn migration_step_matches_the_example_config() {
        let step = include_str!("../../../../kind-config/migration/2-write.yaml");
        assert_eq!(parsed(step), parsed(TEMPLATE));
    }

    #[test]
    fn rendered_providers_keep_their_order() {
        let resources = vec!["secrets".to_owned()];
        let file = parsed(&render(&Encryption::identity(resources.clone())).unwrap());
        assert_eq!(
            file["resources"][0]["providers"],
            serde_json::json!([{ "identity": {} }])
        );
        let providers = vec![
            Wanted::kms("b", "/b"),
            Wanted::Identity,
            Wanted::kms("a", "/a"),
        ];
        let file = parsed(
            &render(&Encryption {
                resources,
                providers,
            })
            .unwrap(),
        );
        let providers = file["resources"][0]["providers"].as_array().unwrap();
        let names = providers
            .iter()
            .map(|one| one["kms"]["name"].as_str().unwrap_or("identity"));
        assert_eq!(names.collect::<Vec<_>>(), ["b", "identity", "a"]);
        assert_eq!(providers[2]["kms"]["endpoint"], "unix:///a");
    }

    #[test]
    fn rendered_local_keys_and_kms_v1_follow_the_api() {
        let key = |name: &str| LocalKey {
            name: name.into(),
            secret: (0..16).collect::<Vec<u8>>().into(),
        };
        let local = |cipher| {
            Wanted::Local(LocalProvider {
                cipher,
                keys: vec![key("at 20:37:15Z"), key("old")],
            })
        };
        let v1 = Wanted::KmsV1 {
            name: "arn:aws:kms".into(),
            socket: "/v1".into(),
        };
        let providers = vec![local(Cipher::Aescbc), local(Cipher::Secretbox), v1];
        let file = parsed(
            &render(&Encryption {
                resources: vec!["secrets".into()],
                providers,
            })
            .unwrap(),
        );
        let keys = serde_json::json!([
            { "name": "at 20:37:15Z", "secret": "AAECAwQFBgcICQoLDA0ODw==" },
            { "name": "old", "secret": "AAECAwQFBgcICQoLDA0ODw==" },
        ]);
        let expected = serde_json::json!([
            { "aescbc": { "keys": keys } },
            { "secretbox": { "keys": keys } },
            { "kms": { "apiVersion": "v1", "name": "arn:aws:kms", "endpoint": "unix:///v1", "timeout": "3s" } },
        ]);
        assert_eq!(file["resources"][0]["providers"], expected);
        assert_eq!(format!("{:?}", key("a")), "LocalKey { name: \"a\", .. }");
    }

    #[test]
    fn config_file_is_replaced_atomically_and_hashed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(CONFIG_FILE), "old").unwrap();
        let hash = replace(dir.path(), "new\n").unwrap();
        // As computed by sha256sum.
        assert_eq!(
            hash,
            "sha256:7aa7a5359173d05b63cfd682e3c38487f3cb4f7f1d60659fe59fab1505977d4c"
        );
        assert_eq!(
            std::fs::read_to_string(dir.path().join(CONFIG_FILE)).unwrap(),
            "new\n"
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
