//! The kubeconfig file: written for kubectl, and read to attach to a cluster.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::StartError;
use super::certs::Certs;
use crate::runtime_dir::write_private;

/// A client's certificate and trusted CA.
pub(in crate::cluster) struct ClientAccess {
    /// The cluster's CA as PEM.
    pub(super) ca: Vec<u8>,
    /// The administrator's certificate, then its key, as PEM.
    pub(super) identity: Vec<u8>,
}

impl ClientAccess {
    pub(super) fn of(certs: &Certs) -> Self {
        Self {
            ca: certs.ca.clone().into(),
            identity: format!("{}{}", certs.admin.cert, certs.admin.key).into(),
        }
    }
}

/// Writes a kubeconfig for the API server at `url`, readable by this user only.
pub(super) fn write(
    path: &Path,
    lab: &str,
    url: &str,
    certs: &Certs,
) -> Result<PathBuf, StartError> {
    let name = format!("kmslab-{lab}");
    let config = Kubeconfig {
        api_version: "v1".into(),
        kind: "Config".into(),
        clusters: vec![Named {
            name: name.clone(),
            cluster: Some(ClusterEntry {
                server: url.into(),
                certificate_authority_data: STANDARD.encode(&certs.ca),
            }),
            user: None,
            context: None,
        }],
        users: vec![Named {
            name: name.clone(),
            cluster: None,
            user: Some(UserEntry {
                client_certificate_data: STANDARD.encode(&certs.admin.cert),
                client_key_data: STANDARD.encode(&certs.admin.key),
            }),
            context: None,
        }],
        contexts: vec![Named {
            name: name.clone(),
            cluster: None,
            user: None,
            context: Some(ContextEntry {
                cluster: name.clone(),
                user: name.clone(),
            }),
        }],
        current_context: name,
    };
    let text = serde_saphyr::to_string(&config).map_err(|error| StartError::Invalid {
        what: "the kubeconfig".into(),
        why: error.to_string(),
    })?;
    write_private(path, text.as_bytes()).map_err(StartError::file("writing", path))?;
    Ok(path.into())
}

/// Reads a kubeconfig of [`write()`] or of kind.
pub(in crate::cluster) fn read(path: &Path) -> Result<ClientAccess, StartError> {
    let invalid = |why: String| StartError::Invalid {
        what: named(path),
        why,
    };
    let (cluster, user) = parts(path)?;
    let decode = |text: &str| {
        STANDARD
            .decode(text)
            .map_err(|error| invalid(format!("its base64: {error}")))
    };
    let identity = [
        decode(&user.client_certificate_data)?,
        decode(&user.client_key_data)?,
    ]
    .concat();
    Ok(ClientAccess {
        ca: decode(&cluster.certificate_authority_data)?,
        identity,
    })
}

/// Returns the server in a kubeconfig.
pub(in crate::cluster) fn server(path: &Path) -> Result<String, StartError> {
    Ok(parts(path)?.0.server)
}

fn named(path: &Path) -> String {
    format!("the kubeconfig {}", path.display())
}

fn parts(path: &Path) -> Result<(ClusterEntry, UserEntry), StartError> {
    let invalid = |why: String| StartError::Invalid {
        what: named(path),
        why,
    };
    let text = std::fs::read_to_string(path).map_err(StartError::file("reading", path))?;
    let config: Kubeconfig = serde_saphyr::from_str(&text)
        .map_err(|error| invalid(error.without_snippet().to_string()))?;
    let cluster = config.clusters.into_iter().find_map(|entry| entry.cluster);
    let user = config.users.into_iter().find_map(|entry| entry.user);
    cluster
        .zip(user)
        .ok_or_else(|| invalid("it names no cluster and user with certificates in it".into()))
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Kubeconfig {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    clusters: Vec<Named>,
    users: Vec<Named>,
    contexts: Vec<Named>,
    current_context: String,
}

/// An entry of any of the three lists.
#[derive(Serialize, Deserialize)]
struct Named {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cluster: Option<ClusterEntry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<UserEntry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    context: Option<ContextEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ClusterEntry {
    server: String,
    certificate_authority_data: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct UserEntry {
    client_certificate_data: String,
    client_key_data: String,
}

#[derive(Serialize, Deserialize)]
struct ContextEntry {
    cluster: String,
    user: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubeconfig_round_trips() {
        let dir = tempfile::tempdir().unwrap();
        let certs = Certs::generate().unwrap();
        let path = write(
            &dir.path().join("kubeconfig"),
            "x",
            "https://127.0.0.1:1",
            &certs,
        )
        .unwrap();
        let access = read(&path).unwrap();
        assert_eq!(access.ca, certs.ca.as_bytes());
        assert_eq!(access.identity, ClientAccess::of(&certs).identity);
    }

    #[test]
    fn invalid_kubeconfig_is_named_without_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubeconfig");
        assert!(read(&path).is_err());
        std::fs::write(&path, "users: [s3cret").unwrap();
        let error = read(&path).err().unwrap().to_string();
        assert!(
            error.contains("kubeconfig") && !error.contains("s3cret"),
            "{error}"
        );
    }
}
