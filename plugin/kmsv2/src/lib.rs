//! KMS v2 messages, shared by plugin and harness: the gRPC service on the socket, the value in etcd,
//! and the limits of both.
//!
//! Kubernetes defines two protobuf packages that are both called `v2`: [`socket`] between
//! kube-apiserver and plugin, and [`stored`] for what kube-apiserver writes. The plugin's responses
//! become part of the stored value, so [`limits`] applies to both; [`label`] is what kmslab's plugin
//! adds to them.

pub mod label;
pub mod limits;
pub mod socket;
pub mod socket_v1;
pub mod stored;

/// Value of `StatusResponse.version`. kube-apiserver accepts `v2` and `v2beta1`; a plugin must not
/// change it while in use.
pub const API_VERSION: &str = "v2";

/// Value of `StatusResponse.healthz` if the plugin is healthy; any other text makes the provider
/// unhealthy.
pub const HEALTHY: &str = "ok";
