//! An environment: emulator, plugin and cluster, in which scenarios run.

mod accounting;
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

pub use accounting::KeyUses;
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
    /// Successful uses of the key.
    pub key_uses: KeyUses,
    /// Whether others may have sent some of them, in a lab that stays.
    #[serde(skip)]
    pub others: bool,
}

/// Counts before a run: zero except in a lab that stays.
#[derive(Debug, Clone, Copy, Default)]
struct Baseline {
    plugin: Counts,
    emulator_requests: u64,
    /// Number of the latest event of the audit trail.
    sequence: u64,
    /// Whether the lab stays, so that others may call as well.
    stays: bool,
}

impl Baseline {
    /// What the plugins counted since the baseline. A plugin that was restarted meanwhile counts
    /// from 0 again.
    fn counted_since(&self, plugin: Counts) -> Counts {
        let before = self.plugin;
        if plugin.grpc_calls < before.grpc_calls || plugin.sdk_requests < before.sdk_requests {
            return plugin;
        }
        Counts {
            grpc_calls: plugin.grpc_calls - before.grpc_calls,
            sdk_requests: plugin.sdk_requests - before.sdk_requests,
            encrypts: plugin.encrypts.saturating_sub(before.encrypts),
            decrypts: plugin.decrypts.saturating_sub(before.decrypts),
        }
    }
}

impl Traffic {
    /// Why these counts do not prove that calls went from the API server through the plugin to the
    /// cloud and that each use of the key is accounted for; `None` if they do.
    pub fn broken(&self) -> Option<String> {
        self.absent().or_else(|| self.key_uses.missing(self.others))
    }

    /// The same for a run with faults, which cut off responses that the cloud has recorded.
    pub fn broken_with_faults(&self) -> Option<String> {
        self.absent().or_else(|| self.key_uses.missing(true))
    }

    /// Which part was not called at all.
    fn absent(&self) -> Option<String> {
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
            let counted = self.baseline.counted_since(counts);
            let traffic = Traffic {
                grpc_calls: counted.grpc_calls,
                sdk_requests: counted.sdk_requests,
                emulator_requests: emulator_requests
                    .saturating_sub(self.baseline.emulator_requests),
                key_uses: self.key_uses(counted).await?,
                others: self.baseline.stays,
            };
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
    fn plugin_in_a_lab_is_counted_from_the_baseline() {
        let counts = |grpc_calls, sdk_requests, encrypts| Counts {
            grpc_calls,
            sdk_requests,
            encrypts,
            decrypts: 0,
        };
        let baseline = Baseline {
            plugin: counts(100, 50, 20),
            stays: true,
            ..Baseline::default()
        };
        let since = |plugin| baseline.counted_since(plugin);
        assert_eq!(since(counts(103, 54, 22)), counts(3, 4, 2));
        assert_eq!(since(baseline.plugin), Counts::default());
        // A plugin that was restarted has counted from 0.
        assert_eq!(since(counts(2, 3, 1)), counts(2, 3, 1));
    }
}
