//! Runs `kind create cluster` and connects to the cluster.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use super::files::{HEALTH_PORT, PluginForm};
use super::{KindCluster, Machine, config, node};
use crate::cluster::{Cluster as _, Description, Node, Nodes};
use crate::engine::{Engine, KIND_LABEL, VARIABLES};
use crate::etcd::client::TlsFiles;
use crate::exit::environment;
use crate::process::{Program, tail};
use crate::runtime_dir::RuntimeDir;
use crate::service::{RestartPolicy, Service};

/// How long kind waits for a node to be Ready: 15 s on 2 idle cores with the image present.
const READY_TIMEOUT: &str = "300s";
/// Number of lines of kind's log in an error.
const TAIL_LINES: usize = 15;
/// How long kind's command may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Configuration of a cluster.
#[derive(Debug)]
pub struct Config {
    /// Container engine of the nodes.
    pub engine: Engine,
    /// kind's command.
    pub kind: PathBuf,
    /// The node image.
    pub image: String,
    /// What this machine needs.
    pub machine: Machine,
    /// How the plugin runs.
    pub form: PluginForm,
    /// Number of control-plane nodes.
    pub control_planes: usize,
    /// Directory of configuration and logs; the nodes' files are in its `node/`.
    pub dir: Arc<RuntimeDir>,
    /// Name of the network, which exists, and of the cluster.
    pub network: String,
    /// The emulator's container, which exists.
    pub emulator: String,
    /// Command that runs kmslab on the nodes.
    pub command: Vec<String>,
    /// The kmslab binary that spawns children, by default [`crate::process::own_binary`].
    pub kmslab: Option<PathBuf>,
}

pub(super) async fn cluster(config: Config) -> anyhow::Result<KindCluster> {
    let dir = &config.dir;
    let kubeconfig = dir.file("kubeconfig");
    let file = dir.write_private(
        "kind.yaml",
        config::encrypted(
            &config.machine,
            &dir.file("node"),
            config.form,
            config.control_planes,
        )?
        .as_bytes(),
    )?;
    if let Err(error) = create(&config, &file, &kubeconfig).await {
        // The node still exists and its logs say more than kind's.
        let nodes = nodes(&config).await.unwrap_or_default();
        let mut told = String::new();
        for name in &nodes {
            node::save_logs(&config.engine, name, &dir.logs()).await;
            told.push_str(&node::diagnose(&config.engine, name).await);
        }
        return Err(if told.is_empty() {
            error
        } else {
            error.context(format!("the cluster does not start: {told}"))
        });
    }
    let nodes = nodes(&config).await?;
    let first = nodes
        .first()
        .context("kind has made no control-plane node")?;
    let (mut control_planes, mut servers) = (Vec::new(), Vec::new());
    for container in &nodes {
        servers.push(format!(
            "https://{}",
            config.engine.port(container, node::API_PORT).await?
        ));
        let health = format!(
            "http://{}",
            config.engine.port(container, HEALTH_PORT).await?
        );
        control_planes.push(Node {
            container: container.clone(),
            health,
        });
    }
    let etcd = format!(
        "https://{}",
        config.engine.port(first, node::ETCD_PORT).await?
    );
    let etcd_tls = TlsFiles {
        ca: Some(save(&config, first, node::ETCD_CA, "etcd-ca.crt").await?),
        cert: Some(save(&config, first, node::ETCD_CERT, "etcd-client.crt").await?),
        key: Some(save(&config, first, node::ETCD_KEY, "etcd-client.key").await?),
    };
    let description = Description {
        lab: dir.name().to_owned(),
        kubernetes: String::new(),
        servers,
        kubeconfig,
        etcd,
        etcd_tls: Some(etcd_tls),
        dir: dir.path().to_owned(),
        logs: dir.logs(),
        kind: Some(Nodes {
            cluster: config.network.clone(),
            engine: config.engine.program().to_owned(),
            control_planes,
            emulator: config.emulator.clone(),
            kmslab: config.command.clone(),
        }),
    };
    let cluster = KindCluster::attach(description, Some(Arc::clone(dir))).await?;
    cluster.wait_until_ready().await?;
    if config.form == PluginForm::Systemd {
        cluster.enable_plugin().await?;
    }
    Ok(cluster)
}

/// Runs `kind create cluster`. A failed node is retained for its logs.
async fn create(config: &Config, file: &Path, kubeconfig: &Path) -> anyhow::Result<()> {
    let log = config.dir.logs().join("kind.log");
    let image = config.engine.full_name(&config.image);
    let mut program = Program::new("kind", &config.kind, &log)
        .args([
            "create",
            "cluster",
            "--retain",
            "--wait",
            READY_TIMEOUT,
            "--name",
            &config.network,
            "--image",
            &image,
        ])
        .arg("--config")
        .arg(file)
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .env("KIND_EXPERIMENTAL_PROVIDER", config.engine.name())
        .env(
            format!(
                "KIND_EXPERIMENTAL_{}_NETWORK",
                config.engine.name().to_ascii_uppercase()
            ),
            &config.network,
        );
    for variable in VARIABLES {
        if let Some(value) = std::env::var_os(variable) {
            program = program.env(variable, value);
        }
    }
    if let Some(kmslab) = &config.kmslab {
        program = program.spawner(kmslab);
    }
    let service = Service::start(program, RestartPolicy::Never, Arc::clone(&config.dir))?;
    let status = service.child().wait().await?;
    service.stop(STOP_TIMEOUT).await?;
    if status.success() {
        return Ok(());
    }
    Err(explain(&tail(&log, 0, usize::MAX), &config.network, &log))
}

/// kind's error with its remedy, if known.
fn explain(message: &str, cluster: &str, log: &Path) -> anyhow::Error {
    let error = message
        .lines()
        .find_map(|line| line.strip_prefix("ERROR: "))
        .unwrap_or("it has not said why");
    if message.contains("already exist for a cluster with the name") {
        return environment(format!(
            "there are nodes of a kind cluster {cluster} already: `kind delete cluster --name {cluster}` removes them, or choose \
             another name for the lab"
        ));
    }
    if message.contains("port is already allocated") {
        return environment(format!(
            "{error}: another program took the port meanwhile; try again"
        ));
    }
    if message.contains("failed to get docker info") || message.contains("failed to pull image") {
        return environment(format!("kind: {error}"));
    }
    let lines: Vec<&str> = message.lines().collect();
    let last = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
    anyhow::anyhow!(
        "kind: {error}; its log {} ends with:\n{last}",
        log.display()
    )
}

/// The control-plane nodes, in order.
async fn nodes(config: &Config) -> anyhow::Result<Vec<String>> {
    let ours = format!("label={KIND_LABEL}={}", config.network);
    let role = "label=io.x-k8s.kind.role=control-plane";
    let format = "{{.Names}}";
    let names = config
        .engine
        .run(&[
            "ps", "--all", "--filter", &ours, "--filter", role, "--format", format,
        ])
        .await?;
    let mut names: Vec<String> = names.lines().map(str::to_owned).collect();
    // NAME-control-plane, NAME-control-plane2, NAME-control-plane3.
    names.sort_by_key(|name| (name.len(), name.clone()));
    Ok(names)
}

/// Copies a file of the node to the lab, readable by this user only.
async fn save(config: &Config, node: &str, from: &str, name: &str) -> anyhow::Result<PathBuf> {
    let content = config.engine.exec_bytes(node, &["cat", from]).await?;
    Ok(config.dir.write_private(name, &content)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_cluster_tool_have_a_remedy() {
        let log = Path::new("/x/kind.log");
        let taken = "ERROR: failed to create cluster: node(s) already exist for a cluster with the name \"kmslab-x\"\n";
        let error = explain(taken, "kmslab-x", log);
        assert!(
            error
                .to_string()
                .contains("kind delete cluster --name kmslab-x"),
            "{error}"
        );
        assert_eq!(crate::exit::code(&error), 3);
        let port = "Bind for 127.0.0.1:6443 failed: port is already allocated\nERROR: failed to create cluster: x\n";
        assert_eq!(crate::exit::code(&explain(port, "x", log)), 3);
        let other = explain(
            "one\nERROR: failed to init node with kubeadm\ntwo\n",
            "x",
            log,
        );
        assert!(
            other
                .to_string()
                .starts_with("kind: failed to init node with kubeadm; its log /x/kind.log"),
            "{other}"
        );
    }
}
