//! A kind cluster with the plugin on its node and the emulator in a container beside it.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;

use super::emulator_container::{self, EmulatorContainer};
use super::{Baseline, PROVIDER, Parts, Plan, PluginPort, World, processes};
use crate::assets::{Assets, Progress, Tool};
use crate::cloud::{Access, Admin, AwsCloud, Cloud, CloudKind, Credentials};
use crate::cluster::Nodes;
use crate::cluster::kind::bundle::Bundle;
use crate::cluster::kind::files::{CA, HEALTH_PORT, NodeFiles, SOCKET};
use crate::cluster::kind::{Config, KindCluster, Machine};
use crate::engine::{Engine, Owned, Way};
use crate::runtime_dir::{RuntimeDir, sweep};

/// What a cluster needs, got where it is not there.
pub(super) struct Ready {
    pub(super) engine: Engine,
    pub(super) kind: PathBuf,
    pub(super) image: String,
    pub(super) machine: Machine,
}

/// All of it, running.
pub(super) struct Joined {
    pub(super) cloud: AwsCloud,
    pub(super) emulator: EmulatorContainer,
    pub(super) plugin: PluginPort,
    pub(super) cluster: Arc<KindCluster>,
    pub(super) parts: Containers,
}

/// Gets what is missing: kind, a node image.
pub(super) async fn ready(plan: &Plan, progress: &dyn Progress) -> anyhow::Result<Ready> {
    let engine = Engine::find().await?;
    let assets = Assets::from_env(&plan.assets);
    let kind = assets.install(&[Tool::Kind], progress).await?.into_iter().map(|found| found.path).next();
    let kind = kind.ok_or_else(|| crate::exit::environment("kind is not there: `kmslab assets install kind`"))?;
    let image = assets.node_image(&engine, plan.node_image.as_deref(), progress).await?;
    let machine = Machine::find(&engine, &image).await?;
    if let Some(said) = machine.remedies.said() {
        progress.say(said);
    }
    Ok(Ready { engine, kind, image, machine })
}

pub(super) async fn start(plan: &Plan, progress: &dyn Progress) -> anyhow::Result<World> {
    let CloudKind::Aws = plan.cloud;
    let ready = ready(plan, progress).await?;
    drop(sweep());
    let dir = Arc::new(RuntimeDir::create_unique("run").map_err(processes::unusable)?);
    let kmslab = processes::kmslab(plan.kmslab.as_ref())?;
    let Joined { cloud, plugin, cluster, parts, .. } = join(ready, kmslab, &dir, progress).await?;
    Ok(World {
        cloud: Arc::new(cloud),
        cluster: Arc::clone(&cluster) as _,
        kind: Some(cluster),
        plugin,
        provider: PROVIDER.into(),
        baseline: Baseline::default(),
        parts: Arc::new(parts),
    })
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
    let Ready { engine, kind, image, machine } = ready;
    let network = format!("kmslab-{}", dir.name());
    let owned = Owned::new(engine.program(), dir.path(), &network);
    dir.note_containers(owned.clone())?;
    engine.run(&["network", "create", "--label", &owned.label(), &network]).await?;

    progress.say("starting the emulator in a container");
    let bundle = Bundle::create(&kmslab, &dir.file("emulator"))?;
    let emulator = emulator_container::start(&engine, &bundle, &network, &owned, dir).await?;
    let cloud = AwsCloud::with_own_key(Access::own(&emulator.http, Admin::new(&emulator.admin)?)).await?;

    progress.say("creating the kind cluster");
    let bundle = node_files(&kmslab, &cloud, &emulator).write(&dir.file("node"))?;
    let config = Config {
        engine: engine.clone(),
        kind,
        image,
        machine,
        dir: Arc::clone(dir),
        network,
        emulator: emulator.container.clone(),
        command: bundle.command(),
        kmslab: Some(kmslab),
    };
    let cluster = Arc::new(KindCluster::start(config).await?);
    let health = format!("http://{}", engine.port(cluster.node(0)?, HEALTH_PORT).await?);
    let plugin = port(cluster.nodes(), &health)?;
    let parts = Containers { engine, emulator: emulator.container.clone(), dir: Arc::clone(dir) };
    Ok(Joined { cloud, emulator, plugin, cluster, parts })
}

/// The plugin of the first node.
pub(super) fn port(nodes: &Nodes, health: &str) -> anyhow::Result<PluginPort> {
    let node = nodes.control_planes.first().context("the cluster has no node")?;
    PluginPort::inside(Way::new(&nodes.engine, node, &nodes.kmslab, SOCKET.as_ref()), SOCKET, health)
}

fn node_files<'a>(kmslab: &'a PathBuf, cloud: &AwsCloud, emulator: &'a EmulatorContainer) -> NodeFiles<'a> {
    let Access { region, plugin: Credentials { id, secret }, .. } = cloud.access();
    NodeFiles {
        program: kmslab,
        plugin: vec![
            "aws".into(),
            format!("--key={}", cloud.key()),
            format!("--region={region}"),
            format!("--endpoint-url={}", emulator.inside),
            format!("--ca-file={CA}"),
            "--probe-interval=1s".into(),
            format!("--health-listen=0.0.0.0:{HEALTH_PORT}"),
        ],
        variables: vec![("AWS_ACCESS_KEY_ID".into(), id.clone()), ("AWS_SECRET_ACCESS_KEY".into(), secret.clone())],
        ca: &emulator.ca,
        provider: PROVIDER,
        resources: World::resources().iter().map(|resource| resource.group_resource()).collect(),
    }
}

/// The emulator's and all other containers of a lab.
pub(super) struct Containers {
    engine: Engine,
    emulator: String,
    dir: Arc<RuntimeDir>,
}

#[async_trait]
impl Parts for Containers {
    async fn shutdown(&self) -> anyhow::Result<()> {
        let dir = Arc::clone(&self.dir);
        tokio::task::spawn_blocking(move || dir.remove_containers()).await??;
        Ok(())
    }

    async fn emulator_ended(&self) -> anyhow::Error {
        match self.engine.run(&["wait", &self.emulator]).await {
            Ok(code) => {
                let log = self.engine.logs(&self.emulator).await;
                anyhow::anyhow!("{} ended with {}; its log:\n{log}", self.emulator, code.trim())
            }
            Err(error) => error,
        }
    }
}
