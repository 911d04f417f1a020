//! The KMS v2 wire, shared by plugin and harness: the socket's gRPC, the value that etcd holds, and
//! the limits on both.
//!
//! Kubernetes defines two protobuf packages that are both called `v2`: [`socket`] between
//! kube-apiserver and plugin, and [`stored`] for what kube-apiserver writes. What the plugin
//! answers ends up in the stored value, so [`limits`] holds for both.

pub mod limits;
pub mod socket;
pub mod socket_v1;
pub mod stored;

/// What `StatusResponse.version` says. kube-apiserver takes `v2` and `v2beta1`, and neither may
/// change while a plugin is in use.
pub const API_VERSION: &str = "v2";

/// What `StatusResponse.healthz` says when all is well; any other text makes the provider
/// unhealthy.
pub const HEALTHY: &str = "ok";
