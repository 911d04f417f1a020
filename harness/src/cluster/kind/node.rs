//! Operations on a node, by commands that the engine runs there.

use std::path::Path;
use std::time::Duration;

use crate::engine::Engine;

/// The API server's port on a node.
pub(super) const API_PORT: u16 = 6443;
/// etcd's port on a node.
pub(super) const ETCD_PORT: u16 = 2379;
/// kubeadm's paths.
pub(super) const ETCD_CA: &str = "/etc/kubernetes/pki/etcd/ca.crt";
pub(super) const ETCD_CERT: &str = "/etc/kubernetes/pki/etcd/server.crt";
pub(super) const ETCD_KEY: &str = "/etc/kubernetes/pki/etcd/server.key";
const MANIFEST: &str = "/etc/kubernetes/manifests/kube-apiserver.yaml";
/// Where the manifest is kept while the API server is held down.
const HELD_MANIFEST: &str = "/etc/kubernetes/kube-apiserver.yaml.held";
/// Annotation that distinguishes the starts of the API server.
const STARTED_ANNOTATION: &str = "kmslab.invalid\\/started";
const UNIT: &str = "kmslab-plugin.service";

/// Logs of the node, and the commands that print them.
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
/// Logs whose end is quoted in errors.
const QUOTED_LOGS: [&str; 3] = ["plugin.log", "plugin-pod.log", "kube-apiserver.log"];
const QUOTED_LINES: usize = 6;

/// Kills the API server's process and moves its manifest away, so that kubelet does not restart it.
pub(super) async fn kill_server(engine: &Engine, node: &str) -> anyhow::Result<()> {
    let script =
        format!("mv {MANIFEST} {HELD_MANIFEST}; pkill --signal KILL --exact kube-apiserver");
    engine.exec(node, &["sh", "-c", &script]).await.map(drop)
}

/// Moves the manifest back as that of another pod: kubelet would delay the restart of the killed
/// one, longer each time. Any change of a manifest makes it another pod.
pub(super) async fn release_server(engine: &Engine, node: &str) -> anyhow::Result<()> {
    let again = format!(
        "/{STARTED_ANNOTATION}:/d; s|^  annotations:|&\\n    {STARTED_ANNOTATION}: \"'$(date +%s%N)'\"|"
    );
    let script = format!(
        "test ! -e {HELD_MANIFEST} || {{ sed -i '{again}' {HELD_MANIFEST} && mv {HELD_MANIFEST} {MANIFEST}; }}"
    );
    engine.exec(node, &["sh", "-c", &script]).await.map(drop)
}

/// Starts the unit at boot by itself, not only as a dependency of kubelet.
pub(super) async fn enable_plugin(engine: &Engine, node: &str) -> anyhow::Result<()> {
    engine
        .exec(node, &["systemctl", "enable", "--quiet", UNIT])
        .await
        .map(drop)
}

/// Copies the node's logs into `logs`, as far as they exist.
pub(super) async fn save_logs(engine: &Engine, node: &str, logs: &Path) {
    for (name, command) in LOGS {
        if let Some(text) = log(engine, node, command).await
            && let Err(error) = std::fs::write(logs.join(format!("{node}-{name}")), text)
        {
            tracing::warn!(%error, node, name, "cannot save a log");
        }
    }
}

/// The end of the logs of plugin and API server.
pub(super) async fn diagnose(engine: &Engine, node: &str) -> String {
    let mut told = String::new();
    for (name, command) in LOGS.iter().filter(|(name, _)| QUOTED_LOGS.contains(name)) {
        let Some(text) = log(engine, node, command).await else {
            continue;
        };
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n");
        told.push_str(&format!("\n{node}, {name} ends with:\n{last}"));
    }
    told
}

/// A log, or `None`: this runs after a failure and must not hide it.
async fn log(engine: &Engine, node: &str, command: &str) -> Option<String> {
    let script = format!("{command} 2>/dev/null");
    let command = ["sh", "-c", &script];
    let requested = engine.exec(node, &command);
    let text = tokio::time::timeout(Duration::from_secs(10), requested)
        .await
        .ok()?
        .ok()?;
    (!text.trim().is_empty() && !text.starts_with("-- No entries --")).then_some(text)
}
