//! `azure.json`, the cloud provider's configuration on Kubernetes nodes: the cloud of the vault, and
//! how to log in.
//!
//! Fields and their precedence follow cloud-provider-azure (its documentation, "Cloud Provider
//! Config", and `GetServicePrincipalToken`). Unsupported fields that concern the login are rejected
//! by name. The other fields, some sixty, do not concern a plugin.

use std::path::{Path, PathBuf};

use azure_core::credentials::Secret;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::cloud::AzureCloud;
use super::login::Login;
use kmslab_program::file;

/// Why an `azure.json` cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("--config-file {}: {reason}", path.display())]
pub struct ConfigFileError {
    /// Path of the file.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: String,
}

/// The settings that the plugin takes from the file.
#[derive(Debug)]
pub(super) struct AzureJson {
    pub(super) cloud: AzureCloud,
    pub(super) login: Login,
}

impl AzureJson {
    /// Reads the file. Errors name the file and the field.
    pub(super) fn read(path: &Path) -> Result<Self, ConfigFileError> {
        let error = |reason: String| ConfigFileError {
            path: path.to_owned(),
            reason,
        };
        let bytes = file::read(path, file::MAX_CONFIGURATION_BYTES)
            .map_err(|err| error(err.to_string()))?;
        Self::parse(&bytes).map_err(error)
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = decode_text(bytes)?;
        let members: Map<String, Value> = serde_json::from_str(&text)
            .map_err(|error| format!("line {}: not a JSON object", error.line()))?;
        // Field names in any case: nodes parse the file with Go's JSON.
        let members = members
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect();
        Fields(members).read()
    }
}

/// Decodes UTF-8 with or without a byte order mark, or UTF-16 with one.
fn decode_text(bytes: &[u8]) -> Result<Zeroizing<String>, String> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Zeroizing<Vec<u16>> = Zeroizing::new(
            bytes
                .chunks(2)
                .map(|pair| unit([pair[0], pair.get(1).copied().unwrap_or_default()]))
                .collect(),
        );
        String::from_utf16(&units)
            .map_err(|_| "it is not UTF-16, as its first bytes say".to_owned())
    };
    let text = match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => std::str::from_utf8(rest)
            .map(str::to_owned)
            .map_err(|error| error.to_string()),
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        bytes => std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|error| format!("it is not UTF-8: {error}")),
    };
    text.map(Zeroizing::new)
}

/// Members by lower-case name.
struct Fields(Map<String, Value>);

impl Fields {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0
            .get(&name.to_ascii_lowercase())
            .filter(|value| !value.is_null())
    }

    /// A string; empty counts as absent.
    fn string(&self, name: &str) -> Result<Option<String>, String> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let text = value
            .as_str()
            .ok_or_else(|| format!("{name} is not a string"))?;
        Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
    }

    fn boolean(&self, name: &str) -> Result<bool, String> {
        self.get(name).map_or(Ok(false), |value| {
            value
                .as_bool()
                .ok_or_else(|| format!("{name} is not true or false"))
        })
    }

    fn read(&self) -> Result<AzureJson, String> {
        let name = self.string("cloud")?.unwrap_or_default();
        let cloud = AzureCloud::parse(&name).ok_or_else(|| {
            format!("cloud {name:?} is not supported; use AzurePublicCloud, AzureUSGovernmentCloud or AzureChinaCloud")
        })?;
        Ok(AzureJson {
            cloud,
            login: self.login()?,
        })
    }

    fn login(&self) -> Result<Login, String> {
        let client_id = self.string("aadClientId")?;
        let need = |name: &str, value: Option<String>, what: &str| {
            value.ok_or_else(|| format!("it has no {name}, which {what} needs"))
        };
        if self.boolean("useFederatedWorkloadIdentityExtension")? {
            let what = "workload identity (useFederatedWorkloadIdentityExtension)";
            return Ok(Login::WorkloadIdentity {
                tenant: need("tenantId", self.string("tenantId")?, what)?,
                client_id: need("aadClientId", client_id, what)?,
                token_file: need(
                    "aadFederatedTokenFile",
                    self.string("aadFederatedTokenFile")?,
                    what,
                )?
                .into(),
            });
        }
        // AKS writes "msi" for client id and secret of a managed identity.
        if self.boolean("useManagedIdentityExtension")? || client_id.as_deref() == Some("msi") {
            return Ok(Login::ManagedIdentity {
                user_assigned: self.string("userAssignedIdentityID")?,
            });
        }
        if let Some(secret) = self.string("aadClientSecret")? {
            let what = "a client secret";
            return Ok(Login::ClientSecret {
                tenant: need("tenantId", self.string("tenantId")?, what)?,
                client_id: need("aadClientId", client_id, what)?,
                secret: Secret::new(secret),
            });
        }
        for name in ["aadClientCertPath", "aadMSIDataPlaneIdentityPath"] {
            if self.string(name)?.is_some() {
                return Err(format!(
                    "{name} is not supported: the plugin logs in with aadClientSecret, with workload identity \
                     (useFederatedWorkloadIdentityExtension) or with a managed identity (useManagedIdentityExtension)"
                ));
            }
        }
        Err("it says no way to log in: it has neither aadClientSecret, nor useManagedIdentityExtension, nor \
             useFederatedWorkloadIdentityExtension"
            .to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(json: &str) -> Result<Login, String> {
        AzureJson::parse(json.as_bytes()).map(|file| file.login)
    }

    #[test]
    fn azure_json_selects_the_cloud() {
        for (name, cloud) in [
            ("AzurePublicCloud", AzureCloud::Public),
            ("AzureCloud", AzureCloud::Public),
            ("", AzureCloud::Public),
            ("AZUREUSGOVERNMENTCLOUD", AzureCloud::UsGovernment),
            ("AzureChinaCloud", AzureCloud::China),
        ] {
            let json = format!(r#"{{"cloud":"{name}","useManagedIdentityExtension":true}}"#);
            assert_eq!(
                AzureJson::parse(json.as_bytes()).unwrap().cloud,
                cloud,
                "{name}"
            );
        }
        let stack =
            AzureJson::parse(br#"{"cloud":"AzureStackCloud","useManagedIdentityExtension":true}"#);
        assert!(
            stack
                .unwrap_err()
                .contains("cloud \"AzureStackCloud\" is not supported")
        );
    }

    #[test]
    fn azure_json_logins_have_the_cloud_providers_precedence() {
        let all = r#""tenantId":"t","aadClientId":"c","aadClientSecret":"s","aadFederatedTokenFile":"/token""#;
        let workload = login(&format!(
            r#"{{{all},"useFederatedWorkloadIdentityExtension":true,"useManagedIdentityExtension":true}}"#
        ));
        assert!(
            matches!(workload, Ok(Login::WorkloadIdentity { token_file, .. }) if token_file == Path::new("/token"))
        );
        let managed = login(&format!(
            r#"{{{all},"useManagedIdentityExtension":true,"userAssignedIdentityID":"u"}}"#
        ));
        assert!(
            matches!(managed, Ok(Login::ManagedIdentity { user_assigned: Some(id) }) if id == "u")
        );
        let aks =
            login(r#"{"aadClientId":"msi","aadClientSecret":"msi","userAssignedIdentityID":""}"#);
        assert!(matches!(
            aks,
            Ok(Login::ManagedIdentity {
                user_assigned: None
            })
        ));
        assert!(matches!(
            login(&format!("{{{all}}}")),
            Ok(Login::ClientSecret { .. })
        ));
        // Go accepts names in any case.
        assert!(matches!(
            login(r#"{"TENANTID":"t","AadClientID":"c","AADClientSecret":"s"}"#),
            Ok(Login::ClientSecret { .. })
        ));
    }

    #[test]
    fn unsupported_azure_json_fields_are_named_without_secrets() {
        for (json, says) in [
            (
                r#"{"tenantId":"t","aadClientId":"c","aadClientCertPath":"/x.pfx"}"#,
                "aadClientCertPath is not supported",
            ),
            (
                r#"{"tenantId":"t","aadClientId":"c"}"#,
                "it says no way to log in",
            ),
            (
                r#"{"aadClientId":"c","aadClientSecret":"hunter2"}"#,
                "it has no tenantId",
            ),
            (
                r#"{"tenantId":"t","aadClientSecret":"hunter2"}"#,
                "it has no aadClientId",
            ),
            (
                r#"{"useFederatedWorkloadIdentityExtension":true,"tenantId":"t","aadClientId":"c"}"#,
                "it has no aadFederatedTokenFile",
            ),
            (
                r#"{"tenantId":7,"aadClientId":"c","aadClientSecret":"hunter2"}"#,
                "tenantId is not a string",
            ),
            (
                r#"{"useManagedIdentityExtension":"yes"}"#,
                "useManagedIdentityExtension is not true or false",
            ),
            ("[\"hunter2\"]", "not a JSON object"),
            ("{\n\"aadClientSecret\": hunter2", "line 2"),
        ] {
            let error = login(json).unwrap_err();
            assert!(
                error.contains(says) && !error.contains("hunter2"),
                "{json}: {error}"
            );
        }
    }

    #[test]
    fn azure_json_with_bom_or_utf16_is_read() {
        let json = "{\r\n \"useManagedIdentityExtension\": true\r\n}\r\n";
        let utf16 = |mark: &[u8], bytes: fn(u16) -> [u8; 2]| {
            [
                mark,
                &json.encode_utf16().flat_map(bytes).collect::<Vec<_>>(),
            ]
            .concat()
        };
        for file in [
            json.as_bytes().to_vec(),
            [b"\xef\xbb\xbf", json.as_bytes()].concat(),
            utf16(b"\xff\xfe", u16::to_le_bytes),
            utf16(b"\xfe\xff", u16::to_be_bytes),
        ] {
            assert!(matches!(
                AzureJson::parse(&file).map(|file| file.login),
                Ok(Login::ManagedIdentity { .. })
            ));
        }
        for broken in [
            &b"\xff\xfe{"[..],
            b"\xff\xfe\x00\xd8",
            b"\x80",
            b"\xef\xbb\xbf\x80",
            b"",
        ] {
            assert!(AzureJson::parse(broken).is_err());
        }
    }
}
