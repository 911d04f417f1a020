//! What is done on a node, by commands that the engine runs there.

use std::path::Path;
use std::time::Duration;

use crate::engine::Engine;

/// The API server's port on a node.
pub(super) const API_PORT: u16 = 6443;
/// etcd's.
pub(super) const ETCD_PORT: u16 = 2379;
/// kubeadm's own places.
pub(super) const ETCD_CA: &str = "/etc/kubernetes/pki/etcd/ca.crt";
pub(super) const ETCD_CERT: &str = "/etc/kubernetes/pki/etcd/server.crt";
pub(super) const ETCD_KEY: &str = "/etc/kubernetes/pki/etcd/server.key";
const MANIFEST: &str = "/etc/kubernetes/manifests/kube-apiserver.yaml";
/// Where the manifest waits while the API server is held down.
const HELD: &str = "/etc/kubernetes/kube-apiserver.yaml.held";
/// Annotation that tells one start of the API server from another.
const STARTED: &str = "kmslab.invalid\\/started";
const UNIT: &str = "kmslab-plugin.service";

/// A log of the node, the command that shows it, and whether an error quotes it.
const LOGS: [(&str, &str); 5] = [
    (
        "plugin.log",
        "journalctl --unit=kmslab-plugin --no-pager --output=cat",
    ),
    (
        "kube-apiserver.log",
        "cat /var/log/pods/kube-system_kube-apiserver-*/kube-apiserver/*.log",
    ),
    (
        "kubelet.log",
        "journalctl --unit=kubelet --no-pager --output=cat",
    ),
    (
        "etcd.log",
        "cat /var/log/pods/kube-system_etcd-*/etcd/*.log",
    ),
    (
        "plugin-pod.log",
        "cat /var/log/pods/kube-system_kmslab-plugin-*/*/*.log",
    ),
];
/// Those that an error quotes the end of.
const QUOTED: [&str; 3] = ["plugin.log", "plugin-pod.log", "kube-apiserver.log"];
const QUOTED_LINES: usize = 6;

/// The API server's process ends at once, and the kubelet finds no manifest to start it from.
pub(super) async fn kill_server(engine: &Engine, node: &str) -> anyhow::Result<()> {
    let script = format!("mv {MANIFEST} {HELD}; pkill --signal KILL --exact kube-apiserver");
    engine.exec(node, &["sh", "-c", &script]).await.map(drop)
}

/// The kubelet finds the manifest again, as another pod's: the one that was killed has crashed to
/// it, and would have to wait, longer each time. A static pod is another one when anything in its
/// manifest is.
pub(super) async fn release_server(engine: &Engine, node: &str) -> anyhow::Result<()> {
    let again = format!("/{STARTED}:/d; s|^  annotations:|&\\n    {STARTED}: \"'$(date +%s%N)'\"|");
    let script =
        format!("test ! -e {HELD} || {{ sed -i '{again}' {HELD} && mv {HELD} {MANIFEST}; }}");
    engine.exec(node, &["sh", "-c", &script]).await.map(drop)
}

/// The unit is started at boot by itself too, not only as a need of the kubelet's.
pub(super) async fn enable_plugin(engine: &Engine, node: &str) -> anyhow::Result<()> {
    engine
        .exec(node, &["systemctl", "enable", "--quiet", UNIT])
        .await
        .map(drop)
}

/// Copies the node's logs into `logs`, as far as there are any.
pub(super) async fn save_logs(engine: &Engine, node: &str, logs: &Path) {
    for (name, command) in LOGS {
        if let Some(text) = log(engine, node, command).await
            && let Err(error) = std::fs::write(logs.join(format!("{node}-{name}")), text)
        {
            tracing::warn!(%error, node, name, "cannot save a log");
        }
    }
}

/// The last words of the plugin and of the API server.
pub(super) async fn diagnose(engine: &Engine, node: &str) -> String {
    let mut told = String::new();
    for (name, command) in LOGS.iter().filter(|(name, _)| QUOTED.contains(name)) {
        let Some(text) = log(engine, node, command).await else {
            continue;
        };
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n");
        told.push_str(&format!("\n{node}, {name} ends with:\n{last}"));
    }
    told
}

/// A log, unless there is none or it can't be had: this comes after a failure, and must not hide
/// it.
async fn log(engine: &Engine, node: &str, command: &str) -> Option<String> {
    let script = format!("{command} 2>/dev/null");
    let command = ["sh", "-c", &script];
    let asked = engine.exec(node, &command);
    let text = tokio::time::timeout(Duration::from_secs(10), asked)
        .await
        .ok()?
        .ok()?;
    (!text.trim().is_empty() && !text.starts_with("-- No entries --")).then_some(text)
}
