//! Everything in this process, on one virtual clock: the emulator on loopback, the plugin on a unix
//! socket, and the model.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use async_trait::async_trait;
use kmslab_emulator::{Emulator, SeedFile};
use kmslab_keycore::{Clock, LabClock, SystemClock};
use kmslab_plugin::{Plugin, RunningPlugin};

use super::{
    Baseline, Deployment, Environment, EnvironmentSpec, PROVIDER, PluginPort, TARGET, Teardown,
};
use crate::clock::VirtualClock;
use crate::cloud::{self, CloudKind, Endpoints};
use crate::cluster::embedded::{Config, EmbeddedCluster};
use crate::exit::environment;
use crate::runtime_dir::{RuntimeDir, sweep};

struct EmbeddedTasks {
    plugins: Mutex<Vec<RunningPlugin>>,
    emulator: Mutex<Option<Emulator>>,
    /// The last field, so that it is dropped last.
    _dir: Arc<RuntimeDir>,
}

#[async_trait]
impl Teardown for EmbeddedTasks {
    async fn shutdown(&self) -> anyhow::Result<()> {
        let plugins =
            std::mem::take(&mut *self.plugins.lock().unwrap_or_else(PoisonError::into_inner));
        for plugin in plugins {
            plugin.shutdown().await;
        }
        let emulator = self
            .emulator
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(emulator) = emulator {
            emulator.stop().await;
        }
        Ok(())
    }
}

pub(super) async fn start(spec: &EnvironmentSpec) -> anyhow::Result<Environment> {
    let any_port = Some(([127, 0, 0, 1], 0).into());
    drop(sweep());
    let dir =
        Arc::new(RuntimeDir::create_unique("run").map_err(|error| environment(error.to_string()))?);
    let clock = VirtualClock::starting_at(SystemClock.now());
    let seed: SeedFile = serde_json::from_value(cloud::seed()).context("the seed of a lab")?;
    let emulator = Emulator::builder()
        .admin_listen(any_port)
        .seed(seed)
        .proxy_listen(
            any_port.filter(|_| [Some(spec.cloud), spec.target].contains(&Some(CloudKind::Azure))),
        )
        .lab_clock(Arc::new(
            LabClock::new(Arc::clone(&clock) as Arc<dyn Clock>),
        ))
        .start()
        .await
        .map_err(|error| environment(error.to_string()))?;
    let endpoints = emulator.endpoints();
    let (source, plugin) = deploy(
        spec.cloud,
        &endpoints,
        PROVIDER,
        &dir.file("kms.sock"),
        &clock,
    )
    .await?;
    let (mut plugins, mut target) = (vec![plugin], None);
    if let Some(cloud) = spec.target {
        let (deployment, plugin) =
            deploy(cloud, &endpoints, TARGET, &dir.file("target.sock"), &clock).await?;
        plugins.push(plugin);
        target = Some(deployment);
    }
    let config = Config {
        encryption: Environment::encryption(&[&source]),
        sabotage: spec.sabotage,
        ..Config::new(clock, source.plugin.socket(), PROVIDER)
    };
    let cluster = EmbeddedCluster::start(config).await?;
    let parts = EmbeddedTasks {
        plugins: plugins.into(),
        emulator: Some(emulator).into(),
        _dir: dir,
    };
    let Deployment {
        cloud,
        plugin,
        provider,
    } = source;
    Ok(Environment {
        cloud,
        cluster: Arc::new(cluster),
        plugin,
        provider,
        target,
        baseline: Baseline::default(),
        kind: None,
        parts: Arc::new(parts),
    })
}

/// Creates a key in a cloud and starts a plugin for it.
async fn deploy(
    cloud: CloudKind,
    endpoints: &Endpoints,
    provider: &str,
    socket: &Path,
    clock: &Arc<VirtualClock>,
) -> anyhow::Result<(Deployment, RunningPlugin)> {
    let cloud = cloud::with_own_key(cloud, endpoints).await?;
    let plugin = Plugin::builder(cloud.kek().await?, socket)
        .timer(Arc::clone(clock) as _)
        .health_listen(([127, 0, 0, 1], 0).into())
        .start()
        .await
        .map_err(|error| environment(error.to_string()))?;
    plugin
        .first_probe()
        .await
        .map_err(|why| anyhow::anyhow!("the plugin's key is not usable: {why}"))?;
    let health = plugin
        .health_addr()
        .context("the plugin has no health port")?;
    let port = PluginPort::new(socket, &format!("http://{health}"))?;
    Ok((
        Deployment {
            cloud,
            plugin: port.into(),
            provider: provider.into(),
        },
        plugin,
    ))
}
