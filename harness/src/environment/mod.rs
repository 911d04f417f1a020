//! An environment: emulator, plugin and cluster, in which scenarios run.

mod embedded;
mod emulator_container;
mod faults;
mod kind;
mod lab;
mod plugin;
mod processes;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use lab::{LabSpec, RunningLab, UserKey, attach, attach_any_cluster, attach_plugins};
pub use plugin::{Counts, PluginPort, PluginSet};

use crate::assets::{Options, Progress};
use crate::cloud::{Cloud, CloudKind};
use crate::cluster::embedded::Sabotage;
use crate::cluster::kind::KindCluster;
use crate::cluster::kind::files::PluginForm;
use crate::cluster::{Cluster, ClusterKind, Encryption, Provider, Resource};
use crate::exit::usage;

/// `kms.name` in every lab's EncryptionConfiguration, as in kind-config/.
pub const PROVIDER: &str = "kmslab";

/// `kms.name` of the plugin that a scenario migrates to.
const TARGET: &str = "kmslab-target";

/// Options of kind clusters.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct KindOptions {
    /// Node image of a kind cluster; by default kindest/node, or one that is built if that cannot
    /// be pulled
    #[arg(long, value_name = "IMAGE")]
    pub node_image: Option<String>,
    /// How the plugin runs on the nodes of a kind cluster
    #[arg(long, value_enum, default_value_t)]
    pub plugin_form: PluginForm,
    /// Number of control-plane nodes of a kind cluster, each with an API server, an etcd member and
    /// a plugin
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

/// More than five members do not make etcd safer.
fn control_planes(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|number| (1..=5).contains(number))
        .ok_or_else(|| "use a number from 1 to 5".into())
}

impl KindOptions {
    /// Rejects them for other clusters.
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

/// Configuration of an environment.
#[derive(Debug, Clone)]
pub struct EnvironmentSpec {
    /// The cloud.
    pub cloud: CloudKind,
    /// A second cloud, with a key and a plugin that no configuration names yet.
    pub target: Option<CloudKind>,
    /// The kind of cluster.
    pub cluster: ClusterKind,
    /// Where kube-apiserver and etcd come from.
    pub assets: Options,
    /// Options of kind clusters.
    pub kind: KindOptions,
    /// Additional flags of the plugin, for tests of a broken plugin.
    #[doc(hidden)]
    pub plugin_args: Vec<String>,
    /// The kmslab binary to run as emulator and plugin, by default the running program.
    pub kmslab: Option<PathBuf>,
    /// Faults of the model, for tests that show that they are detected.
    #[doc(hidden)]
    pub sabotage: Sabotage,
}

impl EnvironmentSpec {
    /// An environment of that cloud and cluster.
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

/// Calls that were made, and whether all of them arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Traffic {
    /// gRPC calls that the plugin answered.
    pub grpc_calls: u64,
    /// Requests that the plugin's SDK sent.
    pub sdk_requests: u64,
    /// Requests with the plugin's credentials that the emulator counted.
    pub emulator_requests: u64,
    /// Whether others may have sent some of them, in a lab that stays.
    #[serde(skip)]
    pub others: bool,
}

/// Counts before a run: zero except in a lab that stays.
#[derive(Debug, Clone, Copy, Default)]
struct Baseline {
    plugin: Counts,
    emulator_requests: u64,
    /// Whether the lab stays, so that others may call as well.
    stays: bool,
}

impl Baseline {
    /// The calls since the baseline. A plugin that was restarted meanwhile counts from 0 again.
    fn traffic_since(&self, plugin: Counts, emulator_requests: u64) -> Traffic {
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
    /// Why these counts do not prove that calls went from the API server through the plugin to the
    /// cloud; `None` if they do.
    pub fn broken(&self) -> Option<String> {
        self.absent().or_else(|| self.lost())
    }

    /// Which part was not called at all. Where faults end calls early this is all that counts can
    /// prove: the SDK counts a request that the plugin gives up before it is sent.
    pub fn absent(&self) -> Option<String> {
        let nothing = if self.grpc_calls == 0 {
            "the plugin answered no gRPC call"
        } else if self.sdk_requests == 0 {
            "the plugin's SDK sent no request"
        } else if self.emulator_requests == 0 {
            "the emulator saw no request of the plugin"
        } else {
            return None;
        };
        Some(nothing.to_owned())
    }

    fn lost(&self) -> Option<String> {
        let Self {
            sdk_requests,
            emulator_requests,
            others,
            ..
        } = *self;
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

/// A key and the plugins that use it.
#[derive(Clone)]
pub struct Deployment {
    /// Operates the key.
    pub cloud: Arc<dyn Cloud>,
    /// The plugins.
    pub plugin: PluginSet,
    /// `kms.name`.
    pub provider: String,
}

impl std::fmt::Debug for Deployment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cloud = self.cloud.kind();
        f.debug_struct("Side")
            .field("cloud", &cloud)
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}

impl Deployment {
    /// Its entry in a provider list.
    pub fn entry(&self) -> Provider {
        Provider::kms(&self.provider, self.plugin.socket())
    }
}

/// An emulator, a plugin and a cluster.
#[derive(Clone)]
pub struct Environment {
    /// Operates the key.
    pub cloud: Arc<dyn Cloud>,
    /// The API server and its etcd.
    pub cluster: Arc<dyn Cluster>,
    /// The plugins.
    pub plugin: PluginSet,
    /// `kms.name`.
    pub provider: String,
    /// A second cloud's key and plugin, which no configuration names at first.
    pub target: Option<Deployment>,
    baseline: Baseline,
    parts: Arc<dyn Teardown>,
    kind: Option<Arc<KindCluster>>,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (cloud, cluster) = (self.cloud.kind(), self.cluster.kind());
        f.debug_struct("World")
            .field("cloud", &cloud)
            .field("cluster", &cluster)
            .finish_non_exhaustive()
    }
}

/// What an environment started besides its cluster. Dropping it kills it.
#[async_trait::async_trait]
trait Teardown: Send + Sync {
    /// Stops plugin and emulator, in this order, after the cluster has stopped.
    async fn shutdown(&self) -> anyhow::Result<()>;
    /// Waits until an emulator that was started here exits; for ever if there is none.
    async fn wait_for_emulator_exit(&self) -> anyhow::Error {
        std::future::pending().await
    }
}

/// How often counts are read again until they agree.
const MAX_COUNT_READS: u32 = 20;

impl Environment {
    /// Starts an environment. `progress` reports programs that are built first.
    ///
    /// Google's SDK sends requests to 127.0.0.1 through `HTTP_PROXY` if the environment of this
    /// process sets it: a program that embeds this needs `127.0.0.1` in `NO_PROXY`, which the
    /// kmslab command ensures.
    pub async fn start(spec: &EnvironmentSpec, progress: &dyn Progress) -> anyhow::Result<Self> {
        match spec.cluster {
            ClusterKind::Embedded => embedded::start(spec).await,
            ClusterKind::Apiserver => processes::start(spec, progress).await,
            ClusterKind::Kind => kind::start(spec, progress).await,
        }
    }

    /// Installs what an environment needs, without starting anything. `progress` reports what takes
    /// long.
    pub async fn prepare(spec: &EnvironmentSpec, progress: &dyn Progress) -> anyhow::Result<()> {
        match spec.cluster {
            ClusterKind::Embedded => Ok(()),
            ClusterKind::Apiserver => processes::find_programs(&spec.assets, progress)
                .await
                .map(drop),
            ClusterKind::Kind => kind::prepare(spec, progress).await.map(drop),
        }
    }

    /// Whether it stays after this run, which must then clean up after itself.
    pub fn stays(&self) -> bool {
        self.baseline.stays
    }

    /// The cluster, if it is a kind cluster.
    pub fn kind(&self) -> Option<&KindCluster> {
        self.kind.as_deref()
    }

    /// The encrypted resources, as in kind-config/.
    pub fn resources() -> [Resource; 3] {
        [
            Resource::secrets(),
            Resource::config_maps(),
            Resource::new("example.com", "v1", "widgets", "Widget", true),
        ]
    }

    /// The deployment that encrypts at first.
    pub fn source(&self) -> Deployment {
        Deployment {
            cloud: Arc::clone(&self.cloud),
            plugin: self.plugin.clone(),
            provider: self.provider.clone(),
        }
    }

    /// The encrypted resources under that provider list, with plaintext read last.
    pub fn encryption(deployments: &[&Deployment]) -> Encryption {
        let resources = Self::resources()
            .iter()
            .map(Resource::group_resource)
            .collect();
        let providers = deployments
            .iter()
            .map(|deployment| deployment.entry())
            .chain([Provider::Identity])
            .collect();
        Encryption {
            resources,
            providers,
        }
    }

    /// Returns the calls so far. A probe of the plugin may be running at any time; counts are read
    /// until none is between plugin and emulator, or until one was certainly lost.
    pub async fn traffic(&self) -> anyhow::Result<Traffic> {
        let mut tries = MAX_COUNT_READS;
        loop {
            let mut counts = self.plugin.counts().await?;
            let mut emulator_requests = self.cloud.plugin_requests().await?;
            if let Some(Deployment { cloud, plugin, .. }) = &self.target {
                counts = counts.plus(plugin.counts().await?);
                emulator_requests += cloud.plugin_requests().await?;
            }
            let traffic = self.baseline.traffic_since(counts, emulator_requests);
            tries -= 1;
            if traffic.broken().is_none() || tries == 0 {
                return Ok(traffic);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Stops everything, in order: API server and etcd, plugin, emulator.
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
    fn traffic_in_a_lab_counts_from_the_baseline_and_allows_others() {
        let before = Counts {
            grpc_calls: 100,
            sdk_requests: 50,
        };
        let baseline = Baseline {
            plugin: before,
            emulator_requests: 80,
            stays: true,
        };
        let traffic = baseline.traffic_since(
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
        let lost = baseline.traffic_since(
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
            baseline.traffic_since(before, 90).broken().is_some(),
            "nothing was called since"
        );
        // A plugin that was restarted has counted from 0.
        let restarted = baseline.traffic_since(
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
