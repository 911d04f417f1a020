//! All that another process needs to use a running cluster.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ClusterKind;
use crate::etcd::client::TlsFiles;

/// All that another process needs to use a running cluster. Holds no secret: those are in the files
/// that it names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The lab.
    pub lab: String,
    /// `v1.36.3`.
    pub kubernetes: String,
    /// `https://127.0.0.1:PORT` of each API server.
    pub servers: Vec<String>,
    /// For kubectl, with cluster-admin rights by client certificate.
    pub kubeconfig: PathBuf,
    /// `unix:///…/etcd.sock` or `https://127.0.0.1:PORT`, for etcdctl `--endpoints`.
    pub etcd: String,
    /// Certificates for that, where it wants any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd_tls: Option<TlsFiles>,
    /// The lab's directory, whose state has the current pids.
    pub dir: PathBuf,
    /// The directory of the logs.
    pub logs: PathBuf,
    /// Where it is a kind cluster: its nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Nodes>,
}

/// One control-plane node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The name of its container.
    pub container: String,
    /// `http://127.0.0.1:PORT` of its plugin's health port.
    pub health: String,
}

impl Description {
    /// Of which kind the cluster is.
    pub fn of(&self) -> ClusterKind {
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
    /// The cluster's name for kind, and the network's.
    pub cluster: String,
    /// The command of the engine that they run in.
    pub engine: PathBuf,
    /// The control-plane nodes; the first is where etcd is read.
    pub control_planes: Vec<Node>,
    /// The emulator's container, on the same network.
    pub emulator: String,
    /// The command that runs this kmslab on them.
    pub kmslab: Vec<String>,
}
