//! What another process needs to use a running cluster.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ClusterKind;
use crate::etcd::client::TlsFiles;

/// What another process needs to use a running cluster. Contains no secrets: those are in the files
/// that it names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Name of the lab.
    pub lab: String,
    /// Kubernetes version, such as `v1.36.3`.
    pub kubernetes: String,
    /// `https://127.0.0.1:PORT` of each API server.
    pub servers: Vec<String>,
    /// Path of the kubeconfig, with cluster-admin rights by client certificate.
    pub kubeconfig: PathBuf,
    /// `unix:///…/etcd.sock` or `https://127.0.0.1:PORT`, for etcdctl `--endpoints`.
    pub etcd: String,
    /// Certificates for that endpoint, if it needs any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd_tls: Option<TlsFiles>,
    /// Directory of the lab, whose state contains the current pids.
    pub dir: PathBuf,
    /// Directory of the logs.
    pub logs: PathBuf,
    /// Nodes of a kind cluster; `None` for other clusters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Nodes>,
}

/// A control-plane node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Name of its container.
    pub container: String,
    /// `http://127.0.0.1:PORT` of its plugin's health port.
    pub health: String,
}

impl Description {
    /// The kind of cluster.
    pub fn cluster_kind(&self) -> ClusterKind {
        if self.kind.is_some() {
            ClusterKind::Kind
        } else {
            ClusterKind::Apiserver
        }
    }
}

/// The containers of a kind cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nodes {
    /// Name of the cluster and of its network.
    pub cluster: String,
    /// Command of the container engine.
    pub engine: PathBuf,
    /// Control-plane nodes; etcd is read on the first.
    pub control_planes: Vec<Node>,
    /// Container of the emulator, on the same network.
    pub emulator: String,
    /// Command that runs this kmslab on the nodes.
    pub kmslab: Vec<String>,
}
