//! All of it as processes: emulator and plugin are kmslab run again, kube-apiserver and etcd the
//! stock ones.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;

use super::{Baseline, PROVIDER, Parts, Plan, PluginPort, Plugins, Side, TARGET, World};
use crate::assets::{Assets, Options, Progress, Tool};
use crate::cloud::{self, Access, AwsCloud, Cloud, CloudKind, PluginSettings, Reach};
use crate::cluster::apiserver::{ApiServerCluster, Config, Tools};
use crate::exit::{environment, usage};
use crate::platform::free_port;
use crate::process::{Keep, Program, Service, own_binary};
use crate::runtime_dir::{RuntimeDir, RuntimeDirError, sweep};

/// How long emulator and plugin have to answer, and to end.
const PATIENCE: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(20);

/// Whose emulator it is.
pub(super) enum Kms {
    /// Started here, with a key of its own.
    Own {
        /// Whose KMS it is there.
        cloud: CloudKind,
    },
    /// Somebody's that runs, with somebody's key in it.
    Given {
        /// How it is reached.
        access: Access,
        /// The key's ARN.
        key: String,
    },
}

/// What to start, and how.
pub(super) struct Settings {
    pub(super) kmslab: PathBuf,
    pub(super) kms: Kms,
    /// A second cloud of our own emulator.
    pub(super) target: Option<CloudKind>,
    /// Whether what ends is started again. Not the emulator, whose keys are gone then.
    pub(super) keep: Keep,
}

/// All of it, running.
pub(super) struct Joined {
    pub(super) cloud: Arc<dyn Cloud>,
    /// The emulator, and whether it was started here.
    pub(super) reach: Reach,
    pub(super) own: bool,
    pub(super) plugin: Plugins,
    pub(super) target: Option<Side>,
    pub(super) cluster: ApiServerCluster,
    pub(super) parts: Processes,
}

pub(super) struct Processes {
    plugins: Vec<Service>,
    emulator: Option<Service>,
    /// Last, so that it goes last.
    _dir: Arc<RuntimeDir>,
}

#[async_trait]
impl Parts for Processes {
    async fn shutdown(&self) -> anyhow::Result<()> {
        for plugin in &self.plugins {
            plugin.stop(PATIENCE).await?;
        }
        if let Some(emulator) = &self.emulator {
            emulator.stop(PATIENCE).await?;
        }
        Ok(())
    }

    async fn emulator_ended(&self) -> anyhow::Error {
        let Some(emulator) = &self.emulator else {
            return std::future::pending().await;
        };
        let child = emulator.child();
        match child.wait().await {
            Ok(status) => child.ended(status).into(),
            Err(error) => error.into(),
        }
    }
}

/// kube-apiserver and etcd, got where they are not there.
pub(super) async fn tools(options: &Options, progress: &dyn Progress) -> anyhow::Result<Tools> {
    let found = Assets::from_env(options)
        .install(&[Tool::KubeApiserver, Tool::Etcd], progress)
        .await?;
    let path = |tool| {
        found
            .iter()
            .find(|found| found.tool == tool)
            .map(|found| found.path.clone())
            .context("an asset is missing")
    };
    Ok(Tools {
        kube_apiserver: path(Tool::KubeApiserver)?,
        etcd: path(Tool::Etcd)?,
    })
}

/// The kmslab binary that children are started through.
pub(super) fn kmslab(given: Option<&PathBuf>) -> anyhow::Result<PathBuf> {
    given.cloned().map_or_else(
        || own_binary().context("cannot find the kmslab binary to run again"),
        Ok,
    )
}

pub(super) async fn start(plan: &Plan, progress: &dyn Progress) -> anyhow::Result<World> {
    let tools = tools(&plan.assets, progress).await?;
    drop(sweep());
    let dir = Arc::new(RuntimeDir::create_unique("run").map_err(unusable)?);
    let kms = Kms::Own { cloud: plan.cloud };
    let settings = Settings {
        kmslab: kmslab(plan.kmslab.as_ref())?,
        kms,
        target: plan.target,
        keep: Keep::Once,
    };
    let Joined {
        cloud,
        plugin,
        target,
        cluster,
        parts,
        ..
    } = join(settings, tools, &dir).await?;
    Ok(World {
        cloud,
        cluster: Arc::new(cluster),
        plugin,
        provider: PROVIDER.into(),
        target,
        baseline: Baseline::default(),
        kind: None,
        parts: Arc::new(parts),
    })
}

/// Starts all of it in `dir`. Where that fails the logs are kept, and said to be.
pub(super) async fn join(
    settings: Settings,
    tools: Tools,
    dir: &Arc<RuntimeDir>,
) -> anyhow::Result<Joined> {
    let joined = join_in(settings, tools, dir).await;
    // The directory goes with whatever was started; its logs tell why it was not all of it.
    joined.map_err(|error| match dir.keep_logs() {
        Ok(logs) => error.context(format!("logs are kept in {}", logs.display())),
        Err(_) => error,
    })
}

async fn join_in(
    settings: Settings,
    tools: Tools,
    dir: &Arc<RuntimeDir>,
) -> anyhow::Result<Joined> {
    let Settings {
        kmslab,
        kms,
        target,
        keep,
    } = settings;
    let (emulator, reach, cloud) = match kms {
        Kms::Own { cloud } => {
            let (emulator, reach) = start_emulator(&kmslab, dir).await?;
            let cloud = cloud::with_own_key(cloud, &reach).await?;
            (Some(emulator), reach, cloud)
        }
        Kms::Given { access, key } => {
            let reach = access.reach();
            (
                None,
                reach,
                Arc::new(AwsCloud::with_key(access, key)) as Arc<dyn Cloud>,
            )
        }
    };
    let (plugin, source) = side(&kmslab, dir, (PROVIDER, cloud), &reach, keep).await?;
    let (mut plugins, mut second) = (vec![plugin], None);
    if let Some(target) = target {
        let cloud = cloud::with_own_key(target, &reach).await?;
        let (plugin, side) = side(&kmslab, dir, (TARGET, cloud), &reach, keep).await?;
        plugins.push(plugin);
        second = Some(side);
    }
    let encryption = World::encryption(&[&source]);
    let config = Config {
        kmslab: Some(kmslab),
        keep,
        ..Config::new(tools, Arc::clone(dir), encryption)
    };
    let cluster = ApiServerCluster::start(config).await?;
    let own = emulator.is_some();
    let parts = Processes {
        plugins,
        emulator,
        _dir: Arc::clone(dir),
    };
    let Side { cloud, plugin, .. } = source;
    Ok(Joined {
        cloud,
        reach,
        own,
        plugin,
        target: second,
        cluster,
        parts,
    })
}

/// A plugin on that key, under that provider's name.
async fn side(
    kmslab: &PathBuf,
    dir: &Arc<RuntimeDir>,
    (provider, cloud): (&str, Arc<dyn Cloud>),
    reach: &Reach,
    keep: Keep,
) -> anyhow::Result<(Service, Side)> {
    let names = if provider == TARGET {
        ("plugin-target", "target.sock")
    } else {
        ("plugin", "kms.sock")
    };
    let (plugin, port) =
        start_plugin(kmslab, dir, names, cloud.plugin_settings(reach)?, keep).await?;
    Ok((
        plugin,
        Side {
            cloud,
            plugin: port.into(),
            provider: provider.into(),
        },
    ))
}

/// A name that doesn't fit is the caller's, everything else the machine's.
pub(super) fn unusable(error: RuntimeDirError) -> anyhow::Error {
    match error {
        RuntimeDirError::BadName(_) => usage(error.to_string()),
        _ => environment(error.to_string()),
    }
}

async fn start_emulator(
    kmslab: &PathBuf,
    dir: &Arc<RuntimeDir>,
) -> anyhow::Result<(Service, Reach)> {
    // Not as a flag: other users of the machine can read those.
    let seed = dir.write_private("emulator-seed.json", cloud::seed().to_string().as_bytes())?;
    let log = dir.logs().join("emulator.log");
    let free = "127.0.0.1:0";
    let program = Program::new("emulator", kmslab, &log)
        .args([
            "emulator",
            "--listen",
            free,
            "--tls-listen",
            free,
            "--proxy-listen",
            free,
            "--admin-listen",
            free,
        ])
        .args(["--format", "json", "--seed"])
        .arg(seed)
        .args(["--tls-dir"])
        .arg(dir.file("tls"))
        .through(kmslab);
    let service = Service::start(program, Keep::Once, Arc::clone(dir))?;
    let addresses = wait(
        "the emulator to print its addresses",
        &service,
        async || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            text.lines()
                .find_map(|line| serde_json::from_str::<Reach>(line).ok())
                .ok_or_else(|| "nothing yet".to_owned())
        },
    );
    let addresses = addresses.await?;
    Ok((service, addresses))
}

async fn start_plugin(
    kmslab: &PathBuf,
    dir: &Arc<RuntimeDir>,
    (name, socket): (&str, &str),
    settings: PluginSettings,
    keep: Keep,
) -> anyhow::Result<(Service, PluginPort)> {
    // Credentials by the environment, where the SDK takes them from there.
    let (args, variables) = match settings.secrets.is_empty() {
        false => (
            settings.args,
            [settings.variables, settings.secrets].concat(),
        ),
        true => {
            let path = dir.write_private(settings.file.name, settings.file.content.as_bytes())?;
            settings.by_file(&path.display().to_string())
        }
    };
    let socket = dir.file(socket);
    let health = format!("127.0.0.1:{}", free_port()?);
    let mut program = Program::new(name, kmslab, dir.logs().join(format!("{name}.log")))
        .args(["plugin"])
        .args(args.iter().map(String::as_str))
        .args([
            "--probe-interval",
            "1s",
            "--health-listen",
            &health,
            "--listen",
        ])
        .arg(&socket)
        .through(kmslab);
    for (name, value) in variables {
        program = program.env(name, value);
    }
    let service = Service::start(program, keep, Arc::clone(dir))?;
    let port = PluginPort::new(&socket, &format!("http://{health}"))?;
    wait("the plugin's Status to be ok", &service, async || {
        port.key_id().await.map_err(|error| error.to_string())
    })
    .await?;
    Ok((service, port))
}

/// Asks until there is an answer, or the process has ended, or it takes too long.
async fn wait<T>(
    what: &str,
    service: &Service,
    ask: impl AsyncFn() -> Result<T, String>,
) -> anyhow::Result<T> {
    let child = service.child();
    let mut last = String::new();
    let asking = async {
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(why) => last = why,
            }
            tokio::time::sleep(STEP).await;
        }
    };
    tokio::select! {
        answer = tokio::time::timeout(PATIENCE, asking) => answer.ok().with_context(|| {
            format!("waited {} s for {what}: {last}; its log {} ends with:\n{}", PATIENCE.as_secs(), child.log().display(), child.tail(12))
        }),
        ended = child.wait() => Err(child.ended(ended?).into()),
    }
}
