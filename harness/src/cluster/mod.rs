//! A Kubernetes API server with encryption at rest: one trait for the model and for real processes.

pub mod apiserver;
mod description;
pub mod embedded;
mod encryption;
pub mod kind;
mod resource;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

pub use description::{Description, Node, Nodes};
pub use encryption::{Cipher, Encryption, LocalKey, LocalProvider, Provider};
pub use resource::{ObjectRef, Resource};

use crate::etcd::Etcd;

/// The cluster that a scenario runs on.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum, serde::Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum ClusterKind {
    /// The model of the API server in this process, on a virtual clock.
    Embedded,
    /// The stock kube-apiserver and etcd as processes.
    Apiserver,
    /// A kind cluster, with the plugin as a unit of its node.
    Kind,
}

impl std::fmt::Display for ClusterKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Embedded => "embedded",
            Self::Apiserver => "apiserver",
            Self::Kind => "kind",
        })
    }
}

/// An error response of the API server, or that there was no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status} {reason}: {message}")]
pub struct ApiError {
    /// HTTP status; 0 if there was no response (connection refused, reset, timed out).
    pub status: u16,
    /// `reason` of the Kubernetes Status object, or `NoAnswer`.
    pub reason: String,
    /// The server's message.
    pub message: String,
}

impl ApiError {
    /// No response: the server is down, or closed the connection.
    pub fn no_answer(message: impl Into<String>) -> Self {
        Self {
            status: 0,
            reason: "NoAnswer".into(),
            message: message.into(),
        }
    }
}

/// Response of `/readyz`, `/livez`, `/healthz` or one of their checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// HTTP status, 200 if healthy.
    pub status: u16,
    /// The body, which lists the failing checks.
    pub body: String,
}

impl Health {
    /// Whether the check passed.
    pub fn ok(&self) -> bool {
        self.status == 200
    }

    /// Fails unless the check passed; the error lists the failing checks of `path`.
    pub fn ensure_ok(&self, path: &str) -> Result<(), String> {
        if self.ok() {
            return Ok(());
        }
        let failing: Vec<&str> = self
            .body
            .lines()
            .filter(|line| line.starts_with("[-]"))
            .collect();
        let seen = if failing.is_empty() {
            self.body.trim().to_owned()
        } else {
            failing.join(", ")
        };
        Err(format!("{path} is {}: {seen}", self.status))
    }
}

/// The part of the Kubernetes API that scenarios use. Objects are JSON, as on the wire.
#[async_trait]
pub trait Api: Send + Sync {
    /// POST. The object contains kind, namespace and name.
    async fn create(&self, object: &Value) -> Result<Value, ApiError>;
    /// GET of one object.
    async fn get(&self, at: &ObjectRef) -> Result<Value, ApiError>;
    /// LIST, paginated internally, in all namespaces if `namespace` is `None`.
    async fn list(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
    ) -> Result<Vec<Value>, ApiError>;
    /// PUT of a whole object; its `resourceVersion`, if present, must be current.
    async fn replace(&self, object: &Value) -> Result<Value, ApiError>;
    /// The no-op write that re-encrypts stale values: merge patch `{}` answered as
    /// PartialObjectMetadata, so that no secret value is transferred. Returns the object's
    /// resourceVersion after it.
    async fn touch(&self, at: &ObjectRef) -> Result<String, ApiError>;
    /// DELETE of one object.
    async fn delete(&self, at: &ObjectRef) -> Result<(), ApiError>;
}

/// API servers on one etcd that use plugins as their EncryptionConfiguration names them.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// The kind of cluster.
    fn kind(&self) -> ClusterKind;
    /// The Kubernetes version, such as `v1.36.3`; for the model the version that it follows.
    fn kubernetes(&self) -> String;
    /// The API of the first server.
    fn api(&self) -> Arc<dyn Api>;
    /// The APIs of all servers.
    fn apis(&self) -> Vec<Arc<dyn Api>> {
        vec![self.api()]
    }
    /// The etcd that the API servers store to.
    fn etcd(&self) -> Arc<dyn Etcd>;
    /// GET of a health path such as `/readyz` or `/readyz/kms-providers`. Fails only if there is no
    /// response.
    async fn health(&self, path: &str) -> Result<Health, ApiError>;
    /// Fails unless the cluster is ready now, including the plugin; the error lists the failing
    /// checks.
    async fn readiness(&self) -> Result<(), String> {
        let path = "/readyz?verbose";
        self.health(path)
            .await
            .map_err(|error| error.message)?
            .ensure_ok(path)
    }
    /// Waits until the cluster is ready, after a start or after a key was enabled.
    async fn wait_until_ready(&self) -> anyhow::Result<()>;
    /// Kills the API server, as a crash does; etcd keeps running.
    async fn kill_server(&self) -> anyhow::Result<()>;
    /// Starts the API server again on the same etcd and waits until it is alive, not for `/readyz`,
    /// which a dead key keeps at 500.
    async fn start_server(&self) -> anyhow::Result<()>;
    /// Replaces the EncryptionConfiguration of all running API servers and waits until all use it.
    /// The error says which server does not and why; the previous configuration then stays in use.
    async fn reconfigure(&self, encryption: Encryption) -> anyhow::Result<()>;
    /// Lets time pass: real seconds on real processes, virtual time on the model.
    async fn advance_time(&self, time: Duration);
    /// Collects the logs and returns their directory, also after the shutdown.
    async fn logs(&self) -> Option<PathBuf>;
    /// Stops everything that this cluster started, in order, and waits for it.
    async fn shutdown(&self) -> anyhow::Result<()>;
}
