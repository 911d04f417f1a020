//! All of it in this process, on one virtual clock: the emulator on loopback, the plugin on a unix socket, the model between.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use async_trait::async_trait;
use kmslab_emulator::{Emulator, RunningEmulator, SeedFile};
use kmslab_keycore::{Clock, LabClock, SystemClock};
use kmslab_plugin::{Plugin, RunningPlugin};

use super::{Baseline, PROVIDER, Parts, Plan, PluginPort, World};
use crate::clock::VirtualClock;
use crate::cloud::{self, CloudKind, Reach};
use crate::cluster::Encryption;
use crate::cluster::embedded::{Config, EmbeddedCluster};
use crate::exit::environment;
use crate::runtime_dir::{RuntimeDir, sweep};

struct Tasks {
    plugin: Mutex<Option<RunningPlugin>>,
    emulator: Mutex<Option<RunningEmulator>>,
    /// Last, so that it goes last.
    _dir: Arc<RuntimeDir>,
}

#[async_trait]
impl Parts for Tasks {
    async fn shutdown(&self) -> anyhow::Result<()> {
        let plugin = self.plugin.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(plugin) = plugin {
            plugin.shutdown().await;
        }
        let emulator = self.emulator.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(emulator) = emulator {
            emulator.shutdown().await;
        }
        Ok(())
    }
}

pub(super) async fn start(plan: &Plan) -> anyhow::Result<World> {
    let any_port = Some(([127, 0, 0, 1], 0).into());
    drop(sweep());
    let dir = Arc::new(RuntimeDir::create_unique("run").map_err(|error| environment(error.to_string()))?);
    let clock = VirtualClock::at(SystemClock.now());
    let seed: SeedFile = serde_json::from_value(cloud::seed()).context("the seed of a lab")?;
    let emulator = Emulator::builder()
        .admin_listen(any_port)
        .seed(seed)
        .proxy_listen(any_port.filter(|_| plan.cloud == CloudKind::Azure))
        .lab_clock(Arc::new(LabClock::new(Arc::clone(&clock) as Arc<dyn Clock>)))
        .start()
        .await
        .map_err(|error| environment(error.to_string()))?;
    let url = |address| format!("http://{address}");
    let reach = Reach {
        http: url(emulator.http_addr()),
        https: None,
        proxy: emulator.proxy_addr().map(url),
        ca: emulator.ca_path(),
        admin: url(emulator.admin_addr().context("the emulator has no admin port")?),
        azure_tenant: emulator.azure_tenant(),
    };
    let cloud = cloud::with_own_key(plan.cloud, &reach).await?;
    let kek = cloud.kek().await?;
    let socket = dir.file("kms.sock");
    let plugin = Plugin::builder(kek, &socket)
        .timer(Arc::clone(&clock) as _)
        .health_listen(([127, 0, 0, 1], 0).into())
        .start()
        .await
        .map_err(|error| environment(error.to_string()))?;
    plugin.first_probe().await.map_err(|why| anyhow::anyhow!("the plugin's key is not usable: {why}"))?;
    let health = plugin.health_addr().context("the plugin has no health port")?;
    let port = PluginPort::new(&socket, &format!("http://{health}"))?;

    let config = Config {
        encryption: Encryption::kms(
            PROVIDER,
            &socket,
            World::resources().iter().map(|resource| resource.group_resource()).collect(),
        ),
        sabotage: plan.sabotage,
        ..Config::new(clock, &socket, PROVIDER)
    };
    let cluster = EmbeddedCluster::start(config).await?;
    let parts = Tasks { plugin: Some(plugin).into(), emulator: Some(emulator).into(), _dir: dir };
    Ok(World {
        cloud,
        cluster: Arc::new(cluster),
        plugin: port.into(),
        provider: PROVIDER.into(),
        baseline: Baseline::default(),
        kind: None,
        parts: Arc::new(parts),
    })
}
