//! The EncryptionConfiguration of the cluster, made from the file in kind-config/ that people also apply by hand.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::StartError;

const TEMPLATE: &str = include_str!("../../../../kind-config/encryption-configuration.yaml");
const TEMPLATE_NAME: &str = "kind-config/encryption-configuration.yaml";

/// What the API servers encrypt, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EncryptionConfig {
    /// A KMS v2 plugin writes; plaintext is still read.
    Kms {
        /// The provider's name, which stands in front of every value.
        provider: String,
        /// The plugin's socket.
        socket: PathBuf,
        /// `secrets`, `widgets.example.com`.
        resources: Vec<String>,
    },
    /// Nothing is encrypted: shows that what is searched for would be found.
    Identity,
}

impl EncryptionConfig {
    /// Encryption by the plugin at `socket` of the resources that the file in kind-config/ names.
    pub fn kms(provider: impl Into<String>, socket: impl Into<PathBuf>) -> Result<Self, StartError> {
        Ok(Self::Kms { provider: provider.into(), socket: socket.into(), resources: Self::default_resources()? })
    }

    /// The resources that the file in kind-config/ names.
    pub fn default_resources() -> Result<Vec<String>, StartError> {
        Ok(Template::read()?.rule.resources)
    }

    /// The file for kube-apiserver.
    pub(in crate::cluster) fn render(&self) -> Result<String, StartError> {
        let mut template = Template::read()?;
        match self {
            Self::Kms { provider, socket, resources } => {
                template.rule.resources.clone_from(resources);
                let kms = template.rule.providers.iter_mut().find_map(|provider| provider.kms.as_mut());
                let kms = kms.ok_or_else(|| invalid("it has no kms provider"))?;
                kms.name.clone_from(provider);
                kms.endpoint = format!("unix://{}", socket.display());
            }
            Self::Identity => template.rule.providers.retain(|provider| provider.kms.is_none()),
        }
        let Template { mut document, rule } = template;
        document.resources = vec![rule];
        serde_saphyr::to_string(&document).map_err(|error| invalid(&error.to_string()))
    }
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

#[derive(Debug, Serialize, Deserialize)]
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
        let resources = EncryptionConfig::default_resources().unwrap();
        assert_eq!(resources, ["secrets", "configmaps", "widgets.example.com"]);
    }

    #[test]
    fn socket_name_and_resources_are_filled_in_and_the_rest_stays() {
        let config = EncryptionConfig::Kms {
            provider: "aws-kms".into(),
            socket: "/run/lab/kms.sock".into(),
            resources: vec!["secrets".into()],
        };
        let mut expected = parsed(TEMPLATE);
        expected["resources"][0]["resources"] = serde_json::json!(["secrets"]);
        expected["resources"][0]["providers"][0]["kms"]["name"] = "aws-kms".into();
        expected["resources"][0]["providers"][0]["kms"]["endpoint"] = "unix:///run/lab/kms.sock".into();
        assert_eq!(parsed(&config.render().unwrap()), expected);
    }

    #[test]
    fn the_step_of_a_migration_that_writes_is_the_file_for_people() {
        let step = include_str!("../../../../kind-config/migration/2-write.yaml");
        assert_eq!(parsed(step), parsed(TEMPLATE));
    }

    #[test]
    fn identity_names_no_plugin() {
        let file = parsed(&EncryptionConfig::Identity.render().unwrap());
        assert_eq!(file["resources"][0]["providers"], serde_json::json!([{ "identity": {} }]));
    }
}
