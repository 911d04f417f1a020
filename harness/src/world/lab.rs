//! A lab that stays: started by one process, used by others.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kmslab_plugin::kek::aws::region_of_key_arn;
use tokio::time::{Instant, sleep};

use super::processes::{self, Kms, Settings};
use super::{Baseline, PROVIDER, Parts, Plan, PluginPort, Plugins, World, kind};
use crate::assets::Progress;
use crate::cloud::{self, Access, Admin, AwsCloud, Cloud, CloudKind, Reach};
use crate::cluster::apiserver::ApiServerCluster;
use crate::cluster::kind::KindCluster;
use crate::cluster::{self, Cluster, ClusterKind, Nodes};
use crate::engine::Engine;
use crate::etcd::client::EtcdError;
use crate::exit::{environment, usage};
use crate::lab::{self, Description};
use crate::process::Keep;
use crate::runtime_dir::{RuntimeDir, sweep, write_private};

/// How long a lab's etcd may take to be there again.
const REACHABLE_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A person's key, in an emulator that runs.
#[derive(Debug, Clone)]
pub struct GivenKey {
    /// Its ARN.
    pub arn: String,
    /// The emulator.
    pub endpoint: String,
    /// Its admin port.
    pub admin: String,
}

/// What is to stay.
#[derive(Debug, Clone)]
pub struct LabPlan {
    /// The lab's name.
    pub name: String,
    /// The key; without it the lab starts an emulator and makes one.
    pub key: Option<GivenKey>,
    /// What is joined.
    pub world: Plan,
}

/// A lab of this process. Dropped, it is ended as a crash ends it.
pub struct RunningLab {
    description: Description,
    cluster: Arc<dyn Cluster>,
    parts: Arc<dyn Parts>,
}

impl std::fmt::Debug for RunningLab {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningLab")
            .field("description", &self.description)
            .finish_non_exhaustive()
    }
}

impl RunningLab {
    /// Starts all of it and tells others where it is. `progress` hears of programs that are built
    /// first.
    pub async fn start(plan: &LabPlan, progress: &dyn Progress) -> anyhow::Result<Self> {
        let mut lab = match plan.world.cluster {
            ClusterKind::Embedded => {
                return Err(usage(
                    "the embedded model lives in one run: a lab that stays has none",
                ));
            }
            ClusterKind::Apiserver => of_processes(plan, progress).await?,
            ClusterKind::Kind => on_kind(plan, progress).await?,
        };
        let dir = lab.description.cluster.dir.clone();
        if let kms @ lab::Kms {
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
            .publish(lab::programs(&plan.world.assets).as_deref())
            .map_err(|error| environment(format!("writing in {}: {error}", dir.display())))?;
        Ok(lab)
    }

    /// What others know of it.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Waits until the lab can't go on: its emulator has ended by itself, and the keys with it.
    pub async fn broken(&self) -> anyhow::Error {
        self.parts
            .emulator_ended()
            .await
            .context("the emulator has ended, and the lab's key is gone with it")
    }

    /// Ends everything, in order.
    pub async fn shutdown(&self) -> anyhow::Result<()> {
        let cluster = self.cluster.shutdown().await;
        self.parts.shutdown().await?;
        cluster
    }
}

/// Before anything is built, so that a name that is taken is said at once.
fn directory(plan: &LabPlan) -> anyhow::Result<Arc<RuntimeDir>> {
    drop(sweep());
    Ok(Arc::new(
        RuntimeDir::create(&plan.name).map_err(processes::unusable)?,
    ))
}

async fn of_processes(plan: &LabPlan, progress: &dyn Progress) -> anyhow::Result<RunningLab> {
    if plan.key.is_some() && plan.world.cloud != CloudKind::Aws {
        return Err(usage(
            "--key takes the ARN of a key in AWS KMS: leave it out, and the lab makes a key of its own",
        ));
    }
    let kms = match &plan.key {
        None => Kms::Own {
            cloud: plan.world.cloud,
        },
        Some(given) => Kms::Given {
            access: access(given).await?,
            key: given.arn.clone(),
        },
    };
    let dir = directory(plan)?;
    let tools = processes::tools(&plan.world.assets, progress).await?;
    let kmslab = processes::kmslab(plan.world.kmslab.as_ref())?;
    let processes::Joined {
        cloud,
        reach,
        own,
        plugin,
        cluster,
        parts,
        ..
    } = processes::join(
        Settings {
            kmslab,
            kms,
            target: None,
            keep: Keep::Again,
        },
        tools,
        &dir,
    )
    .await?;
    let emulator = Emulator {
        cloud: &*cloud,
        reach,
        own,
    };
    let description = describe(emulator, &plugin, cluster.description().clone());
    Ok(RunningLab {
        description,
        cluster: Arc::new(cluster),
        parts: Arc::new(parts),
    })
}

async fn on_kind(plan: &LabPlan, progress: &dyn Progress) -> anyhow::Result<RunningLab> {
    if plan.key.is_some() {
        return Err(usage(
            "--key takes a key of an emulator on this machine's loopback, which a kind node cannot reach: leave it out, and the lab \
             starts an emulator that it can, or use --cluster apiserver",
        ));
    }
    let dir = directory(plan)?;
    let ready = kind::ready(&plan.world, progress).await?;
    let kmslab = processes::kmslab(plan.world.kmslab.as_ref())?;
    let kind::Joined {
        cloud,
        emulator,
        plugins,
        cluster,
        parts,
    } = kind::join(ready, kmslab, &dir, progress).await?;
    let emulator = Emulator {
        cloud: &*cloud,
        reach: emulator.reach,
        own: true,
    };
    let description = describe(emulator, &plugins, cluster.description().clone());
    Ok(RunningLab {
        description,
        cluster,
        parts: Arc::new(parts),
    })
}

/// Whose emulator it is, and where it answers.
struct Emulator<'a> {
    cloud: &'a dyn Cloud,
    reach: Reach,
    own: bool,
}

fn describe(
    emulator: Emulator<'_>,
    plugin: &Plugins,
    cluster: cluster::Description,
) -> Description {
    let Emulator { cloud, reach, own } = emulator;
    let kms = lab::Kms {
        cloud: cloud.kind(),
        endpoint: reach.http,
        https: reach.https,
        proxy: reach.proxy,
        azure_tenant: Some(reach.azure_tenant).filter(|tenant| !tenant.is_empty()),
        gcp_key_file: None,
        ca: reach.ca,
        admin: reach.admin,
        // An ARN has its region; other clouds' keys have none.
        region: region_of_key_arn(cloud.key()).unwrap_or_default(),
        key: cloud.key().to_owned(),
        own,
    };
    let plugin = lab::Plugin {
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

/// How a person's key is reached, with the credentials of the environment, once it has answered.
async fn access(given: &GivenKey) -> anyhow::Result<Access> {
    let region = region_of_key_arn(&given.arn).map_err(|error| usage(error.to_string()))?;
    let admin = Admin::new(&given.admin)?;
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
    Ok(Access::given(&given.endpoint, admin, region))
}

/// Nothing here was started by who attaches, so nothing is ended.
struct Attached;

#[async_trait]
impl Parts for Attached {
    async fn shutdown(&self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// The plugins of a lab that another process keeps up.
pub fn plugin_of(description: &Description) -> anyhow::Result<Plugins> {
    let lab::Plugin { socket, health, .. } = &description.plugin;
    match &description.cluster.kind {
        None => Ok(PluginPort::new(socket, health)?.into()),
        Some(nodes) => kind::ports(nodes),
    }
}

/// A lab that another process keeps up, as scenarios see it, once its API server is ready.
pub async fn attach(description: &Description) -> anyhow::Result<World> {
    let cloud = cloud_of(&description.kms).await?;
    let plugin = plugin_of(description)?;
    let (cluster, kind) = once_reachable(&description.cluster).await?;
    if let Err(error) = cluster.until_ready().await {
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
    // The emulator's count first: what is sent in between is then in the later difference, not
    // missing from it.
    let emulator_requests = cloud.plugin_requests().await?;
    let baseline = Baseline {
        emulator_requests,
        plugin: plugin.counts().await?,
        stays: true,
    };
    let provider = description.plugin.provider.clone();
    Ok(World {
        cloud,
        cluster,
        plugin,
        provider,
        target: None,
        baseline,
        kind,
        parts: Arc::new(Attached),
    })
}

/// The key of a lab that another process keeps up, and its operator.
async fn cloud_of(kms: &lab::Kms) -> anyhow::Result<Arc<dyn Cloud>> {
    let lab::Kms {
        endpoint,
        admin,
        region,
        key,
        own,
        ..
    } = kms;
    if !own {
        return Ok(Arc::new(AwsCloud::with_key(
            Access::given(endpoint, Admin::new(admin)?, region),
            key,
        )));
    }
    let reach = Reach {
        http: endpoint.clone(),
        https: kms.https.clone(),
        proxy: kms.proxy.clone(),
        ca: kms.ca.clone(),
        admin: admin.clone(),
        azure_tenant: kms.azure_tenant.clone().unwrap_or_default(),
    };
    cloud::with_lab_key(kms.cloud, &reach, key).await
}

/// The cluster of a lab that another process keeps up; the same once more where it is kind's.
async fn clusters(
    description: &cluster::Description,
) -> anyhow::Result<(Arc<dyn Cluster>, Option<Arc<KindCluster>>)> {
    let Some(nodes) = &description.kind else {
        return Ok((
            Arc::new(ApiServerCluster::attach(description.clone()).await?),
            None,
        ));
    };
    are_running(nodes).await?;
    let cluster = Arc::new(KindCluster::attach(description.clone(), None).await?);
    Ok((Arc::clone(&cluster) as _, Some(cluster)))
}

/// [`clusters`], as soon as etcd takes connections: a node that has just been started needs 10 s
/// for it.
async fn once_reachable(
    description: &cluster::Description,
) -> anyhow::Result<(Arc<dyn Cluster>, Option<Arc<KindCluster>>)> {
    let since = Instant::now();
    loop {
        match clusters(description).await {
            Err(error) if is_unreachable(&error) && since.elapsed() < REACHABLE_WITHIN => {
                sleep(LOOK_EVERY).await
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

/// A node that was stopped is no reason to guess at what does not answer.
async fn are_running(nodes: &Nodes) -> anyhow::Result<()> {
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

/// [`clusters`], where it is enough to know it by the trait.
pub async fn cluster_of(description: &Description) -> anyhow::Result<Arc<dyn Cluster>> {
    Ok(clusters(&description.cluster).await?.0)
}
