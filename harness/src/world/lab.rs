//! A lab that stays: started by one process, used by others.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use super::processes::{self, Addresses, Joined, Kms, Processes, Settings};
use super::{Baseline, PROVIDER, Parts, PluginPort, World};
use crate::assets::{Options, Progress};
use crate::cloud::{Access, Admin, AwsCloud, Cloud, CloudKind};
use crate::cluster::Cluster;
use crate::cluster::apiserver::ApiServerCluster;
use crate::exit::{environment, usage};
use crate::lab::{self, Description};
use crate::process::Keep;
use crate::runtime_dir::{RuntimeDir, sweep};

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
    /// Whose KMS.
    pub cloud: CloudKind,
    /// The key; without it the lab starts an emulator and makes one.
    pub key: Option<GivenKey>,
    /// Where kube-apiserver and etcd come from.
    pub assets: Options,
    /// The kmslab binary to run as emulator and plugin, where it is not the running program.
    pub kmslab: Option<PathBuf>,
}

/// A lab of this process. Dropped, it is ended as a crash ends it.
pub struct RunningLab {
    description: Description,
    cluster: ApiServerCluster,
    parts: Processes,
}

impl std::fmt::Debug for RunningLab {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningLab").field("description", &self.description).finish_non_exhaustive()
    }
}

impl RunningLab {
    /// Starts all of it and tells others where it is. `progress` hears of programs that are built first.
    pub async fn start(plan: &LabPlan, progress: &dyn Progress) -> anyhow::Result<Self> {
        let CloudKind::Aws = plan.cloud;
        let kms = match &plan.key {
            None => Kms::Own { https: true },
            Some(given) => Kms::Given { access: access(given).await?, key: given.arn.clone() },
        };
        drop(sweep());
        // Before anything is built, so that a name that is taken is said at once.
        let dir = Arc::new(RuntimeDir::create(&plan.name).map_err(processes::unusable)?);
        let tools = processes::tools(&plan.assets, progress).await?;
        let kmslab = processes::kmslab(plan.kmslab.as_ref())?;
        let Joined { cloud, addresses, plugin, cluster, parts } =
            processes::join(Settings { kmslab, kms, keep: Keep::Again }, tools, &dir).await?;
        let Access { endpoint, admin, region, .. } = cloud.access();
        let own = addresses.is_some();
        let (https, ca) = addresses.map_or((None, None), |Addresses { https, ca, .. }| (https, ca));
        let description = Description {
            kms: lab::Kms {
                cloud: plan.cloud,
                endpoint: endpoint.clone(),
                https,
                ca,
                admin: admin.url().to_owned(),
                region: region.clone(),
                key: cloud.key().to_owned(),
                own,
            },
            plugin: lab::Plugin {
                provider: PROVIDER.into(),
                socket: plugin.socket().to_owned(),
                health: plugin.health().to_owned(),
            },
            cluster: cluster.description().clone(),
            variables: Description::variables_in(&dir),
        };
        description
            .publish(&dir, lab::programs(&plan.assets).as_deref())
            .map_err(|error| environment(format!("writing in {}: {error}", dir.path().display())))?;
        Ok(Self { description, cluster, parts })
    }

    /// What others know of it.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Waits until the lab can't go on: its emulator has ended by itself, and the keys with it.
    pub async fn broken(&self) -> anyhow::Error {
        self.parts.emulator_ended().await.context("the emulator has ended, and the lab's key is gone with it")
    }

    /// Ends everything, in order.
    pub async fn shutdown(&self) -> anyhow::Result<()> {
        let cluster = self.cluster.shutdown().await;
        self.parts.shutdown().await?;
        cluster
    }
}

/// How a person's key is reached, with the credentials of the environment, once it has answered.
async fn access(given: &GivenKey) -> anyhow::Result<Access> {
    let region = kmslab_plugin::kek::aws::region_of_key_arn(&given.arn).map_err(|error| usage(error.to_string()))?;
    let admin = Admin::new(&given.admin)?;
    let known = admin.keys().await.map_err(|error| {
        environment(format!(
            "{error:#}; --key takes a key of a running `kmslab emulator`, whose admin port --admin-url names"
        ))
    })?;
    if !known.rows.iter().any(|row| row.key == given.arn) {
        return Err(usage(format!("--key {}: the emulator of {} has no such key", given.arn, given.admin)));
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

/// A lab that another process keeps up, as scenarios see it, once its API server is ready.
pub async fn attach(description: &Description) -> anyhow::Result<World> {
    let lab::Kms { endpoint, admin, region, key, own, .. } = &description.kms;
    let admin = Admin::new(admin)?;
    let access = if *own { Access::own(endpoint, admin) } else { Access::given(endpoint, admin, region) };
    let lab::Plugin { provider, socket, health } = &description.plugin;
    let plugin = PluginPort::new(socket, health)?;
    let cloud = AwsCloud::with_key(access, key);
    let cluster = ApiServerCluster::attach(description.cluster.clone()).await?;
    if let Err(error) = cluster.until_ready().await {
        let plugin = plugin.key_id().await.err().map(|why| format!("; {why:#}")).unwrap_or_default();
        return Err(
            anyhow::Error::new(error).context(format!("the lab {} is not ready{plugin}", description.cluster.lab))
        );
    }
    // The emulator's count first: what is sent in between is then in the later difference, not missing from it.
    let emulator_requests = cloud.plugin_requests().await?;
    let baseline = Baseline { emulator_requests, plugin: plugin.counts().await?, stays: true };
    Ok(World {
        cloud: Arc::new(cloud),
        cluster: Arc::new(cluster),
        plugin,
        provider: provider.clone(),
        baseline,
        kind: None,
        parts: Arc::new(Attached),
    })
}
