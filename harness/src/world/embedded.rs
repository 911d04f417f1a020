//! All of it in this process, on one virtual clock: the emulator on loopback, the plugin on a unix
//! socket, the model between.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use async_trait::async_trait;
use kmslab_emulator::{Emulator, RunningEmulator, SeedFile};
use kmslab_keycore::{Clock, LabClock, SystemClock};
use kmslab_plugin::{Plugin, RunningPlugin};

use super::{Baseline, PROVIDER, Parts, Plan, PluginPort, Side, TARGET, World};
use crate::clock::VirtualClock;
use crate::cloud::{self, CloudKind, Reach};
use crate::cluster::embedded::{Config, EmbeddedCluster};
use crate::exit::environment;
use crate::runtime_dir::{RuntimeDir, sweep};

struct Tasks {
    plugins: Mutex<Vec<RunningPlugin>>,
    emulator: Mutex<Option<RunningEmulator>>,
    /// Last, so that it goes last.
    _dir: Arc<RuntimeDir>,
}

#[async_trait]
impl Parts for Tasks {
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
            emulator.shutdown().await;
        }
        Ok(())
    }
}

pub(super) async fn start(plan: &Plan) -> anyhow::Result<World> {
    let any_port = Some(([127, 0, 0, 1], 0).into());
    drop(sweep());
    let dir =
        Arc::new(RuntimeDir::create_unique("run").map_err(|error| environment(error.to_string()))?);
    let clock = VirtualClock::at(SystemClock.now());
    let seed: SeedFile = serde_json::from_value(cloud::seed()).context("the seed of a lab")?;
    let emulator = Emulator::builder()
        .admin_listen(any_port)
        .seed(seed)
        .proxy_listen(
            any_port.filter(|_| [Some(plan.cloud), plan.target].contains(&Some(CloudKind::Azure))),
        )
        .lab_clock(Arc::new(
            LabClock::new(Arc::clone(&clock) as Arc<dyn Clock>),
        ))
        .start()
        .await
        .map_err(|error| environment(error.to_string()))?;
    let url = |address| format!("http://{address}");
    let reach = Reach {
        http: url(emulator.http_addr()),
        https: None,
        proxy: emulator.proxy_addr().map(url),
        ca: emulator.ca_path(),
        admin: url(emulator
            .admin_addr()
            .context("the emulator has no admin port")?),
        azure_tenant: emulator.azure_tenant(),
    };
    let (source, plugin) =
        side(plan.cloud, &reach, PROVIDER, &dir.file("kms.sock"), &clock).await?;
    let (mut plugins, mut target) = (vec![plugin], None);
    if let Some(cloud) = plan.target {
        let (side, plugin) = side(cloud, &reach, TARGET, &dir.file("target.sock"), &clock).await?;
        plugins.push(plugin);
        target = Some(side);
    }
    let config = Config {
        encryption: World::encryption(&[&source]),
        sabotage: plan.sabotage,
        ..Config::new(clock, source.plugin.socket(), PROVIDER)
    };
    let cluster = EmbeddedCluster::start(config).await?;
    let parts = Tasks {
        plugins: plugins.into(),
        emulator: Some(emulator).into(),
        _dir: dir,
    };
    let Side {
        cloud,
        plugin,
        provider,
    } = source;
    Ok(World {
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

/// A key of that cloud, and a plugin on it.
async fn side(
    cloud: CloudKind,
    reach: &Reach,
    provider: &str,
    socket: &Path,
    clock: &Arc<VirtualClock>,
) -> anyhow::Result<(Side, RunningPlugin)> {
    let cloud = cloud::with_own_key(cloud, reach).await?;
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
        Side {
            cloud,
            plugin: port.into(),
            provider: provider.into(),
        },
        plugin,
    ))
}
