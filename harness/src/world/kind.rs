//! A kind cluster with the plugin on its node and the emulator in a container beside it.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use super::emulator_container::{self, EmulatorContainer};
use super::{Baseline, PROVIDER, Parts, Plan, PluginPort, World, processes};
use crate::assets::{Assets, Options, Progress, Tool};
use crate::cloud::{Access, Admin, AwsCloud, Cloud, CloudKind, Credentials};
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
    pub(super) plugin: PluginPort,
    pub(super) cluster: KindCluster,
}

/// Gets what is missing: kind, a node image.
pub(super) async fn ready(options: &Options, given: Option<&str>, progress: &dyn Progress) -> anyhow::Result<Ready> {
    let engine = Engine::find().await?;
    let assets = Assets::from_env(options);
    let kind = assets.install(&[Tool::Kind], progress).await?.into_iter().map(|found| found.path).next();
    let kind = kind.ok_or_else(|| crate::exit::environment("kind is not there: `kmslab assets install kind`"))?;
    let image = assets.node_image(&engine, given, progress).await?;
    let machine = Machine::find(&engine, &image).await?;
    if let Some(said) = machine.remedies.said() {
        progress.say(said);
    }
    Ok(Ready { engine, kind, image, machine })
}

pub(super) async fn start(plan: &Plan, progress: &dyn Progress) -> anyhow::Result<World> {
    let CloudKind::Aws = plan.cloud;
    let ready = ready(&plan.assets, plan.node_image.as_deref(), progress).await?;
    drop(sweep());
    let dir = Arc::new(RuntimeDir::create_unique("run").map_err(processes::unusable)?);
    let kmslab = processes::kmslab(plan.kmslab.as_ref())?;
    let Joined { cloud, plugin, cluster, .. } = join(ready, kmslab, &dir, progress).await?;
    let cluster = Arc::new(cluster);
    Ok(World {
        cloud: Arc::new(cloud),
        cluster: Arc::clone(&cluster) as _,
        kind: Some(cluster),
        plugin,
        provider: PROVIDER.into(),
        baseline: Baseline::default(),
        parts: Arc::new(Directory(dir)),
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
    let command = node_files(&kmslab, &cloud, &emulator).write(&dir.file("node"))?.command();
    let config =
        Config { engine: engine.clone(), kind, image, machine, dir: Arc::clone(dir), network, kmslab: Some(kmslab) };
    let cluster = KindCluster::start(config).await?;
    let plugin = port(&cluster, &command, 0).await?;
    Ok(Joined { cloud, plugin, cluster })
}

/// The plugin of one of the nodes, counted from 0.
pub(super) async fn port(cluster: &KindCluster, kmslab: &[String], node: usize) -> anyhow::Result<PluginPort> {
    let engine = cluster.engine();
    let node = cluster.node(node)?;
    let health = format!("http://{}", engine.port(node, HEALTH_PORT).await?);
    PluginPort::inside(Way::new(engine.program(), node, kmslab, SOCKET.as_ref()), SOCKET, &health)
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

/// What is in the engine goes with the directory that notes it.
struct Directory(Arc<RuntimeDir>);

#[async_trait]
impl Parts for Directory {
    async fn shutdown(&self) -> anyhow::Result<()> {
        let dir = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || dir.remove_containers()).await??;
        Ok(())
    }
}
