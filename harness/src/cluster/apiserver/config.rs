//! The EncryptionConfiguration of the cluster, made from the file in kind-config/ that people also apply by hand.

use std::io;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::StartError;
use crate::cluster::{Encryption, Provider as Wanted};
use crate::runtime_dir::write_private;

const TEMPLATE: &str = include_str!("../../../../kind-config/encryption-configuration.yaml");
const TEMPLATE_NAME: &str = "kind-config/encryption-configuration.yaml";
/// Its name in a cluster's directory.
pub(super) const FILE: &str = "encryption-configuration.yaml";

/// The resources that the file in kind-config/ names.
pub fn default_resources() -> Result<Vec<String>, StartError> {
    Ok(Template::read()?.rule.resources)
}

/// The file for kube-apiserver.
pub(in crate::cluster) fn render(encryption: &Encryption) -> Result<String, StartError> {
    let Template { mut document, mut rule } = Template::read()?;
    let kms = rule.providers.iter().find_map(|provider| provider.kms.clone());
    let kms = kms.ok_or_else(|| invalid("it has no kms provider"))?;
    rule.resources.clone_from(&encryption.resources);
    let entry = |wanted: &Wanted| match wanted {
        Wanted::Kms { name, socket } => {
            let endpoint = format!("unix://{}", socket.display());
            Provider { kms: Some(Kms { name: name.clone(), endpoint, ..kms.clone() }), identity: None }
        }
        Wanted::Identity => Provider { kms: None, identity: Some(Identity {}) },
    };
    rule.providers = encryption.providers.iter().map(entry).collect();
    document.resources = vec![rule];
    serde_saphyr::to_string(&document).map_err(|error| invalid(&error.to_string()))
}

/// Puts another text in the place of a file that a server reads at any time; gives the text's hash, as the server's metrics show it.
pub(in crate::cluster) fn replace(dir: &Path, text: &str) -> io::Result<String> {
    let new = dir.join("encryption-configuration.new");
    write_private(&new, text.as_bytes())?;
    std::fs::rename(new, dir.join(FILE))?;
    Ok(format!("sha256:{}", hex::encode(digest(&SHA256, text.as_bytes()))))
}

/// The file, and its one rule apart.
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
    StartError::Invalid { what: TEMPLATE_NAME.into(), why: why.into() }
}

/// apiserver.config.k8s.io/v1, as far as the file uses it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EncryptionConfiguration {
    api_version: String,
    kind: String,
    resources: Vec<Rule>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    resources: Vec<String>,
    providers: Vec<Provider>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Provider {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kms: Option<Kms>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identity: Option<Identity>,
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
    fn the_file_for_people_encrypts_by_kms_v2_first_and_reads_plaintext_last() {
        let file = parsed(TEMPLATE);
        let providers = file["resources"][0]["providers"].as_array().unwrap();
        assert_eq!(providers[0]["kms"]["apiVersion"], "v2");
        assert_eq!(providers[0]["kms"]["endpoint"], "unix:///var/run/kmsplugin/socket.sock");
        assert!(providers.last().unwrap()["identity"].is_object());
        let resources = default_resources().unwrap();
        assert_eq!(resources, ["secrets", "configmaps", "widgets.example.com"]);
    }

    #[test]
    fn socket_name_and_resources_are_filled_in_and_the_rest_stays() {
        let config = Encryption::kms("aws-kms", "/run/lab/kms.sock", vec!["secrets".into()]);
        let mut expected = parsed(TEMPLATE);
        expected["resources"][0]["resources"] = serde_json::json!(["secrets"]);
        expected["resources"][0]["providers"][0]["kms"]["name"] = "aws-kms".into();
        expected["resources"][0]["providers"][0]["kms"]["endpoint"] = "unix:///run/lab/kms.sock".into();
        assert_eq!(parsed(&render(&config).unwrap()), expected);
    }

    #[test]
    fn the_step_of_a_migration_that_writes_is_the_file_for_people() {
        let step = include_str!("../../../../kind-config/migration/2-write.yaml");
        assert_eq!(parsed(step), parsed(TEMPLATE));
    }

    #[test]
    fn providers_stand_in_their_order() {
        let resources = vec!["secrets".to_owned()];
        let file = parsed(&render(&Encryption::identity(resources.clone())).unwrap());
        assert_eq!(file["resources"][0]["providers"], serde_json::json!([{ "identity": {} }]));
        let providers = vec![Wanted::kms("b", "/b"), Wanted::Identity, Wanted::kms("a", "/a")];
        let file = parsed(&render(&Encryption { resources, providers }).unwrap());
        let providers = file["resources"][0]["providers"].as_array().unwrap();
        let names = providers.iter().map(|one| one["kms"]["name"].as_str().unwrap_or("identity"));
        assert_eq!(names.collect::<Vec<_>>(), ["b", "identity", "a"]);
        assert_eq!(providers[2]["kms"]["endpoint"], "unix:///a");
    }

    #[test]
    fn a_file_is_replaced_at_once_and_known_by_its_hash() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "old").unwrap();
        let hash = replace(dir.path(), "new\n").unwrap();
        // Of sha256sum.
        assert_eq!(hash, "sha256:7aa7a5359173d05b63cfd682e3c38487f3cb4f7f1d60659fe59fab1505977d4c");
        assert_eq!(std::fs::read_to_string(dir.path().join(FILE)).unwrap(), "new\n");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
