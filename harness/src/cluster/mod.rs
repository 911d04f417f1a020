//! A Kubernetes API server with encryption at rest, as scenarios see it: the same trait over the
//! model and over real processes.

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
pub use encryption::{Cipher, Encryption, Local, LocalKey, Provider};
pub use resource::{ObjectRef, Resource};

use crate::etcd::Etcd;

/// Which of the clusters a scenario runs on.
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

/// The API server's refusal, or that there was no answer at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status} {reason}: {message}")]
pub struct ApiError {
    /// The HTTP status; 0 where no answer came (connection refused, reset, timed out).
    pub status: u16,
    /// `reason` of the Kubernetes Status object, or `NoAnswer`.
    pub reason: String,
    /// The server's own words.
    pub message: String,
}

impl ApiError {
    /// No answer came: the server is down, or broke the connection.
    pub fn no_answer(message: impl Into<String>) -> Self {
        Self {
            status: 0,
            reason: "NoAnswer".into(),
            message: message.into(),
        }
    }
}

/// What `/readyz`, `/livez`, `/healthz` or one of their checks answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The HTTP status, 200 when healthy.
    pub status: u16,
    /// The body, which names the failing checks.
    pub body: String,
}

impl Health {
    /// Whether the check passed.
    pub fn ok(&self) -> bool {
        self.status == 200
    }

    /// `Err` says which checks of `path` fail.
    pub fn verdict(&self, path: &str) -> Result<(), String> {
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

/// The part of the Kubernetes API that scenarios need. Objects are JSON, as on the wire.
#[async_trait]
pub trait Api: Send + Sync {
    /// POST. The object names its kind, namespace and name.
    async fn create(&self, object: &Value) -> Result<Value, ApiError>;
    /// GET of one object.
    async fn get(&self, at: &ObjectRef) -> Result<Value, ApiError>;
    /// LIST, paginated underneath, in all namespaces where `namespace` is `None`.
    async fn list(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
    ) -> Result<Vec<Value>, ApiError>;
    /// PUT of the whole object; its `resourceVersion`, where it has one, must still be current.
    async fn replace(&self, object: &Value) -> Result<Value, ApiError>;
    /// The no-op write that re-encrypts what is stale: merge patch `{}` answered as
    /// PartialObjectMetadata, so that no secret value travels. Returns the object's resourceVersion
    /// after it.
    async fn touch(&self, at: &ObjectRef) -> Result<String, ApiError>;
    /// DELETE of one object.
    async fn delete(&self, at: &ObjectRef) -> Result<(), ApiError>;
}

/// One API server (later: several) on one etcd, using the plugin's socket for what its
/// EncryptionConfiguration names.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// Which kind this is.
    fn kind(&self) -> ClusterKind;
    /// The Kubernetes version, `v1.36.3`; for the model the version that it follows.
    fn kubernetes(&self) -> String;
    /// The API, of the first server.
    fn api(&self) -> Arc<dyn Api>;
    /// The API of every server.
    fn apis(&self) -> Vec<Arc<dyn Api>> {
        vec![self.api()]
    }
    /// What the API server stores to.
    fn etcd(&self) -> Arc<dyn Etcd>;
    /// GET of a health path such as `/readyz` or `/readyz/kms-providers`. `Err` only where no
    /// answer came.
    async fn health(&self, path: &str) -> Result<Health, ApiError>;
    /// Whether it is ready now, the plugin included; `Err` says which checks fail.
    async fn readiness(&self) -> Result<(), String> {
        let path = "/readyz?verbose";
        self.health(path)
            .await
            .map_err(|error| error.message)?
            .verdict(path)
    }
    /// Waits until it is ready, as one is not that has just been started, or whose key has just
    /// been enabled.
    async fn until_ready(&self) -> anyhow::Result<()>;
    /// Ends the API server at once, as a crash does; etcd goes on.
    async fn kill_server(&self) -> anyhow::Result<()>;
    /// Starts it again on the same etcd and waits until its port answers: not for `/readyz`, which
    /// a dead key keeps at 500.
    async fn start_server(&self) -> anyhow::Result<()>;
    /// Gives every API server another EncryptionConfiguration while it runs, and waits until all
    /// use it. `Err` says which does not, and why, as when a plugin in it does not answer; then the
    /// one before stays in use.
    async fn reconfigure(&self, encryption: Encryption) -> anyhow::Result<()>;
    /// Lets time pass: real seconds on real processes, virtual ones on the model.
    async fn pass(&self, time: Duration);
    /// Collects what logs there are, and says where they are, also after the end.
    async fn logs(&self) -> Option<PathBuf>;
    /// Ends everything that this cluster started, in order, and waits for it.
    async fn shutdown(&self) -> anyhow::Result<()>;
}
