//! Emulator, plugin and cluster joined: what a scenario plays on.

mod embedded;
mod emulator_container;
mod kind;
mod lab;
mod plugin;
mod processes;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use lab::{GivenKey, LabPlan, RunningLab, attach, cluster_of, plugin_of};
pub use plugin::{Counts, PluginPort, Plugins};

use crate::assets::{Options, Progress};
use crate::cloud::{Cloud, CloudKind};
use crate::cluster::embedded::Sabotage;
use crate::cluster::kind::KindCluster;
use crate::cluster::kind::files::PluginForm;
use crate::cluster::{Cluster, ClusterKind, Encryption, Provider, Resource};
use crate::exit::usage;

/// `kms.name` of every lab's EncryptionConfiguration, as in kind-config/.
pub const PROVIDER: &str = "kmslab";

/// `kms.name` of the plugin that a scenario migrates to.
const TARGET: &str = "kmslab-target";

/// What only kind clusters have.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct KindOptions {
    /// The node image of a kind cluster; by default kindest/node, or one that is built where that
    /// can't be pulled
    #[arg(long, value_name = "IMAGE")]
    pub node_image: Option<String>,
    /// How the plugin runs on the node of a kind cluster
    #[arg(long, value_enum, default_value_t)]
    pub plugin_form: PluginForm,
    /// How many control-plane nodes a kind cluster has, each with an API server, a member of etcd
    /// and a plugin
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = control_planes)]
    pub control_planes: usize,
}

impl Default for KindOptions {
    fn default() -> Self {
        Self {
            node_image: None,
            plugin_form: PluginForm::default(),
            control_planes: 1,
        }
    }
}

/// More than five members make no etcd safer.
fn control_planes(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|number| (1..=5).contains(number))
        .ok_or_else(|| "use a number from 1 to 5".into())
}

impl KindOptions {
    /// Refuses them for another cluster.
    pub fn check(&self, cluster: ClusterKind) -> anyhow::Result<()> {
        let flag = match self {
            Self {
                node_image: Some(_),
                ..
            } => "--node-image",
            Self {
                plugin_form: PluginForm::StaticPod,
                ..
            } => "--plugin-form static-pod",
            Self {
                control_planes: 2..,
                ..
            } => "--control-planes",
            Self { .. } => return Ok(()),
        };
        if cluster == ClusterKind::Kind {
            return Ok(());
        }
        Err(usage(format!(
            "{flag} is for --cluster kind, and this is on {cluster}"
        )))
    }
}

/// What is to be joined.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Whose KMS.
    pub cloud: CloudKind,
    /// A second cloud, with a key and a plugin that no configuration names yet.
    pub target: Option<CloudKind>,
    /// Which kind of cluster.
    pub cluster: ClusterKind,
    /// Where kube-apiserver and etcd come from.
    pub assets: Options,
    /// What only kind clusters have.
    pub kind: KindOptions,
    /// More flags of the plugin, for tests that show what a broken one leads to.
    #[doc(hidden)]
    pub plugin_args: Vec<String>,
    /// The kmslab binary to run as emulator and plugin, where it is not the running program.
    pub kmslab: Option<PathBuf>,
    /// Faults of the model, for tests that show they would be noticed.
    #[doc(hidden)]
    pub sabotage: Sabotage,
}

impl Plan {
    /// A world of that cloud and that cluster.
    pub fn new(cloud: CloudKind, cluster: ClusterKind) -> Self {
        Self {
            cloud,
            target: None,
            cluster,
            assets: Options::default(),
            kind: KindOptions::default(),
            plugin_args: Vec::new(),
            kmslab: None,
            sabotage: Sabotage::default(),
        }
    }
}

/// What was called, and whether all of it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Traffic {
    /// gRPC calls that the plugin answered.
    pub grpc_calls: u64,
    /// Requests that the plugin's SDK sent.
    pub sdk_requests: u64,
    /// Requests under the plugin's credentials that the emulator saw.
    pub emulator_requests: u64,
    /// Whether others may have sent some of those: in a lab that stays, which people use besides.
    #[serde(skip)]
    pub others: bool,
}

/// What had been called before a run began: nothing, but in a lab that stays.
#[derive(Debug, Clone, Copy, Default)]
struct Baseline {
    plugin: Counts,
    emulator_requests: u64,
    /// Whether the lab stays, and so has others who call.
    stays: bool,
}

impl Baseline {
    /// What came since. A plugin that was started again meanwhile counts from 0 again.
    fn taken_from(&self, plugin: Counts, emulator_requests: u64) -> Traffic {
        let restarted = plugin.grpc_calls < self.plugin.grpc_calls
            || plugin.sdk_requests < self.plugin.sdk_requests;
        let before = if restarted {
            Counts::default()
        } else {
            self.plugin
        };
        Traffic {
            grpc_calls: plugin.grpc_calls - before.grpc_calls,
            sdk_requests: plugin.sdk_requests - before.sdk_requests,
            emulator_requests: emulator_requests.saturating_sub(self.emulator_requests),
            others: self.stays,
        }
    }
}

impl Traffic {
    /// Why these counts show no way from the API server through the plugin to the cloud; `None`
    /// where they do.
    pub fn broken(&self) -> Option<String> {
        let Self {
            grpc_calls,
            sdk_requests,
            emulator_requests,
            others,
        } = *self;
        if grpc_calls == 0 {
            return Some("the plugin answered no gRPC call".into());
        }
        if sdk_requests == 0 {
            return Some("the plugin's SDK sent no request".into());
        }
        let lost = if others {
            sdk_requests > emulator_requests
        } else {
            sdk_requests != emulator_requests
        };
        lost.then(|| {
            format!("the plugin's SDK sent {sdk_requests} requests, and the emulator saw {emulator_requests} of them")
        })
    }
}

/// A key, and the plugins that use it.
#[derive(Clone)]
pub struct Side {
    /// The key and its operator.
    pub cloud: Arc<dyn Cloud>,
    /// The plugins.
    pub plugin: Plugins,
    /// `kms.name`.
    pub provider: String,
}

impl std::fmt::Debug for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cloud = self.cloud.kind();
        f.debug_struct("Side")
            .field("cloud", &cloud)
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}

impl Side {
    /// Its entry in a provider list.
    pub fn entry(&self) -> Provider {
        Provider::kms(&self.provider, self.plugin.socket())
    }
}

/// One emulator, one plugin, one cluster.
#[derive(Clone)]
pub struct World {
    /// The key and its operator.
    pub cloud: Arc<dyn Cloud>,
    /// The API server and its etcd.
    pub cluster: Arc<dyn Cluster>,
    /// The plugins.
    pub plugin: Plugins,
    /// `kms.name`.
    pub provider: String,
    /// A second cloud's key and plugin, which no configuration names at the start.
    pub target: Option<Side>,
    baseline: Baseline,
    parts: Arc<dyn Parts>,
    kind: Option<Arc<KindCluster>>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (cloud, cluster) = (self.cloud.kind(), self.cluster.kind());
        f.debug_struct("World")
            .field("cloud", &cloud)
            .field("cluster", &cluster)
            .finish_non_exhaustive()
    }
}

/// What a world has started besides its cluster. Dropped, it is ended as a crash ends it.
#[async_trait::async_trait]
trait Parts: Send + Sync {
    /// Ends plugin and emulator, in this order, once the cluster has ended.
    async fn shutdown(&self) -> anyhow::Result<()>;
    /// Waits until an emulator that was started here has ended by itself; for ever where there is
    /// none.
    async fn emulator_ended(&self) -> anyhow::Error {
        std::future::pending().await
    }
}

/// How often counts are read again until they agree.
const COUNT_TRIES: u32 = 20;

impl World {
    /// Starts all of it. `progress` hears of programs that are built first.
    ///
    /// Google's SDK sends requests to 127.0.0.1 through `HTTP_PROXY` where the environment of this
    /// process names one: a program that embeds this has `127.0.0.1` in `NO_PROXY`, as the command
    /// kmslab sees to.
    pub async fn start(plan: &Plan, progress: &dyn Progress) -> anyhow::Result<Self> {
        match plan.cluster {
            ClusterKind::Embedded => embedded::start(plan).await,
            ClusterKind::Apiserver => processes::start(plan, progress).await,
            ClusterKind::Kind => kind::start(plan, progress).await,
        }
    }

    /// Gets what such a world needs, and starts nothing. `progress` hears what takes long.
    pub async fn prepare(plan: &Plan, progress: &dyn Progress) -> anyhow::Result<()> {
        match plan.cluster {
            ClusterKind::Embedded => Ok(()),
            ClusterKind::Apiserver => processes::tools(&plan.assets, progress).await.map(drop),
            ClusterKind::Kind => kind::ready(plan, progress).await.map(drop),
        }
    }

    /// Whether it stays when this run is over, so that the run must clean up after itself.
    pub fn stays(&self) -> bool {
        self.baseline.stays
    }

    /// The cluster, where it is kind's: for what only that has, its nodes.
    pub fn kind(&self) -> Option<&KindCluster> {
        self.kind.as_deref()
    }

    /// What is encrypted, as kind-config/ has it.
    pub fn resources() -> [Resource; 3] {
        [
            Resource::secrets(),
            Resource::config_maps(),
            Resource::new("example.com", "v1", "widgets", "Widget", true),
        ]
    }

    /// The key that encrypts at the start.
    pub fn source(&self) -> Side {
        Side {
            cloud: Arc::clone(&self.cloud),
            plugin: self.plugin.clone(),
            provider: self.provider.clone(),
        }
    }

    /// The encrypted resources under that provider list, with plaintext read last.
    pub fn encryption(sides: &[&Side]) -> Encryption {
        let resources = Self::resources()
            .iter()
            .map(Resource::group_resource)
            .collect();
        let providers = sides
            .iter()
            .map(|side| side.entry())
            .chain([Provider::Identity])
            .collect();
        Encryption {
            resources,
            providers,
        }
    }

    /// What was called so far. A probe of the plugin may be under way at any time; the counts are
    /// read until none is between the plugin and the emulator, or until it is sure that one was
    /// lost.
    pub async fn traffic(&self) -> anyhow::Result<Traffic> {
        let mut tries = COUNT_TRIES;
        loop {
            let mut counts = self.plugin.counts().await?;
            let mut emulator_requests = self.cloud.plugin_requests().await?;
            if let Some(Side { cloud, plugin, .. }) = &self.target {
                counts = counts.and(plugin.counts().await?);
                emulator_requests += cloud.plugin_requests().await?;
            }
            let traffic = self.baseline.taken_from(counts, emulator_requests);
            tries -= 1;
            if traffic.broken().is_none() || tries == 0 {
                return Ok(traffic);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends everything, in order: API server and etcd, plugin, emulator.
    pub async fn shutdown(&self) -> anyhow::Result<()> {
        let cluster = self.cluster.shutdown().await;
        self.parts.shutdown().await?;
        cluster
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_lab_that_stays_only_what_came_since_counts_and_others_may_call() {
        let before = Counts {
            grpc_calls: 100,
            sdk_requests: 50,
        };
        let baseline = Baseline {
            plugin: before,
            emulator_requests: 80,
            stays: true,
        };
        let traffic = baseline.taken_from(
            Counts {
                grpc_calls: 103,
                sdk_requests: 54,
            },
            90,
        );
        assert_eq!(
            (
                traffic.grpc_calls,
                traffic.sdk_requests,
                traffic.emulator_requests
            ),
            (3, 4, 10)
        );
        assert_eq!(traffic.broken(), None);
        let lost = baseline.taken_from(
            Counts {
                grpc_calls: 103,
                sdk_requests: 54,
            },
            83,
        );
        assert!(
            lost.broken()
                .unwrap()
                .contains("sent 4 requests, and the emulator saw 3")
        );
        assert!(
            baseline.taken_from(before, 90).broken().is_some(),
            "nothing was called since"
        );
        // A plugin that was started again has counted from 0.
        let restarted = baseline.taken_from(
            Counts {
                grpc_calls: 2,
                sdk_requests: 3,
            },
            90,
        );
        assert_eq!(
            (
                restarted.grpc_calls,
                restarted.sdk_requests,
                restarted.broken()
            ),
            (2, 3, None)
        );
    }
}
