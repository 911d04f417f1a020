//! A lab that stays: what `kmslab up` tells others about it, in `lab.json` of its directory. No
//! secret is in it.

use std::io;
use std::path::{Path, PathBuf};

use kmslab_emulator::azure::identity::{DEFAULT_CLIENT_ID, DEFAULT_SECRET};
use kmslab_emulator::variables::{UNSET_AWS, UNSET_AZURE, UNSET_GOOGLE};
use serde::{Deserialize, Serialize};

use crate::assets::{Assets, Options, Tool};
use crate::cloud::CloudKind;
use crate::cluster;
use crate::etcd::client::TlsFiles;
use crate::exit::environment;
use crate::process::quoted;
use crate::runtime_dir::{self, Lab, write_private};

/// The name of a lab that was given none.
pub const DEFAULT_NAME: &str = "default";
const FILE: &str = "lab.json";
const VARIABLES: &str = "env.sh";

/// All that another command needs to use a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The emulated cloud and the key in it.
    pub kms: Kms,
    /// The plugin.
    pub plugin: Plugin,
    /// API server and etcd.
    pub cluster: cluster::Description,
    /// The file of variables to source.
    pub variables: PathBuf,
}

/// The emulated cloud and the key in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kms {
    /// Whose.
    pub cloud: CloudKind,
    /// `http://127.0.0.1:PORT`.
    pub endpoint: String,
    /// `https://localhost:PORT`, where the lab has started the emulator.
    pub https: Option<String>,
    /// `http://127.0.0.1:PORT`: the proxy for the vendors' own names, where the lab has started the
    /// emulator.
    #[serde(default)]
    pub proxy: Option<String>,
    /// The tenant of Azure's callers.
    #[serde(default)]
    pub azure_tenant: Option<String>,
    /// A key file of Google's account that may do everything, where the lab has started the
    /// emulator.
    #[serde(default)]
    pub gcp_key_file: Option<PathBuf>,
    /// The CA of both.
    pub ca: Option<PathBuf>,
    /// `http://127.0.0.1:PORT`.
    pub admin: String,
    /// Region of the key, where it is AWS'.
    pub region: String,
    /// The key's ARN or URL.
    pub key: String,
    /// Whether emulator and key are the lab's own, and end with it.
    pub own: bool,
}

/// The plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plugin {
    /// `kms.name` in the EncryptionConfiguration.
    pub provider: String,
    /// Its unix socket.
    pub socket: PathBuf,
    /// `http://127.0.0.1:PORT`: /healthz, /readyz, /metrics.
    pub health: String,
}

impl Kms {
    /// What the vendor's own tools read.
    fn exports(&self) -> Vec<String> {
        let mut lines = Vec::new();
        match self.cloud {
            CloudKind::Aws => {
                if self.own {
                    lines.push(UNSET_AWS.into());
                }
                lines.push(format!("export AWS_ENDPOINT_URL_KMS={}", self.endpoint));
                lines.push(format!(
                    "export AWS_REGION={0} AWS_DEFAULT_REGION={0}",
                    self.region
                ));
                if self.own {
                    // Else the caller has those that know the key.
                    lines.push("export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test".into());
                }
            }
            CloudKind::Azure => {
                if let (Some(proxy), Some(ca)) = (&self.proxy, &self.ca) {
                    let ca = quoted(&ca.display().to_string());
                    lines.push(format!(
                        "export HTTPS_PROXY={proxy} HTTP_PROXY={proxy} NO_PROXY=localhost,127.0.0.1"
                    ));
                    lines.push(format!(
                        "export REQUESTS_CA_BUNDLE={ca} SSL_CERT_FILE={ca} CURL_CA_BUNDLE={ca}"
                    ));
                    lines.push(format!("export NODE_EXTRA_CA_CERTS={ca}"));
                }
                lines.push(UNSET_AZURE.into());
                let tenant = self.azure_tenant.as_deref().unwrap_or_default();
                lines.push(format!(
                    "export AZURE_TENANT_ID={tenant} AZURE_CLIENT_ID={DEFAULT_CLIENT_ID}"
                ));
                lines.push(format!("export AZURE_CLIENT_SECRET={DEFAULT_SECRET}"));
            }
            CloudKind::Gcp => {
                lines.push(UNSET_GOOGLE.into());
                // The file and the metadata server both give the owner's tokens; the host is
                // without a scheme.
                if let Some(file) = &self.gcp_key_file {
                    lines.push(format!(
                        "export GOOGLE_APPLICATION_CREDENTIALS={}",
                        quoted(&file.display().to_string())
                    ));
                }
                let host = self.endpoint.trim_start_matches("http://");
                lines.push(format!(
                    "export GCE_METADATA_HOST={host} GCE_METADATA_IP={host}"
                ));
                lines.push(format!(
                    "export CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS={}/",
                    self.endpoint
                ));
            }
        }
        lines
    }
}

impl Description {
    /// The variables that the vendor's CLI and SDKs, kubectl and etcdctl read, as a shell sets
    /// them.
    pub fn exports(&self, programs: Option<&Path>) -> String {
        let mut lines = vec![
            format!(
                "export KUBECONFIG={}",
                quoted(&self.cluster.kubeconfig.display().to_string())
            ),
            format!("export ETCDCTL_ENDPOINTS={}", quoted(&self.cluster.etcd)),
            format!("export KMSLAB_KEY={}", self.kms.key),
            format!("export KMSLAB_ADMIN={}", self.kms.admin),
            format!(
                "export KMSLAB_SOCKET={}",
                quoted(&self.plugin.socket.display().to_string())
            ),
        ];
        if let Some(TlsFiles { ca, cert, key }) = &self.cluster.etcd_tls {
            for (name, file) in [("CACERT", ca), ("CERT", cert), ("KEY", key)] {
                let Some(file) = file else { continue };
                lines.push(format!(
                    "export ETCDCTL_{name}={}",
                    quoted(&file.display().to_string())
                ));
            }
        }
        if let Some(node) = self
            .cluster
            .kind
            .as_ref()
            .and_then(|nodes| nodes.control_planes.first())
        {
            // The socket is a path on it.
            lines.push(format!("export KMSLAB_NODE={}", node.container));
        }
        lines.extend(self.kms.exports());
        if let Some(programs) = programs {
            // Last, so that a kubectl of the caller's own comes first.
            lines.push(format!(
                "export PATH=\"$PATH\":{}",
                quoted(&programs.display().to_string())
            ));
        }
        lines.join("\n") + "\n"
    }

    /// Writes it, and the variables, for others to find.
    pub(crate) fn publish(&self, programs: Option<&Path>) -> io::Result<()> {
        write_private(&self.variables, self.exports(programs).as_bytes())?;
        write_private(
            &self.cluster.dir.join(FILE),
            &serde_json::to_vec_pretty(self)?,
        )
    }

    /// Where [`Description::publish`] puts the variables.
    pub(crate) fn variables_in(dir: &Path) -> PathBuf {
        dir.join(VARIABLES)
    }

    /// The description of a lab, if it has one: a run that ends by itself and a lab that still
    /// starts have none.
    pub fn of(lab: &Lab) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(lab.path.join(FILE)).ok()?).ok()
    }

    /// The lab of that name that is up.
    pub fn find(name: &str) -> anyhow::Result<Self> {
        let lab = runtime_dir::find(name).filter(|lab| lab.alive);
        let Some(lab) = lab else {
            let up: Vec<String> = names().collect();
            let others = if up.is_empty() {
                String::new()
            } else {
                format!("; up: {}", up.join(", "))
            };
            return Err(environment(format!(
                "there is no lab {name:?}: `kmslab up {name}` starts one{others}"
            )));
        };
        Self::of(&lab).ok_or_else(|| {
            environment(format!(
                "the lab {name} is still starting, or a run that will end"
            ))
        })
    }
}

/// The names of labs that are up.
pub fn names() -> impl Iterator<Item = String> {
    let up = runtime_dir::labs()
        .into_iter()
        .filter(|lab| lab.alive && Description::of(lab).is_some());
    up.map(|lab| lab.state.name)
}

/// Where kubectl and etcdctl are, if a person can use those that kmslab has.
pub(crate) fn programs(options: &Options) -> Option<PathBuf> {
    let found = Assets::from_env(options).look(&[Tool::Kubectl]).ok()?;
    let kubectl = found.into_iter().find_map(|(_, found)| found)?;
    kubectl.path.parent().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a shell has that held `stale` and took the lab's variables.
    fn shell(cloud: CloudKind, own: bool, stale: &[&str]) -> String {
        let kms = Kms {
            cloud,
            endpoint: "http://127.0.0.1:7600".into(),
            https: None,
            proxy: Some("http://127.0.0.1:7680".into()),
            azure_tenant: Some("tenant".into()),
            gcp_key_file: Some("/a b/key.json".into()),
            ca: Some("/a b/ca.pem".into()),
            admin: "http://127.0.0.1:7690".into(),
            region: "eu-west-1".into(),
            key: "k".into(),
            own,
        };
        let script = format!("{}\n/usr/bin/env", kms.exports().join("\n"));
        let mut command = std::process::Command::new("/bin/sh");
        command
            .env_clear()
            .args(["-euc", &script])
            .envs(stale.iter().map(|name| (name, "stale")));
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn a_shells_stale_login_does_not_outlive_the_labs_variables() {
        for (cloud, stale, has) in [
            (
                CloudKind::Aws,
                &[
                    "AWS_SESSION_TOKEN",
                    "AWS_PROFILE",
                    "AWS_DEFAULT_PROFILE",
                    "AWS_ACCESS_KEY_ID",
                    "AWS_REGION",
                ][..],
                "AWS_ACCESS_KEY_ID=test",
            ),
            (
                CloudKind::Azure,
                &[
                    "AZURE_AUTHORITY_HOST",
                    "AZURE_TENANT_ID",
                    "AZURE_CLIENT_SECRET",
                    "HTTPS_PROXY",
                    "SSL_CERT_FILE",
                ],
                "SSL_CERT_FILE=/a b/ca.pem",
            ),
            (
                CloudKind::Gcp,
                &[
                    "GOOGLE_CLOUD_UNIVERSE_DOMAIN",
                    "GOOGLE_APPLICATION_CREDENTIALS",
                    "GCE_METADATA_HOST",
                ],
                "GOOGLE_APPLICATION_CREDENTIALS=/a b/key.json",
            ),
        ] {
            let has_now = shell(cloud, true, stale);
            assert!(
                !has_now.contains("stale") && has_now.lines().any(|line| line == has),
                "{cloud:?}: {has_now}"
            );
        }
    }

    #[test]
    fn the_login_that_knows_somebody_elses_key_is_kept() {
        let has_now = shell(
            CloudKind::Aws,
            false,
            &["AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID"],
        );
        assert!(
            has_now.contains("AWS_SESSION_TOKEN=stale")
                && has_now.contains("AWS_ACCESS_KEY_ID=stale"),
            "{has_now}"
        );
    }
}
