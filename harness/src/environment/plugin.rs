//! Access to a running plugin by its socket and health port, whether it is a task or a process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hyper_util::rt::TokioIo;
use kmslab_kmsv2::socket::StatusRequest;
use kmslab_kmsv2::socket::key_management_service_client::KeyManagementServiceClient;
use tonic::Request;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::engine::ContainerSocket;
use crate::metrics_client;
use crate::platform::PortReservation;

/// kube-apiserver's default timeout.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// Counts of a plugin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// gRPC calls answered, including those of this process.
    pub grpc_calls: u64,
    /// Requests that its SDK sent to the cloud, including retries.
    pub sdk_requests: u64,
    /// Successful requests to encrypt, including probes.
    pub encrypts: u64,
    /// Successful requests to decrypt, including probes.
    pub decrypts: u64,
}

impl Counts {
    /// The sum of both.
    pub fn plus(self, other: Self) -> Self {
        Self {
            grpc_calls: self.grpc_calls + other.grpc_calls,
            sdk_requests: self.sdk_requests + other.sdk_requests,
            encrypts: self.encrypts + other.encrypts,
            decrypts: self.decrypts + other.decrypts,
        }
    }
}

/// A running plugin.
#[derive(Debug, Clone)]
pub struct PluginPort {
    socket: PathBuf,
    health: String,
    http: reqwest::Client,
    client: KeyManagementServiceClient<Channel>,
    /// Keeps the health port free for the next start of the plugin.
    _reserved: Option<Arc<PortReservation>>,
}

impl PluginPort {
    /// Keeps the reservation of the health port for as long as anybody uses the plugin.
    pub fn with_reserved(self, port: PortReservation) -> Self {
        Self {
            _reserved: Some(Arc::new(port)),
            ..self
        }
    }

    /// The plugin that listens on `socket` and serves health and metrics at `health`,
    /// `http://127.0.0.1:8080`.
    pub fn new(socket: impl Into<PathBuf>, health: &str) -> anyhow::Result<Self> {
        let socket = socket.into();
        let endpoint =
            Endpoint::from_shared(format!("unix://{}", socket.display())).with_context(|| {
                format!(
                    "the plugin's socket {} is not an endpoint",
                    socket.display()
                )
            })?;
        let client =
            KeyManagementServiceClient::new(endpoint.connect_timeout(CALL_TIMEOUT).connect_lazy());
        Ok(Self {
            socket,
            health: health.to_owned(),
            http: metrics_client::local_client()?,
            client,
            _reserved: None,
        })
    }

    /// A plugin in a container: `way` connects to its socket, whose path there is `socket`.
    pub fn in_container(
        way: ContainerSocket,
        socket: impl Into<PathBuf>,
        health: &str,
    ) -> anyhow::Result<Self> {
        // The connector determines the target; the URI is required only formally.
        let endpoint = Endpoint::from_static("http://localhost").connect_timeout(CALL_TIMEOUT);
        let connector = tower::service_fn(move |_: Uri| {
            let decrypted = way.open();
            async move { decrypted.map(TokioIo::new) }
        });
        let client =
            KeyManagementServiceClient::new(endpoint.connect_with_connector_lazy(connector));
        Ok(Self {
            socket: socket.into(),
            health: health.to_owned(),
            http: metrics_client::local_client()?,
            client,
            _reserved: None,
        })
    }

    /// Its unix socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// `http://127.0.0.1:8080` of its health port.
    pub fn health(&self) -> &str {
        &self.health
    }

    /// The key_id in its Status; else the plugin's error.
    pub async fn key_id(&self) -> anyhow::Result<String> {
        let mut request = Request::new(StatusRequest {});
        request.set_timeout(CALL_TIMEOUT);
        let answer = self.client.clone().status(request).await;
        let answer = answer
            .map_err(|status| anyhow::anyhow!("the plugin's Status: {}", status.message()))?;
        Ok(answer.into_inner().key_id)
    }

    /// Its counts so far.
    pub async fn counts(&self) -> anyhow::Result<Counts> {
        let metrics = metrics_client::get_text(
            &self.http,
            "the plugin's health port",
            &format!("{}/metrics", self.health),
        )
        .await?;
        let uses = |operation: &str| {
            metrics_client::sum_counter(&metrics, "kmslab_plugin_key_uses_total", |labels| {
                labels.contains(&format!("operation=\"{operation}\""))
            })
        };
        Ok(Counts {
            encrypts: uses("encrypt"),
            decrypts: uses("decrypt"),
            grpc_calls: metrics_client::sum_counter(
                &metrics,
                "kmslab_plugin_requests_total",
                |_| true,
            ),
            sdk_requests: metrics_client::sum_counter(
                &metrics,
                "kmslab_plugin_cloud_requests_total",
                |_| true,
            ),
        })
    }
}

/// The plugins of a cluster: one for each control-plane node, all with the same key.
#[derive(Debug, Clone)]
pub struct PluginSet {
    first: PluginPort,
    others: Vec<PluginPort>,
}

impl From<PluginPort> for PluginSet {
    fn from(first: PluginPort) -> Self {
        Self {
            first,
            others: Vec::new(),
        }
    }
}

impl PluginSet {
    /// Several plugins; fails if there are none.
    pub fn new(ports: Vec<PluginPort>) -> anyhow::Result<Self> {
        let mut ports = ports.into_iter();
        let first = ports
            .next()
            .context("the cluster has no control-plane node, and so no plugin")?;
        Ok(Self {
            first,
            others: ports.collect(),
        })
    }

    /// Each of them.
    pub fn each(&self) -> impl Iterator<Item = &PluginPort> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Socket of the first.
    pub fn socket(&self) -> &Path {
        self.first.socket()
    }

    /// Health port of the first.
    pub fn health(&self) -> &str {
        self.first.health()
    }

    /// The key_id that all of them return; after a rotation they disagree until their next probe.
    pub async fn key_id(&self) -> anyhow::Result<String> {
        let key_id = self.first.key_id().await?;
        for (number, other) in self.others.iter().enumerate() {
            let theirs = other
                .key_id()
                .await
                .with_context(|| format!("of node {}", number + 2))?;
            anyhow::ensure!(
                theirs == key_id,
                "the plugin of node 1 has {key_id}, and that of node {} {theirs}",
                number + 2
            );
        }
        Ok(key_id)
    }

    /// The sum of all counts.
    pub async fn counts(&self) -> anyhow::Result<Counts> {
        let mut all = Counts::default();
        for port in self.each() {
            all = all.plus(port.counts().await?);
        }
        Ok(all)
    }
}
