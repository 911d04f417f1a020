//! A kind cluster with the plugin on its node and the emulator in a container beside it.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use super::emulator_container::{self, EmulatorContainer};
use super::{Baseline, PROVIDER, Parts, Plan, PluginPort, Plugins, World, processes};
use crate::assets::{Assets, Progress, Tool, requirements};
use crate::cloud::{self, Cloud, CloudKind};
use crate::cluster::Nodes;
use crate::cluster::kind::bundle::Bundle;
use crate::cluster::kind::files::{HEALTH_PORT, NodeFiles, PluginForm, SOCKET};
use crate::cluster::kind::standin::balancer_image;
use crate::cluster::kind::{Config, KindCluster, Machine};
use crate::engine::{Engine, Owned, Way};
use crate::exit::{environment, usage};
use crate::runtime_dir::{RuntimeDir, sweep};

/// What a cluster needs, got where it is not there.
pub(super) struct Ready {
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

/// All of it, running.
pub(super) struct Joined {
    pub(super) cloud: Arc<dyn Cloud>,
    pub(super) emulator: EmulatorContainer,
    /// Of each node, the first one's first.
    pub(super) plugins: Plugins,
    pub(super) cluster: Arc<KindCluster>,
    pub(super) parts: Emulator,
}

/// Gets what is missing: kind, a node image.
pub(super) async fn ready(plan: &Plan, progress: &dyn Progress) -> anyhow::Result<Ready> {
    if plan.target.is_some() {
        return Err(usage(
            "a kind cluster has one plugin on its nodes: for a second cloud use --cluster apiserver",
        ));
    }
    get_ready(plan, progress)
        .await
        .map_err(requirements::with_all_for_kind)
}

async fn get_ready(plan: &Plan, progress: &dyn Progress) -> anyhow::Result<Ready> {
    let engine = Engine::find().await?;
    enough_memory(engine.memory().await?, plan.kind.control_planes)?;
    let assets = Assets::from_env(&plan.assets);
    let kind = assets
        .install(&[Tool::Kind], progress)
        .await?
        .into_iter()
        .map(|found| found.path)
        .next();
    let kind =
        kind.ok_or_else(|| environment("kind is not there: `kmslab assets install kind`"))?;
    let image = assets
        .node_image(&engine, plan.kind.node_image.as_deref(), progress)
        .await?;
    let machine = Machine::find(&engine, &image).await?;
    if plan.kind.plugin_form == PluginForm::StaticPod && machine.pause.is_empty() {
        return Err(environment(format!(
            "the node image {image} names no pause image, which a static pod runs in here: use --plugin-form systemd"
        )));
    }
    if let Some(said) = machine.remedies.said() {
        progress.say(said);
    }
    let (form, plugin_args) = (plan.kind.plugin_form, plan.plugin_args.clone());
    let (control_planes, offline) = (plan.kind.control_planes, plan.assets.offline);
    Ok(Ready {
        cloud: plan.cloud,
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

pub(super) async fn start(plan: &Plan, progress: &dyn Progress) -> anyhow::Result<World> {
    let ready = ready(plan, progress).await?;
    drop(sweep());
    let dir = Arc::new(RuntimeDir::create_unique("run").map_err(processes::unusable)?);
    let kmslab = processes::kmslab(plan.kmslab.as_ref())?;
    let Joined {
        cloud,
        plugins,
        cluster,
        parts,
        ..
    } = join(ready, kmslab, &dir, progress).await?;
    Ok(World {
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

/// What a node takes at least: its components rest at 0.4 to 0.5 GB. The engine's own, and this
/// program, come on top.
const MEMORY_OF_A_NODE: u64 = 512 << 20;
const MEMORY_BESIDES: u64 = 512 << 20;

/// Said before anything is made: the kernel would end one of Kubernetes' parts, over and over.
fn enough_memory(there: u64, nodes: usize) -> anyhow::Result<()> {
    let needed = MEMORY_BESIDES + MEMORY_OF_A_NODE * nodes as u64;
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

/// Starts all of it. Where that fails the logs are kept, and said to be.
pub(super) async fn join(
    ready: Ready,
    kmslab: PathBuf,
    dir: &Arc<RuntimeDir>,
    progress: &dyn Progress,
) -> anyhow::Result<Joined> {
    let joined = join_in(ready, kmslab, dir, progress).await;
    joined.map_err(|error| match dir.keep_logs() {
        Ok(logs) => error.context(format!("logs are kept in {}", logs.display())),
        Err(_) => error,
    })
}

async fn join_in(
    ready: Ready,
    kmslab: PathBuf,
    dir: &Arc<RuntimeDir>,
    progress: &dyn Progress,
) -> anyhow::Result<Joined> {
    let Ready {
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
    let owned = Owned::new(engine.program(), dir.path(), &network);
    dir.note_containers(owned.clone())?;
    engine
        .run(&["network", "create", "--label", &owned.label(), &network])
        .await
        .map_err(|error| taken(error, &network))?;
    if !engine.has_names(&network).await? {
        return Err(environment(
            "containers of this Podman do not find each other by name: `sudo apt-get install netavark aardvark-dns`, and in \
             containers.conf, under [network], network_backend = \"netavark\"",
        ));
    }

    progress.say("starting the emulator in a container");
    let node = dir.file("node");
    let bundle = Bundle::for_node(&kmslab, &node)?;
    let emulator = emulator_container::start(&engine, &bundle, &network, &owned, dir).await?;
    let cloud = cloud::with_own_key(cloud, &emulator.reach).await?;

    if control_planes > 1
        && let Some(said) =
            balancer_image(&engine, &image, &bundle, &owned, dir.path(), offline).await?
    {
        progress.say(said);
    }
    progress.say("creating the kind cluster");
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
    Ok(Joined {
        cloud,
        emulator,
        plugins,
        cluster,
        parts,
    })
}

/// A network of that name is somebody else's, and stays.
fn taken(error: anyhow::Error, network: &str) -> anyhow::Error {
    if !error.to_string().contains("already exists") {
        return error;
    }
    environment(format!(
        "a network {network} is there already, of a lab of that name in this engine or of another's making: choose another name for the \
         lab, or `docker network rm {network}`"
    ))
}

/// The plugin of each node.
pub(super) fn ports(nodes: &Nodes) -> anyhow::Result<Plugins> {
    let ports = nodes.control_planes.iter().map(|node| {
        let way = Way::new(
            &nodes.engine,
            &node.container,
            &nodes.kmslab,
            SOCKET.as_ref(),
        );
        PluginPort::inside(way, SOCKET, &node.health)
    });
    Plugins::new(ports.collect::<anyhow::Result<_>>()?)
}

fn node_files<'a>(
    bundle: &'a Bundle,
    cloud: &dyn Cloud,
    emulator: &'a EmulatorContainer,
) -> anyhow::Result<NodeFiles<'a>> {
    let settings = cloud.plugin_settings(&emulator.inside)?;
    let (mut plugin, variables) = settings.by_file(&settings.file.on_node());
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
        resources: World::resources()
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
impl Parts for Emulator {
    async fn shutdown(&self) -> anyhow::Result<()> {
        // With the cluster's network, and so with the cluster.
        Ok(())
    }

    async fn emulator_ended(&self) -> anyhow::Error {
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
    fn too_little_memory_is_said_before_anything_is_made() {
        assert!(enough_memory(1 << 30, 1).is_ok());
        let error = enough_memory(1 << 30, 3).unwrap_err();
        assert!(
            error.to_string().contains("has 1024 MiB of memory")
                && error.to_string().contains("takes 2048"),
            "{error}"
        );
        assert_eq!(crate::exit::code(&error), 3);
    }
}
