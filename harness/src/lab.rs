//! The description of a running lab, `lab.json` in its directory, for other commands. It contains
//! no secrets.

use std::io;
use std::path::{Path, PathBuf};

use kmslab_emulator::variables::{
    AwsVariables, ProxyVariables, Variables, azure_login, gcloud_endpoints, google_login,
};
use serde::{Deserialize, Serialize};

use crate::assets::{Assets, Options, Tool};
use crate::cloud::CloudKind;
use crate::cluster;
use crate::etcd::client::TlsFiles;
use crate::exit::{environment, usage};
use crate::process::shell_quote;
use crate::runtime_dir::{self, Lab, write_private};

/// Default name of a lab.
pub const DEFAULT_NAME: &str = "default";
const FILE: &str = "lab.json";
const VARIABLES: &str = "env.sh";

/// What another command needs to use a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The emulated KMS and the key.
    pub kms: KmsDescription,
    /// The plugin.
    pub plugin: PluginDescription,
    /// API server and etcd.
    pub cluster: cluster::Description,
    /// File of variables to source.
    pub variables: PathBuf,
}

/// The emulated KMS and the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KmsDescription {
    /// The cloud.
    pub cloud: CloudKind,
    /// `http://127.0.0.1:PORT`.
    pub endpoint: String,
    /// `https://localhost:PORT`, if the lab started the emulator.
    pub https: Option<String>,
    /// `http://127.0.0.1:PORT`: proxy for the vendors' host names, if the lab started the emulator.
    #[serde(default)]
    pub proxy: Option<String>,
    /// Azure tenant id.
    #[serde(default)]
    pub azure_tenant: Option<String>,
    /// Key file of Google's account with all permissions, if the lab started the emulator.
    #[serde(default)]
    pub gcp_key_file: Option<PathBuf>,
    /// CA of HTTPS and proxy.
    pub ca: Option<PathBuf>,
    /// `http://127.0.0.1:PORT` of the admin port.
    pub admin: String,
    /// Region of the key, for AWS.
    pub region: String,
    /// ARN, URL or resource name of the key.
    pub key: String,
    /// Whether emulator and key belong to the lab and end with it.
    pub own: bool,
}

/// The plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginDescription {
    /// `kms.name` in the EncryptionConfiguration.
    pub provider: String,
    /// Path of its unix socket.
    pub socket: PathBuf,
    /// `http://127.0.0.1:PORT`: /livez, /readyz, /metrics.
    pub health: String,
}

impl KmsDescription {
    /// Variables for the vendor's own tools.
    fn variables(&self) -> Variables {
        match self.cloud {
            CloudKind::Aws => {
                let aws = AwsVariables {
                    endpoint: &self.endpoint,
                    region: &self.region,
                    // Otherwise the caller's own credentials, which have access to the key.
                    log_in: self.own,
                };
                aws.variables()
            }
            CloudKind::Azure => {
                let by_proxy = self.proxy.as_deref().zip(self.ca.as_deref());
                let by_proxy = by_proxy.map(|(proxy, ca)| ProxyVariables { proxy, ca });
                by_proxy
                    .map(ProxyVariables::variables)
                    .unwrap_or_default()
                    .and(azure_login(
                        self.azure_tenant.as_deref().unwrap_or_default(),
                    ))
            }
            CloudKind::Gcp => google_login(&self.endpoint, self.gcp_key_file.as_deref())
                .and(gcloud_endpoints(&self.endpoint)),
        }
    }
}

impl Description {
    /// Shell commands that set the variables of the vendor's CLI and SDKs, kubectl and etcdctl.
    pub fn exports(&self, programs: Option<&Path>) -> String {
        let mut lines = vec![
            format!(
                "export KUBECONFIG={}",
                shell_quote(&self.cluster.kubeconfig.display().to_string())
            ),
            format!(
                "export ETCDCTL_ENDPOINTS={}",
                shell_quote(&self.cluster.etcd)
            ),
            format!("export KMSLAB_KEY={}", self.kms.key),
            format!("export KMSLAB_ADMIN={}", self.kms.admin),
            format!(
                "export KMSLAB_SOCKET={}",
                shell_quote(&self.plugin.socket.display().to_string())
            ),
        ];
        if let Some(TlsFiles { ca, cert, key }) = &self.cluster.etcd_tls {
            for (name, file) in [("CACERT", ca), ("CERT", cert), ("KEY", key)] {
                let Some(file) = file else { continue };
                lines.push(format!(
                    "export ETCDCTL_{name}={}",
                    shell_quote(&file.display().to_string())
                ));
            }
        }
        if let Some(node) = self
            .cluster
            .kind
            .as_ref()
            .and_then(|nodes| nodes.control_planes.first())
        {
            // The socket is on the node.
            lines.push(format!("export KMSLAB_NODE={}", node.container));
        }
        lines.push(self.kms.variables().to_string().trim_end().to_owned());
        if let Some(programs) = programs {
            // Last, so that the caller's own kubectl takes precedence.
            lines.push(format!(
                "export PATH=\"$PATH\":{}",
                shell_quote(&programs.display().to_string())
            ));
        }
        lines.join("\n") + "\n"
    }

    /// Writes the description and the variables.
    pub(crate) fn publish(&self, programs: Option<&Path>) -> io::Result<()> {
        write_private(&self.variables, self.exports(programs).as_bytes())?;
        write_private(
            &self.cluster.dir.join(FILE),
            &serde_json::to_vec_pretty(self)?,
        )
    }

    /// Path of the file of variables.
    pub(crate) fn variables_in(dir: &Path) -> PathBuf {
        dir.join(VARIABLES)
    }

    /// Returns the description of a lab; `None` for a run that ends by itself and a lab that is
    /// starting.
    pub fn read(lab: &Lab) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(lab.path.join(FILE)).ok()?).ok()
    }

    /// Returns the running lab of a name.
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
        Self::read(&lab).ok_or_else(|| {
            environment(format!(
                "the lab {name} is still starting, or a run that will end"
            ))
        })
    }
}

/// The only running lab and its name; `None` if there is none, a usage error if there are several.
pub fn only() -> anyhow::Result<Option<(String, Description)>> {
    match &names().collect::<Vec<_>>()[..] {
        [] => Ok(None),
        [name] => Ok(Some((name.clone(), Description::find(name)?))),
        names => Err(usage(format!(
            "several labs are up: choose one with --lab {}",
            names.join(" or --lab ")
        ))),
    }
}

/// Names of the running labs.
pub fn names() -> impl Iterator<Item = String> {
    let up = runtime_dir::labs()
        .into_iter()
        .filter(|lab| lab.alive && Description::read(lab).is_some());
    up.map(|lab| lab.state.name)
}

/// Directory of kubectl and etcdctl, if kmslab has them.
pub(crate) fn client_programs(options: &Options) -> Option<PathBuf> {
    let found = Assets::from_env(options)
        .find_installed(&[Tool::Kubectl])
        .ok()?;
    let kubectl = found.into_iter().find_map(|(_, found)| found)?;
    kubectl.path.parent().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The variables of a shell that held `stale` and sourced the lab's variables.
    fn shell(cloud: CloudKind, own: bool, stale: &[&str]) -> String {
        let kms = KmsDescription {
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
        let script = format!("{}/usr/bin/env", kms.variables());
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
    fn lab_variables_unset_a_shells_stale_login() {
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
    fn login_for_a_users_own_key_is_kept() {
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
