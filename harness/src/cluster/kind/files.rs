//! The files mounted into a control-plane node: the tree `node/` of kind-config/encrypted.yaml,
//! filled for a lab.

use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::bundle::{BUNDLE_DIR, Bundle};
use crate::cloud::SecretFile;
use crate::cluster::Encryption;
use crate::cluster::apiserver::render;

const UNIT: &str = include_str!("../../../../plugin/deploy/kmslab-plugin.service");
const KUBELET: &str =
    include_str!("../../../../plugin/deploy/kubelet.service.d/10-kmslab-plugin.conf");
/// The plugin's socket on the node, as in the guide.
pub const SOCKET_PATH: &str = "/var/run/kmsplugin/socket.sock";
/// Its health port on the node.
pub const HEALTH_PORT: u16 = 8080;
/// Path of the CA of the plugin's endpoint on the node.
pub const CA_PATH: &str = "/etc/kmslab/ca.pem";

const POD: &str = include_str!("../../../../plugin/deploy/static-pod.yaml");
/// Path of the static pod's manifest on the node.
pub(super) const POD_MANIFEST: &str = "/etc/kubernetes/manifests/kmslab-plugin.yaml";

/// How the plugin runs on a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum PluginForm {
    /// A systemd unit that starts before kubelet
    #[default]
    Systemd,
    /// A static pod, which kubelet starts next to the API server
    StaticPod,
}

/// Configuration of the plugin on the node.
pub struct NodeFiles<'a> {
    /// kmslab, already in the tree.
    pub bundle: &'a Bundle,
    /// `aws --key=… --endpoint-url=…` and credential flags; the unit adds the socket.
    pub plugin: Vec<String>,
    /// Its environment.
    pub variables: Vec<(&'static str, String)>,
    /// The plugin's credentials.
    pub credentials: SecretFile,
    /// How it runs.
    pub form: PluginForm,
    /// An image on the node, for a static pod; the program itself is mounted.
    pub image: &'a str,
    /// CA of its endpoint.
    pub ca: &'a [u8],
    /// `kms.name`.
    pub provider: &'a str,
    /// What is encrypted: `secrets`, `widgets.example.com`.
    pub resources: Vec<String>,
}

impl std::fmt::Debug for NodeFiles<'_> {
    /// Omits the credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeFiles")
            .field("plugin", &self.plugin)
            .finish_non_exhaustive()
    }
}

impl NodeFiles<'_> {
    /// Writes all files below `root`, which corresponds to `node/` by hand.
    pub fn write(&self, root: &Path) -> anyhow::Result<()> {
        let encryption = Encryption::kms(self.provider, SOCKET_PATH, self.resources.clone());
        match self.form {
            PluginForm::Systemd => {
                write_file(
                    root,
                    "/etc/systemd/system/kmslab-plugin.service",
                    UNIT,
                    0o644,
                )?;
                write_file(
                    root,
                    "/etc/systemd/system/kubelet.service.d/10-kmslab-plugin.conf",
                    KUBELET,
                    0o644,
                )?;
                write_file(root, "/etc/kmslab/plugin.env", &self.environment()?, 0o600)?;
            }
            PluginForm::StaticPod => write_file(root, POD_MANIFEST, &self.pod()?, 0o600)?,
        }
        write_file(
            root,
            &self.credentials.node_path(),
            &self.credentials.content,
            0o600,
        )?;
        write_file(root, CA_PATH, &String::from_utf8_lossy(self.ca), 0o644)?;
        write_file(
            root,
            "/etc/kubernetes/enc/encryption-configuration.yaml",
            &render(&encryption)?,
            0o600,
        )
    }

    /// For systemd's EnvironmentFile.
    fn environment(&self) -> anyhow::Result<String> {
        let args = self.plugin.join(" ");
        let mut text = String::new();
        let variables = self
            .variables
            .iter()
            .map(|(name, value)| (*name, value.as_str()));
        for (name, value) in std::iter::once(("KMSLAB_PLUGIN_ARGS", args.as_str())).chain(variables)
        {
            anyhow::ensure!(
                !value.contains('\n'),
                "the value of {name} has more than one line"
            );
            text.push_str(&format!("{name}={}\n", quote(value)));
        }
        Ok(text)
    }

    /// The manifest with the lab's key and the bundle as its program, otherwise unchanged.
    fn pod(&self) -> anyhow::Result<String> {
        let mut pod: Value = serde_saphyr::from_str(POD)?;
        let container = &mut pod["spec"]["containers"][0];
        let socket = container["args"]
            .as_array()
            .and_then(|args| args.last())
            .cloned();
        let socket = socket.context("the plugin's manifest names no socket")?;
        container["image"] = self.image.into();
        container["command"] = self
            .bundle
            .command()
            .into_iter()
            .chain(["plugin".to_owned()])
            .collect();
        container["args"] = self
            .plugin
            .iter()
            .cloned()
            .map(Value::from)
            .chain([socket])
            .collect();
        container["env"] = self
            .variables
            .iter()
            .map(|(name, value)| json!({ "name": name, "value": value }))
            .collect();
        let add = |list: &mut Value, item: Value| {
            list.as_array_mut()
                .context("a list")
                .map(|list| list.push(item))
        };
        add(
            &mut container["volumeMounts"],
            json!({ "name": "program", "mountPath": BUNDLE_DIR, "readOnly": true }),
        )?;
        add(
            &mut pod["spec"]["volumes"],
            json!({ "name": "program", "hostPath": { "path": BUNDLE_DIR } }),
        )?;
        Ok(serde_saphyr::to_string(&pod)?)
    }
}

/// In double quotes, for which systemd and shells have the same escapes.
fn quote(value: &str) -> String {
    let mut text = String::from('"');
    for c in value.chars() {
        if "\"\\`$".contains(c) {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
    text
}

fn join_path(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn write_file(root: &Path, path: &str, content: &str, mode: u32) -> anyhow::Result<()> {
    use std::io::Write as _;
    let path = join_path(root, path);
    let written = || {
        if let Some(parent) = path.parent() {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(parent)?;
        }
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path)?;
        file.write_all(content.as_bytes())
    };
    written().with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::cloud::FileReference;

    const CREDENTIALS: &str = "/etc/kmslab/credentials";

    fn files(bundle: &Bundle, form: PluginForm) -> NodeFiles<'_> {
        NodeFiles {
            bundle,
            plugin: vec!["aws".into(), "--key=alias/x".into()],
            variables: vec![("AWS_SHARED_CREDENTIALS_FILE", CREDENTIALS.to_owned())],
            form,
            image: "pause:1",
            credentials: SecretFile {
                name: "credentials",
                content: "[default]\naws_secret_access_key = s3cret\n".into(),
                reference: FileReference::Variable("AWS_SHARED_CREDENTIALS_FILE"),
            },
            ca: b"CA",
            provider: "kmslab",
            resources: vec!["secrets".into()],
        }
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn every_mount_exists_and_credentials_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = Bundle::for_node(Path::new("/bin/true"), dir.path()).unwrap();
        files(&bundle, PluginForm::Systemd)
            .write(dir.path())
            .unwrap();
        let config = include_str!("../../../../kind-config/encrypted.yaml");
        let config: Value = serde_saphyr::from_str(config).unwrap();
        for mount in config["nodes"][0]["extraMounts"].as_array().unwrap() {
            let path = join_path(dir.path(), mount["containerPath"].as_str().unwrap());
            assert!(path.exists(), "{}", path.display());
        }
        let (environment, credentials) = (
            join_path(dir.path(), "/etc/kmslab/plugin.env"),
            join_path(dir.path(), CREDENTIALS),
        );
        assert_eq!((mode(&environment), mode(&credentials)), (0o600, 0o600));
        assert!(
            std::fs::read_to_string(credentials)
                .unwrap()
                .contains("aws_secret_access_key = s3cret\n")
        );
        let text = std::fs::read_to_string(environment).unwrap();
        let expected = "KMSLAB_PLUGIN_ARGS=\"aws --key=alias/x\"\nAWS_SHARED_CREDENTIALS_FILE=\"/etc/kmslab/credentials\"\n";
        assert_eq!(text, expected);
        let unit = UNIT
            .lines()
            .find_map(|line| line.strip_prefix("ExecStart="))
            .unwrap();
        assert!(
            join_path(dir.path(), unit.split(' ').next().unwrap()).exists(),
            "the unit as it is starts the lab's own program"
        );
        assert!(!format!("{:?}", files(&bundle, PluginForm::Systemd)).contains("s3cret"));
    }

    #[test]
    fn values_are_quoted_for_systemd() {
        assert_eq!(quote(r#"a "b" $c \ '"#), r#""a \"b\" \$c \\ '""#);
    }

    #[test]
    fn static_pod_manifest_changes_only_key_and_program() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = Bundle::for_node(Path::new("/bin/true"), dir.path()).unwrap();
        files(&bundle, PluginForm::StaticPod)
            .write(dir.path())
            .unwrap();
        let path = join_path(dir.path(), POD_MANIFEST);
        assert_eq!(mode(&path), 0o600);
        let text = std::fs::read_to_string(path).unwrap();
        assert!(!text.contains("s3cret"), "the API shows what stands here");
        let pod: Value = serde_saphyr::from_str(&text).unwrap();
        let container = &pod["spec"]["containers"][0];
        assert_eq!(
            container["args"],
            json!([
                "aws",
                "--key=alias/x",
                "--listen=/var/run/kmsplugin/socket.sock"
            ])
        );
        assert_eq!(
            (&container["image"], &container["ports"][0]["name"]),
            (&json!("pause:1"), &json!("health"))
        );
        assert_eq!(pod["metadata"]["labels"]["component"], "kms-plugin");
    }
}
