//! Labs that stay: started by one process, used by others.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kmslab_emulator_api::AuditQuery;
use kmslab_plugin::kek::aws::region_of_key_arn;
use tokio::time::{Instant, sleep};

use super::processes::{self, EmulatorSource, Settings};
use super::{
    Baseline, Environment, EnvironmentSpec, PROVIDER, PluginPort, PluginSet, Teardown, kind,
};
use crate::assets::Progress;
use crate::cloud::{self, AdminClient, AwsCloud, Cloud, CloudKind, EmulatorAccess, Endpoints};
use crate::cluster::apiserver::ApiServerCluster;
use crate::cluster::kind::KindCluster;
use crate::cluster::{self, Cluster, ClusterKind, Nodes};
use crate::engine::Engine;
use crate::etcd::client::EtcdError;
use crate::exit::{environment, usage};
use crate::lab::{self, Description};
use crate::runtime_dir::{RuntimeDir, sweep, write_private};
use crate::service::RestartPolicy;

/// How long a lab's etcd may take to respond again.
const ETCD_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// A user's key in a running emulator.
#[derive(Debug, Clone)]
pub struct UserKey {
    /// ARN of the key.
    pub arn: String,
    /// URL of the emulator.
    pub endpoint: String,
    /// URL of its admin port.
    pub admin: String,
}

/// Configuration of a lab.
#[derive(Debug, Clone)]
pub struct LabSpec {
    /// Name of the lab.
    pub name: String,
    /// The key; without it the lab starts an emulator and creates one.
    pub key: Option<UserKey>,
    /// The environment.
    pub environment: EnvironmentSpec,
}

/// A lab of this process. Dropping it kills everything.
pub struct RunningLab {
    description: Description,
    cluster: Arc<dyn Cluster>,
    parts: Arc<dyn Teardown>,
}

impl std::fmt::Debug for RunningLab {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningLab")
            .field("description", &self.description)
            .finish_non_exhaustive()
    }
}

impl RunningLab {
    /// Starts a lab and publishes its description. `progress` reports programs that are built
    /// first.
    pub async fn start(spec: &LabSpec, progress: &dyn Progress) -> anyhow::Result<Self> {
        let mut lab = match spec.environment.cluster {
            ClusterKind::Embedded => {
                return Err(usage(
                    "the embedded model exists within one run only: choose another cluster for a lab",
                ));
            }
            ClusterKind::Apiserver => start_processes(spec, progress).await?,
            ClusterKind::Kind => start_kind(spec, progress).await?,
        };
        let dir = lab.description.cluster.dir.clone();
        if let kms @ lab::KmsDescription {
            cloud: CloudKind::Gcp,
            own: true,
            ..
        } = &mut lab.description.kms
        {
            let file = cloud::gcp_operator_key_file(&kms.endpoint).await?;
            let path = dir.join("gcp-operator.json");
            write_private(&path, file.as_bytes())
                .map_err(|error| environment(format!("writing {}: {error}", path.display())))?;
            kms.gcp_key_file = Some(path);
        }
        lab.description
            .publish(lab::client_programs(&spec.environment.assets).as_deref())
            .map_err(|error| environment(format!("writing in {}: {error}", dir.display())))?;
        Ok(lab)
    }

    /// Its published description.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Waits until the lab cannot continue because its emulator, and with it the keys, has exited.
    pub async fn wait_until_broken(&self) -> anyhow::Error {
        self.parts
            .wait_for_emulator_exit()
            .await
            .context("the emulator has ended, and the lab's key is gone with it")
    }

    /// Stops everything, in order.
    pub async fn shutdown(&self) -> anyhow::Result<()> {
        let cluster = self.cluster.shutdown().await;
        self.parts.shutdown().await?;
        cluster
    }
}

/// Before anything is built, so that a name in use is reported at once.
fn directory(spec: &LabSpec) -> anyhow::Result<Arc<RuntimeDir>> {
    drop(sweep());
    Ok(Arc::new(
        RuntimeDir::create(&spec.name).map_err(processes::directory_error)?,
    ))
}

async fn start_processes(spec: &LabSpec, progress: &dyn Progress) -> anyhow::Result<RunningLab> {
    if spec.key.is_some() && spec.environment.cloud != CloudKind::Aws {
        return Err(usage(
            "--key takes the ARN of a key in AWS KMS: leave it out, and the lab makes a key of its own",
        ));
    }
    let kms = match &spec.key {
        None => EmulatorSource::Own {
            cloud: spec.environment.cloud,
        },
        Some(given) => EmulatorSource::Given {
            access: access(given).await?,
            key: given.arn.clone(),
        },
    };
    let dir = directory(spec)?;
    let tools = processes::find_programs(&spec.environment.assets, progress).await?;
    let kmslab = processes::kmslab(spec.environment.kmslab.as_ref())?;
    let processes::StartedProcesses {
        cloud,
        endpoints,
        own,
        plugin,
        cluster,
        parts,
        ..
    } = processes::start_environment(
        Settings {
            kmslab,
            kms,
            target: None,
            keep: RestartPolicy::Always,
        },
        tools,
        &dir,
    )
    .await?;
    let emulator = Emulator {
        cloud: &*cloud,
        endpoints,
        own,
    };
    let description = describe(emulator, &plugin, cluster.description().clone());
    Ok(RunningLab {
        description,
        cluster: Arc::new(cluster),
        parts: Arc::new(parts),
    })
}

async fn start_kind(spec: &LabSpec, progress: &dyn Progress) -> anyhow::Result<RunningLab> {
    if spec.key.is_some() {
        return Err(usage(
            "--key takes a key of an emulator on this machine's loopback, which a kind node cannot reach: leave it out, and the lab \
             starts an emulator that it can, or use --cluster apiserver",
        ));
    }
    let dir = directory(spec)?;
    let ready = kind::prepare(&spec.environment, progress).await?;
    let kmslab = processes::kmslab(spec.environment.kmslab.as_ref())?;
    let kind::StartedKind {
        cloud,
        emulator,
        plugins,
        cluster,
        parts,
    } = kind::start_environment(ready, kmslab, &dir, progress).await?;
    let emulator = Emulator {
        cloud: &*cloud,
        endpoints: emulator.endpoints,
        own: true,
    };
    let description = describe(emulator, &plugins, cluster.description().clone());
    Ok(RunningLab {
        description,
        cluster,
        parts: Arc::new(parts),
    })
}

/// The emulator and its endpoints.
struct Emulator<'a> {
    cloud: &'a dyn Cloud,
    endpoints: Endpoints,
    own: bool,
}

fn describe(
    emulator: Emulator<'_>,
    plugin: &PluginSet,
    cluster: cluster::Description,
) -> Description {
    let Emulator {
        cloud,
        endpoints,
        own,
    } = emulator;
    let kms = lab::KmsDescription {
        cloud: cloud.kind(),
        endpoint: endpoints.http,
        https: endpoints.https,
        proxy: endpoints.proxy,
        azure_tenant: Some(endpoints.azure_tenant).filter(|tenant| !tenant.is_empty()),
        gcp_key_file: None,
        ca: endpoints.ca,
        admin: endpoints.admin.unwrap_or_default(),
        // An ARN contains its region; other clouds' keys have none.
        region: region_of_key_arn(cloud.key()).unwrap_or_default(),
        key: cloud.key().to_owned(),
        own,
    };
    let plugin = lab::PluginDescription {
        provider: PROVIDER.into(),
        socket: plugin.socket().to_owned(),
        health: plugin.health().to_owned(),
    };
    Description {
        kms,
        plugin,
        variables: Description::variables_in(&cluster.dir),
        cluster,
    }
}

/// Connects to a user's emulator with the credentials of the environment.
async fn access(given: &UserKey) -> anyhow::Result<EmulatorAccess> {
    let region = region_of_key_arn(&given.arn).map_err(|error| usage(error.to_string()))?;
    let admin = AdminClient::new(&given.admin)?;
    let known = admin.keys().await.map_err(|error| {
        environment(format!(
            "{error:#}; --key takes a key of a running `kmslab emulator`, whose admin port --admin-url names"
        ))
    })?;
    if !known.rows.iter().any(|row| row.key == given.arn) {
        return Err(usage(format!(
            "--key {}: the emulator of {} has no such key",
            given.arn, given.admin
        )));
    }
    Ok(EmulatorAccess::of_user(&given.endpoint, admin, region))
}

/// An attached process started nothing, so it stops nothing.
struct AttachedTeardown;

#[async_trait]
impl Teardown for AttachedTeardown {
    async fn shutdown(&self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// The plugins of a lab that another process supervises.
pub fn attach_plugins(description: &Description) -> anyhow::Result<PluginSet> {
    let lab::PluginDescription { socket, health, .. } = &description.plugin;
    match &description.cluster.kind {
        None => Ok(PluginPort::new(socket, health)?.into()),
        Some(nodes) => kind::ports(nodes),
    }
}

/// Attaches to a lab that another process supervises, once its API server is ready.
pub async fn attach(description: &Description) -> anyhow::Result<Environment> {
    let cloud = attach_cloud(&description.kms).await?;
    let plugin = attach_plugins(description)?;
    let (cluster, kind) = attach_when_reachable(&description.cluster).await?;
    if let Err(error) = cluster.wait_until_ready().await {
        let plugin = plugin
            .key_id()
            .await
            .err()
            .map(|why| format!("; {why:#}"))
            .unwrap_or_default();
        return Err(error.context(format!(
            "the lab {} is not ready{plugin}",
            description.cluster.lab
        )));
    }
    // The emulator's counts first: requests in between then increase the later difference, and are
    // not missing from it.
    let emulator_requests = cloud.plugin_requests().await?;
    let baseline = Baseline {
        emulator_requests,
        sequence: cloud.admin().audit(&latest_event()).await?.next,
        plugin: plugin.counts().await?,
        stays: true,
    };
    let provider = description.plugin.provider.clone();
    Ok(Environment {
        cloud,
        cluster,
        plugin,
        provider,
        target: None,
        baseline,
        kind,
        parts: Arc::new(AttachedTeardown),
    })
}

/// A query whose answer has the number of the latest event, and no events.
fn latest_event() -> AuditQuery {
    AuditQuery {
        since: u64::MAX,
        ..AuditQuery::default()
    }
}

/// Attaches to the key of a lab that another process supervises.
async fn attach_cloud(kms: &lab::KmsDescription) -> anyhow::Result<Arc<dyn Cloud>> {
    let lab::KmsDescription {
        endpoint,
        admin,
        region,
        key,
        own,
        ..
    } = kms;
    if !own {
        return Ok(Arc::new(AwsCloud::with_key(
            EmulatorAccess::of_user(endpoint, AdminClient::new(admin)?, region),
            key,
        )));
    }
    let endpoints = Endpoints {
        http: endpoint.clone(),
        https: kms.https.clone(),
        proxy: kms.proxy.clone(),
        ca: kms.ca.clone(),
        admin: Some(admin.clone()),
        azure_tenant: kms.azure_tenant.clone().unwrap_or_default(),
        gcp_key_file: None,
    };
    cloud::with_lab_key(kms.cloud, &endpoints, key).await
}

/// Attaches to the cluster of a lab that another process supervises; returns it again as a kind
/// cluster if it is one.
async fn attach_cluster(
    description: &cluster::Description,
) -> anyhow::Result<(Arc<dyn Cluster>, Option<Arc<KindCluster>>)> {
    let Some(nodes) = &description.kind else {
        return Ok((
            Arc::new(ApiServerCluster::attach(description.clone()).await?),
            None,
        ));
    };
    ensure_running(nodes).await?;
    let cluster = Arc::new(KindCluster::attach(description.clone(), None).await?);
    Ok((Arc::clone(&cluster) as _, Some(cluster)))
}

/// [`attach_cluster`] as soon as etcd accepts connections: a node that was just started needs 10 s
/// for it.
async fn attach_when_reachable(
    description: &cluster::Description,
) -> anyhow::Result<(Arc<dyn Cluster>, Option<Arc<KindCluster>>)> {
    let since = Instant::now();
    loop {
        match attach_cluster(description).await {
            Err(error) if is_unreachable(&error) && since.elapsed() < ETCD_TIMEOUT => {
                sleep(POLL_INTERVAL).await
            }
            done => return done,
        }
    }
}

fn is_unreachable(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| matches!(cause.downcast_ref(), Some(EtcdError::Connect { .. })))
}

/// A stopped node is reported as such.
async fn ensure_running(nodes: &Nodes) -> anyhow::Result<()> {
    let engine = Engine::at(&nodes.engine);
    for node in &nodes.control_planes {
        if let Err(state) = engine.state(&node.container).await {
            let (name, container) = (engine.name(), &node.container);
            return Err(environment(format!(
                "the node {container} does not run ({state:#}): `{name} start {container}` starts it"
            )));
        }
    }
    Ok(())
}

/// `attach_cluster` as a trait object only.
pub async fn attach_any_cluster(description: &Description) -> anyhow::Result<Arc<dyn Cluster>> {
    Ok(attach_cluster(&description.cluster).await?.0)
}
