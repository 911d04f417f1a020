//! What is mounted into a control-plane node: the tree `node/` of kind-config/encrypted.yaml, filled by a lab.

use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::bundle::{Bundle, HOME};
use crate::cluster::apiserver::EncryptionConfig;

const UNIT: &str = include_str!("../../../../plugin/deploy/kmslab-plugin.service");
const KUBELET: &str = include_str!("../../../../plugin/deploy/kubelet.service.d/10-kmslab-plugin.conf");
/// The unit's own word for the program, which a lab puts the bundle in place of.
const PROGRAM: &str = "/usr/local/bin/kmslab-plugin";

/// The plugin's socket on the node, as the guide has it.
pub const SOCKET: &str = "/var/run/kmsplugin/socket.sock";
/// Its health port on the node.
pub const HEALTH_PORT: u16 = 8080;
/// Where the CA of the plugin's endpoint lies on the node.
pub const CA: &str = "/etc/kmslab/ca.pem";

/// What the plugin on the node is to be.
pub struct NodeFiles<'a> {
    /// kmslab, to be mounted.
    pub program: &'a Path,
    /// `aws --key=… --endpoint-url=…`; the unit adds the socket.
    pub plugin: Vec<String>,
    /// Credentials and other variables of the plugin.
    pub variables: Vec<(String, String)>,
    /// The CA of its endpoint.
    pub ca: &'a [u8],
    /// `kms.name`.
    pub provider: &'a str,
    /// What is encrypted: `secrets`, `widgets.example.com`.
    pub resources: Vec<String>,
}

impl std::fmt::Debug for NodeFiles<'_> {
    /// Without the variables, which are credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeFiles").field("plugin", &self.plugin).finish_non_exhaustive()
    }
}

impl NodeFiles<'_> {
    /// Writes all of it below `root`, which becomes what `node/` is by hand.
    pub fn write(&self, root: &Path) -> anyhow::Result<Bundle> {
        let bundle = Bundle::create(self.program, &below(root, HOME))?;
        let encryption = EncryptionConfig::Kms {
            provider: self.provider.into(),
            socket: SOCKET.into(),
            resources: self.resources.clone(),
        };
        let unit = "/etc/systemd/system/kmslab-plugin.service";
        put(root, unit, UNIT, 0o644)?;
        put(root, &format!("{unit}.d/10-lab.conf"), &self.command(&bundle)?, 0o644)?;
        put(root, "/etc/systemd/system/kubelet.service.d/10-kmslab-plugin.conf", KUBELET, 0o644)?;
        put(root, "/etc/kmslab/plugin.env", &self.environment()?, 0o600)?;
        put(root, CA, &String::from_utf8_lossy(self.ca), 0o644)?;
        put(root, "/etc/kubernetes/enc/encryption-configuration.yaml", &encryption.render()?, 0o600)?;
        Ok(bundle)
    }

    /// The unit with the bundle as its program, and nothing else changed.
    fn command(&self, bundle: &Bundle) -> anyhow::Result<String> {
        let line = UNIT.lines().find_map(|line| line.strip_prefix("ExecStart="));
        let line = line.and_then(|line| line.strip_prefix(PROGRAM)).context("the plugin's unit does not start it")?;
        let program = bundle.command().join(" ");
        Ok(format!("# The lab's own build of the plugin.\n[Service]\nExecStart=\nExecStart={program} plugin{line}\n"))
    }

    /// For systemd's EnvironmentFile.
    fn environment(&self) -> anyhow::Result<String> {
        let args = ("KMSLAB_PLUGIN_ARGS".to_owned(), self.plugin.join(" "));
        let mut text = String::new();
        for (name, value) in std::iter::once(&args).chain(&self.variables) {
            anyhow::ensure!(!value.contains('\n'), "the value of {name} has more than one line");
            text.push_str(&format!("{name}={}\n", quoted(value)));
        }
        Ok(text)
    }
}

/// In double quotes, where systemd and shells agree on what is to be escaped.
fn quoted(value: &str) -> String {
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

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn put(root: &Path, path: &str, content: &str, mode: u32) -> anyhow::Result<()> {
    use std::io::Write as _;
    let path = below(root, path);
    let written = || {
        if let Some(parent) = path.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        }
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
        file.write_all(content.as_bytes())
    };
    written().with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn every_mount_of_the_configuration_is_there_and_credentials_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let files = NodeFiles {
            program: Path::new("/bin/true"),
            plugin: vec!["aws".into(), "--key=alias/x".into()],
            variables: vec![("AWS_SECRET_ACCESS_KEY".into(), "a b'c$d".into())],
            ca: b"CA",
            provider: "kmslab",
            resources: vec!["secrets".into()],
        };
        files.write(dir.path()).unwrap();
        let config = include_str!("../../../../kind-config/encrypted.yaml");
        let config: serde_json::Value = serde_saphyr::from_str(config).unwrap();
        for mount in config["nodes"][0]["extraMounts"].as_array().unwrap() {
            let path = below(dir.path(), mount["containerPath"].as_str().unwrap());
            assert!(path.exists(), "{}", path.display());
        }
        let environment = dir.path().join("etc/kmslab/plugin.env");
        assert_eq!(std::fs::metadata(&environment).unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(environment).unwrap();
        assert_eq!(text, "KMSLAB_PLUGIN_ARGS=\"aws --key=alias/x\"\nAWS_SECRET_ACCESS_KEY=\"a b'c\\$d\"\n");
        let unit = dir.path().join("etc/systemd/system/kmslab-plugin.service.d/10-lab.conf");
        let unit = std::fs::read_to_string(unit).unwrap();
        assert!(
            unit.contains("/opt/kmslab/kmslab plugin $KMSLAB_PLUGIN_ARGS --listen=/var/run/kmsplugin/socket.sock\n"),
            "{unit}"
        );
    }
}
