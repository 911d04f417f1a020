//! All of it as processes: emulator and plugin are kmslab run again, kube-apiserver and etcd the stock ones.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use serde::Deserialize;

use super::{PROVIDER, Parts, Plan, PluginPort, World};
use crate::assets::{self, Cache, Progress, Tool};
use crate::cloud::{ACCOUNT, Admin, AwsCloud, Cloud, CloudKind, Credentials, REGION};
use crate::cluster::Cluster;
use crate::cluster::apiserver::{ApiServerCluster, Config, EncryptionConfig, Tools};
use crate::exit::environment;
use crate::platform::free_port;
use crate::process::{Keep, Program, Service, own_binary};
use crate::runtime_dir::{RuntimeDir, sweep};

/// How long emulator and plugin have to answer, and to end.
const PATIENCE: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(20);

/// What `kmslab emulator --format json` prints first.
#[derive(Debug, Deserialize)]
struct Addresses {
    http: String,
    admin: String,
}

struct Processes {
    plugin: Service,
    emulator: Service,
    /// Last, so that it goes last.
    _dir: Arc<RuntimeDir>,
}

#[async_trait]
impl Parts for Processes {
    async fn shutdown(&self) -> anyhow::Result<()> {
        self.plugin.stop(PATIENCE).await?;
        self.emulator.stop(PATIENCE).await?;
        Ok(())
    }
}

/// kube-apiserver and etcd, got where they are not there.
pub(super) async fn tools(progress: &dyn Progress) -> anyhow::Result<Tools> {
    let found = assets::install(&[Tool::KubeApiserver, Tool::Etcd], &Cache::from_env(), progress).await?;
    let path = |tool| {
        found.iter().find(|found| found.tool == tool).map(|found| found.path.clone()).context("an asset is missing")
    };
    Ok(Tools { kube_apiserver: path(Tool::KubeApiserver)?, etcd: path(Tool::Etcd)? })
}

pub(super) async fn start(plan: &Plan, progress: &dyn Progress) -> anyhow::Result<World> {
    let tools = tools(progress).await?;
    drop(sweep());
    let dir = Arc::new(RuntimeDir::create_unique("run").map_err(|error| environment(error.to_string()))?);
    let started = start_in(plan, tools, &dir).await;
    // The directory goes with whatever was started; its logs tell why it was not all of it.
    started.map_err(|error| match dir.keep_logs() {
        Ok(logs) => error.context(format!("logs are kept in {}", logs.display())),
        Err(_) => error,
    })
}

async fn start_in(plan: &Plan, tools: Tools, dir: &Arc<RuntimeDir>) -> anyhow::Result<World> {
    let CloudKind::Aws = plan.cloud;
    let kmslab = match &plan.kmslab {
        Some(given) => given.clone(),
        None => own_binary().context("cannot find the kmslab binary to run again")?,
    };
    let (emulator, addresses) = start_emulator(&kmslab, dir).await?;
    let admin = Admin::new(&addresses.admin)?;
    let cloud = AwsCloud::connect(&addresses.http, admin, None).await?;
    let (plugin, port) = start_plugin(&kmslab, dir, &cloud, &addresses.http).await?;
    let resources = World::resources().iter().map(|resource| resource.group_resource()).collect();
    let encryption = EncryptionConfig::Kms { provider: PROVIDER.into(), socket: port.socket().to_owned(), resources };
    let config = Config { kmslab: Some(kmslab), ..Config::new(tools, Arc::clone(dir), encryption) };
    let cluster: Arc<dyn Cluster> = Arc::new(ApiServerCluster::start(config).await?);
    let parts = Processes { plugin, emulator, _dir: Arc::clone(dir) };
    Ok(World { cloud: Arc::new(cloud), cluster, plugin: port, provider: PROVIDER.into(), parts: Arc::new(parts) })
}

async fn start_emulator(kmslab: &PathBuf, dir: &Arc<RuntimeDir>) -> anyhow::Result<(Service, Addresses)> {
    // Not as a flag: other users of the machine can read those.
    let Credentials { id, secret } = Credentials::plugin();
    let seed = serde_json::json!({ "credentials": [{ "id": id, "secret": secret, "account": ACCOUNT }] });
    let seed = dir.write_private("emulator-seed.json", seed.to_string().as_bytes())?;
    let log = dir.logs().join("emulator.log");
    let program = Program::new("emulator", kmslab, &log)
        .args(["emulator", "--listen", "127.0.0.1:0", "--no-tls", "--admin-listen", "127.0.0.1:0", "--format", "json"])
        .arg("--seed")
        .arg(seed)
        .through(kmslab);
    let service = Service::start(program, Keep::Once, Arc::clone(dir))?;
    let addresses = wait("the emulator to print its addresses", &service, async || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.lines()
            .find_map(|line| serde_json::from_str::<Addresses>(line).ok())
            .ok_or_else(|| "nothing yet".to_owned())
    });
    let addresses = addresses.await?;
    Ok((service, addresses))
}

async fn start_plugin(
    kmslab: &PathBuf,
    dir: &Arc<RuntimeDir>,
    cloud: &AwsCloud,
    endpoint: &str,
) -> anyhow::Result<(Service, PluginPort)> {
    let Credentials { id, secret } = Credentials::plugin();
    let socket = dir.file("kms.sock");
    let health = format!("127.0.0.1:{}", free_port()?);
    let program = Program::new("plugin", kmslab, dir.logs().join("plugin.log"))
        .args(["plugin", "aws", "--key", cloud.key(), "--region", REGION, "--endpoint-url", endpoint])
        .args(["--probe-interval", "1s", "--health-listen", &health, "--listen"])
        .arg(&socket)
        .env("AWS_ACCESS_KEY_ID", id)
        .env("AWS_SECRET_ACCESS_KEY", secret)
        .through(kmslab);
    let service = Service::start(program, Keep::Once, Arc::clone(dir))?;
    let port = PluginPort::new(&socket, &health)?;
    wait("the plugin's Status to be ok", &service, async || port.key_id().await.map_err(|error| error.to_string()))
        .await?;
    Ok((service, port))
}

/// Asks until there is an answer, or the process has ended, or it takes too long.
async fn wait<T>(what: &str, service: &Service, ask: impl AsyncFn() -> Result<T, String>) -> anyhow::Result<T> {
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
