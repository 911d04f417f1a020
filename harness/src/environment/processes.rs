//! Everything as processes: kmslab as emulator and plugin, and the stock kube-apiserver and etcd.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;

use super::{
    Baseline, Deployment, Environment, EnvironmentSpec, PROVIDER, PluginPort, PluginSet, TARGET,
    Teardown,
};
use crate::assets::{Assets, Options, Progress, Tool};
use crate::cloud::{self, AwsCloud, Cloud, CloudKind, EmulatorAccess, Endpoints, PluginSettings};
use crate::cluster::apiserver::{ApiServerCluster, Config, Programs};
use crate::exit::{environment, usage};
use crate::platform::PortReservation;
use crate::process::{Program, own_binary};
use crate::runtime_dir::{RuntimeDir, RuntimeDirError, sweep};
use crate::service::{RestartPolicy, Service};

/// How long emulator and plugin may take to start and to stop.
const START_TIMEOUT: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Where the emulator comes from.
pub(super) enum EmulatorSource {
    /// Started here, with its own key.
    Own {
        /// The cloud.
        cloud: CloudKind,
    },
    /// A user's running emulator with the user's key.
    Given {
        /// How to reach it.
        access: EmulatorAccess,
        /// ARN of the key.
        key: String,
    },
}

/// What to start.
pub(super) struct Settings {
    pub(super) kmslab: PathBuf,
    pub(super) kms: EmulatorSource,
    /// A second cloud in our own emulator.
    pub(super) target: Option<CloudKind>,
    /// Whether processes are restarted. The emulator is not, since its keys would be lost.
    pub(super) keep: RestartPolicy,
}

/// The running environment.
pub(super) struct StartedProcesses {
    pub(super) cloud: Arc<dyn Cloud>,
    /// The emulator, and whether it was started here.
    pub(super) endpoints: Endpoints,
    pub(super) own: bool,
    pub(super) plugin: PluginSet,
    pub(super) target: Option<Deployment>,
    pub(super) cluster: ApiServerCluster,
    pub(super) parts: Processes,
}

pub(super) struct Processes {
    plugins: Vec<Service>,
    emulator: Option<Service>,
    /// The last field, so that it is dropped last.
    _dir: Arc<RuntimeDir>,
}

#[async_trait]
impl Teardown for Processes {
    async fn shutdown(&self) -> anyhow::Result<()> {
        for plugin in &self.plugins {
            plugin.stop(START_TIMEOUT).await?;
        }
        if let Some(emulator) = &self.emulator {
            emulator.stop(START_TIMEOUT).await?;
        }
        Ok(())
    }

    async fn wait_for_emulator_exit(&self) -> anyhow::Error {
        let Some(emulator) = &self.emulator else {
            return std::future::pending().await;
        };
        let child = emulator.child();
        match child.wait().await {
            Ok(status) => child.ended_error(status).into(),
            Err(error) => error.into(),
        }
    }
}

/// Finds or installs kube-apiserver and etcd.
pub(super) async fn find_programs(
    options: &Options,
    progress: &dyn Progress,
) -> anyhow::Result<Programs> {
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
    Ok(Programs {
        kube_apiserver: path(Tool::KubeApiserver)?,
        etcd: path(Tool::Etcd)?,
    })
}

/// The kmslab binary that spawns children.
pub(super) fn kmslab(given: Option<&PathBuf>) -> anyhow::Result<PathBuf> {
    given.cloned().map_or_else(
        || own_binary().context("cannot find the kmslab binary to run again"),
        Ok,
    )
}

pub(super) async fn start(
    spec: &EnvironmentSpec,
    progress: &dyn Progress,
) -> anyhow::Result<Environment> {
    let tools = find_programs(&spec.assets, progress).await?;
    drop(sweep());
    let dir = Arc::new(RuntimeDir::create_unique("run").map_err(directory_error)?);
    let kms = EmulatorSource::Own { cloud: spec.cloud };
    let settings = Settings {
        kmslab: kmslab(spec.kmslab.as_ref())?,
        kms,
        target: spec.target,
        keep: RestartPolicy::Never,
    };
    let StartedProcesses {
        cloud,
        plugin,
        target,
        cluster,
        parts,
        ..
    } = start_environment(settings, tools, &dir).await?;
    Ok(Environment {
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

/// Starts everything in `dir`. On failure the logs are kept and the error names them.
pub(super) async fn start_environment(
    settings: Settings,
    tools: Programs,
    dir: &Arc<RuntimeDir>,
) -> anyhow::Result<StartedProcesses> {
    let started = start_in(settings, tools, dir).await;
    // The directory is removed with whatever was started; its logs explain the failure.
    started.map_err(|error| match dir.keep_logs() {
        Ok(logs) => error.context(format!("logs are kept in {}", logs.display())),
        Err(_) => error,
    })
}

async fn start_in(
    settings: Settings,
    tools: Programs,
    dir: &Arc<RuntimeDir>,
) -> anyhow::Result<StartedProcesses> {
    let Settings {
        kmslab,
        kms,
        target,
        keep,
    } = settings;
    let (emulator, endpoints, cloud) = match kms {
        EmulatorSource::Own { cloud } => {
            let (emulator, endpoints) = start_emulator(&kmslab, dir).await?;
            let cloud = cloud::with_own_key(cloud, &endpoints).await?;
            (Some(emulator), endpoints, cloud)
        }
        EmulatorSource::Given { access, key } => {
            let endpoints = access.endpoints();
            (
                None,
                endpoints,
                Arc::new(AwsCloud::with_key(access, key)) as Arc<dyn Cloud>,
            )
        }
    };
    let (plugin, source) = deploy(&kmslab, dir, (PROVIDER, cloud), &endpoints, keep).await?;
    let (mut plugins, mut second) = (vec![plugin], None);
    if let Some(target) = target {
        let cloud = cloud::with_own_key(target, &endpoints).await?;
        let (plugin, deployment) = deploy(&kmslab, dir, (TARGET, cloud), &endpoints, keep).await?;
        plugins.push(plugin);
        second = Some(deployment);
    }
    let encryption = Environment::encryption(&[&source]);
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
    let Deployment { cloud, plugin, .. } = source;
    Ok(StartedProcesses {
        cloud,
        endpoints,
        own,
        plugin,
        target: second,
        cluster,
        parts,
    })
}

/// Starts a plugin for a key under a provider name.
async fn deploy(
    kmslab: &PathBuf,
    dir: &Arc<RuntimeDir>,
    (provider, cloud): (&str, Arc<dyn Cloud>),
    endpoints: &Endpoints,
    keep: RestartPolicy,
) -> anyhow::Result<(Service, Deployment)> {
    let names = if provider == TARGET {
        ("plugin-target", "target.sock")
    } else {
        ("plugin", "kms.sock")
    };
    let (plugin, port) =
        start_plugin(kmslab, dir, names, cloud.plugin_settings(endpoints)?, keep).await?;
    Ok((
        plugin,
        Deployment {
            cloud,
            plugin: port.into(),
            provider: provider.into(),
        },
    ))
}

/// An invalid name is a usage error, everything else an environment error.
pub(super) fn directory_error(error: RuntimeDirError) -> anyhow::Error {
    match error {
        RuntimeDirError::BadName(_) => usage(error.to_string()),
        _ => environment(error.to_string()),
    }
}

async fn start_emulator(
    kmslab: &PathBuf,
    dir: &Arc<RuntimeDir>,
) -> anyhow::Result<(Service, Endpoints)> {
    // Not as a flag, which other users of the machine can read.
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
        .spawner(kmslab);
    let service = Service::start(program, RestartPolicy::Never, Arc::clone(dir))?;
    let addresses = poll_until(
        "the emulator to print its addresses",
        &service,
        async || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            text.lines()
                .find_map(|line| serde_json::from_str::<Endpoints>(line).ok())
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
    keep: RestartPolicy,
) -> anyhow::Result<(Service, PluginPort)> {
    // Credentials as variables if the SDK reads them.
    let (args, variables) = match settings.secrets.is_empty() {
        false => (
            settings.args,
            [settings.variables, settings.secrets].concat(),
        ),
        true => {
            let path = dir.write_private(settings.file.name, settings.file.content.as_bytes())?;
            settings.with_secret_file(&path.display().to_string())
        }
    };
    let socket = dir.file(socket);
    let reserved = PortReservation::new().context("reserving the plugin's health port")?;
    let health = format!("127.0.0.1:{}", reserved.port());
    let mut program = Program::new(name, kmslab, dir.logs().join(format!("{name}.log")))
        .args(["plugin"])
        .args(args.iter().map(String::as_str))
        .args([
            "--probe-interval",
            "1s",
            "--health-listen",
            &health,
            "--permit-port-sharing",
            "--listen",
        ])
        .arg(&socket)
        .spawner(kmslab);
    for (name, value) in variables {
        program = program.env(name, value);
    }
    let service = Service::start(program, keep, Arc::clone(dir))?;
    let port = PluginPort::new(&socket, &format!("http://{health}"))?.with_reserved(reserved);
    poll_until("the plugin's Status to be ok", &service, async || {
        port.key_id().await.map_err(|error| error.to_string())
    })
    .await?;
    Ok((service, port))
}

/// Polls until there is a result, the process has exited, or the time is up.
async fn poll_until<T>(
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
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    tokio::select! {
        answer = tokio::time::timeout(START_TIMEOUT, asking) => answer.ok().with_context(|| {
            format!("waited {} s for {what}: {last}; its log {} ends with:\n{}", START_TIMEOUT.as_secs(), child.log().display(), child.tail(12))
        }),
        ended = child.wait() => Err(child.ended_error(ended?).into()),
    }
}
