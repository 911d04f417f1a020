//! A kind cluster with the plugin on its nodes and the emulator in a container.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use super::emulator_container::{self, EmulatorContainer};
use super::{
    Baseline, Environment, EnvironmentSpec, PROVIDER, PluginPort, PluginSet, Teardown, processes,
};
use crate::assets::{Assets, Progress, Tool, requirements};
use crate::cloud::{self, Cloud, CloudKind};
use crate::cluster::Nodes;
use crate::cluster::kind::balancer_image::ensure;
use crate::cluster::kind::bundle::Bundle;
use crate::cluster::kind::files::{HEALTH_PORT, NodeFiles, PluginForm, SOCKET_PATH};
use crate::cluster::kind::{Config, KindCluster, Machine};
use crate::engine::{ContainerSocket, Engine, OwnedContainers};
use crate::exit::{environment, usage};
use crate::runtime_dir::{RuntimeDir, sweep};

/// What a cluster needs, installed if missing.
pub(super) struct KindPrerequisites {
    pub(super) cloud: CloudKind,
    pub(super) engine: Engine,
    pub(super) kind: PathBuf,
    pub(super) image: String,
    pub(super) machine: Machine,
    pub(super) form: PluginForm,
    pub(super) plugin_args: Vec<String>,
    pub(super) control_planes: usize,
    pub(super) offline: bool,
}

/// The running environment.
pub(super) struct StartedKind {
    pub(super) cloud: Arc<dyn Cloud>,
    pub(super) emulator: EmulatorContainer,
    /// One per node, the first node's first.
    pub(super) plugins: PluginSet,
    pub(super) cluster: Arc<KindCluster>,
    pub(super) parts: Emulator,
}

/// Installs what is missing: kind, a node image.
pub(super) async fn prepare(
    spec: &EnvironmentSpec,
    progress: &dyn Progress,
) -> anyhow::Result<KindPrerequisites> {
    if spec.target.is_some() {
        return Err(usage(
            "a kind cluster has one plugin on its nodes: for a second cloud use --cluster apiserver",
        ));
    }
    prepare_with(spec, progress)
        .await
        .map_err(requirements::with_all_for_kind)
}

async fn prepare_with(
    spec: &EnvironmentSpec,
    progress: &dyn Progress,
) -> anyhow::Result<KindPrerequisites> {
    let engine = Engine::find().await?;
    ensure_memory(engine.memory().await?, spec.kind.control_planes)?;
    let assets = Assets::from_env(&spec.assets);
    let kind = assets
        .install(&[Tool::Kind], progress)
        .await?
        .into_iter()
        .map(|found| found.path)
        .next();
    let kind =
        kind.ok_or_else(|| environment("kind is not installed: run `kmslab assets install kind`"))?;
    let image = assets
        .node_image(&engine, spec.kind.node_image.as_deref(), progress)
        .await?;
    let machine = Machine::detect(&engine, &image).await?;
    if spec.kind.plugin_form == PluginForm::StaticPod && machine.pause.is_empty() {
        return Err(environment(format!(
            "the node image {image} names no pause image, which a static pod runs in here: use --plugin-form systemd"
        )));
    }
    if let Some(message) = machine.remedies.description() {
        progress.message(message);
    }
    let (form, plugin_args) = (spec.kind.plugin_form, spec.plugin_args.clone());
    let (control_planes, offline) = (spec.kind.control_planes, spec.assets.offline);
    Ok(KindPrerequisites {
        cloud: spec.cloud,
        engine,
        kind,
        image,
        machine,
        form,
        plugin_args,
        control_planes,
        offline,
    })
}

pub(super) async fn start(
    spec: &EnvironmentSpec,
    progress: &dyn Progress,
) -> anyhow::Result<Environment> {
    let ready = prepare(spec, progress).await?;
    drop(sweep());
    let dir = Arc::new(RuntimeDir::create_unique("run").map_err(processes::directory_error)?);
    let kmslab = processes::kmslab(spec.kmslab.as_ref())?;
    let StartedKind {
        cloud,
        plugins,
        cluster,
        parts,
        ..
    } = start_environment(ready, kmslab, &dir, progress).await?;
    Ok(Environment {
        cloud,
        cluster: Arc::clone(&cluster) as _,
        kind: Some(cluster),
        plugin: plugins,
        provider: PROVIDER.into(),
        target: None,
        baseline: Baseline::default(),
        parts: Arc::new(parts),
    })
}

/// Minimum memory of a node: its idle components take 0.4 to 0.5 GB. The engine and this program
/// need more.
const MIN_NODE_MEMORY: u64 = 512 << 20;
const RESERVED_MEMORY: u64 = 512 << 20;

/// Checked before anything is created: the kernel would kill Kubernetes' components repeatedly.
fn ensure_memory(there: u64, nodes: usize) -> anyhow::Result<()> {
    let needed = RESERVED_MEMORY + MIN_NODE_MEMORY * nodes as u64;
    if there >= needed {
        return Ok(());
    }
    Err(environment(format!(
        "the container engine's machine has {} MiB of memory, and a kind cluster of {nodes} control-plane nodes takes {}: give it more (in \
         Docker Desktop under Resources), or use --cluster apiserver",
        there >> 20,
        needed >> 20
    )))
}

/// Starts everything. On failure the logs are kept and the error names them.
pub(super) async fn start_environment(
    ready: KindPrerequisites,
    kmslab: PathBuf,
    dir: &Arc<RuntimeDir>,
    progress: &dyn Progress,
) -> anyhow::Result<StartedKind> {
    let started = start_in(ready, kmslab, dir, progress).await;
    started.map_err(|error| match dir.keep_logs() {
        Ok(logs) => error.context(format!("logs are kept in {}", logs.display())),
        Err(_) => error,
    })
}

async fn start_in(
    ready: KindPrerequisites,
    kmslab: PathBuf,
    dir: &Arc<RuntimeDir>,
    progress: &dyn Progress,
) -> anyhow::Result<StartedKind> {
    let KindPrerequisites {
        cloud,
        engine,
        kind,
        image,
        machine,
        form,
        plugin_args,
        control_planes,
        offline,
    } = ready;
    let network = format!("kmslab-{}", dir.name());
    let owned = OwnedContainers::new(engine.program(), dir.path(), &network);
    dir.record_containers(owned.clone())?;
    engine
        .run(&["network", "create", "--label", &owned.label(), &network])
        .await
        .map_err(|error| name_in_use(error, &network))?;
    if !engine.has_names(&network).await? {
        return Err(environment(
            "containers of this Podman do not find each other by name: `sudo apt-get install netavark aardvark-dns`, and in \
             containers.conf, under [network], network_backend = \"netavark\"",
        ));
    }

    progress.message("starting the emulator in a container");
    let node = dir.file("node");
    let bundle = Bundle::for_node(&kmslab, &node)?;
    let emulator = emulator_container::start(&engine, &bundle, &network, &owned, dir).await?;
    let cloud = cloud::with_own_key(cloud, &emulator.endpoints).await?;

    if control_planes > 1
        && let Some(message) = ensure(&engine, &image, &bundle, &owned, dir.path(), offline).await?
    {
        progress.message(message);
    }
    progress.message("creating the kind cluster");
    let mut files = node_files(&bundle, &*cloud, &emulator)?;
    files.plugin.extend(plugin_args);
    NodeFiles {
        form,
        image: &machine.pause,
        ..files
    }
    .write(&node)?;
    let config = Config {
        engine: engine.clone(),
        kind,
        image,
        machine,
        form,
        control_planes,
        dir: Arc::clone(dir),
        network,
        emulator: emulator.container.clone(),
        command: bundle.command(),
        kmslab: Some(kmslab),
    };
    let cluster = Arc::new(KindCluster::start(config).await?);
    let plugins = ports(cluster.nodes())?;
    let parts = Emulator {
        engine,
        container: emulator.container.clone(),
    };
    Ok(StartedKind {
        cloud,
        emulator,
        plugins,
        cluster,
        parts,
    })
}

/// A network of that name belongs to somebody else and stays.
fn name_in_use(error: anyhow::Error, network: &str) -> anyhow::Error {
    if !error.to_string().contains("already exists") {
        return error;
    }
    environment(format!(
        "a network {network} exists already, from another lab of that name or created by somebody else: choose another name for the \
         lab, or `docker network rm {network}`"
    ))
}

/// The plugin of each node.
pub(super) fn ports(nodes: &Nodes) -> anyhow::Result<PluginSet> {
    let ports = nodes.control_planes.iter().map(|node| {
        let way = ContainerSocket::new(
            &nodes.engine,
            &node.container,
            &nodes.kmslab,
            SOCKET_PATH.as_ref(),
        );
        PluginPort::in_container(way, SOCKET_PATH, &node.health)
    });
    PluginSet::new(ports.collect::<anyhow::Result<_>>()?)
}

fn node_files<'a>(
    bundle: &'a Bundle,
    cloud: &dyn Cloud,
    emulator: &'a EmulatorContainer,
) -> anyhow::Result<NodeFiles<'a>> {
    let settings = cloud.plugin_settings(&emulator.from_nodes)?;
    let (mut plugin, variables) = settings.with_secret_file(&settings.file.node_path());
    plugin.extend([
        "--probe-interval=1s".into(),
        format!("--health-listen=0.0.0.0:{HEALTH_PORT}"),
    ]);
    Ok(NodeFiles {
        bundle,
        plugin,
        variables,
        form: PluginForm::default(),
        image: "",
        credentials: settings.file,
        ca: &emulator.ca,
        provider: PROVIDER,
        resources: Environment::resources()
            .iter()
            .map(|resource| resource.group_resource())
            .collect(),
    })
}

/// The emulator's container.
pub(super) struct Emulator {
    engine: Engine,
    container: String,
}

#[async_trait]
impl Teardown for Emulator {
    async fn shutdown(&self) -> anyhow::Result<()> {
        // Removed with the cluster's network.
        Ok(())
    }

    async fn wait_for_emulator_exit(&self) -> anyhow::Error {
        match self.engine.run(&["wait", &self.container]).await {
            Ok(code) => {
                let log = self.engine.logs(&self.container).await;
                anyhow::anyhow!(
                    "{} ended with {}; its log:\n{log}",
                    self.container,
                    code.trim()
                )
            }
            Err(error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_memory_is_reported_before_anything_is_created() {
        assert!(ensure_memory(1 << 30, 1).is_ok());
        let error = ensure_memory(1 << 30, 3).unwrap_err();
        assert!(
            error.to_string().contains("has 1024 MiB of memory")
                && error.to_string().contains("takes 2048"),
            "{error}"
        );
        assert_eq!(crate::exit::code(&error), 3);
    }
}
