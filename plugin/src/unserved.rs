//! Answers to calls of services that the plugin does not have: above all KMS v1, of an API server that is configured for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::Uri;
use tonic::Status;
use tonic::codegen::http::Response;

/// What kube-apiserver calls with `apiVersion: v1`, or without one.
const V1: &str = "/v1beta1.KeyManagementService/";
/// What kube-apiserver 1.25 and 1.26 call with `apiVersion: v2`.
const V2_ALPHA: &str = "/v2alpha1.KeyManagementService/";

#[derive(Debug, Clone, Default)]
pub(crate) struct Unserved {
    /// An API server asks every few seconds, for ever: the first call is logged.
    logged: Arc<AtomicBool>,
}

impl Unserved {
    pub(crate) fn answer(&self, uri: &Uri) -> Response<tonic::body::Body> {
        let remedy = remedy(uri.path());
        if !self.logged.swap(true, Ordering::Relaxed) {
            tracing::warn!("{remedy}");
        }
        Status::unimplemented(remedy).into_http()
    }
}

fn remedy(path: &str) -> &'static str {
    if path.starts_with(V1) {
        "this is a KMS v2 plugin, and the API server calls KMS v1: set `apiVersion: v2` for this kms provider in its \
         EncryptionConfiguration (what a v1 plugin encrypted is read by that plugin alone)"
    } else if path.starts_with(V2_ALPHA) {
        "this plugin serves v2.KeyManagementService, and the API server calls v2alpha1, which kube-apiserver 1.25 and 1.26 did: \
         use kube-apiserver 1.32 or newer"
    } else {
        "this plugin serves v2.KeyManagementService alone, with Status, Encrypt and Decrypt"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_older_service_has_its_remedy() {
        for (path, says) in [
            ("/v1beta1.KeyManagementService/Version", "set `apiVersion: v2`"),
            ("/v1beta1.KeyManagementService/Encrypt", "set `apiVersion: v2`"),
            ("/v2alpha1.KeyManagementService/Status", "1.32 or newer"),
            ("/v2.KeyManagementService/Rotate", "Status, Encrypt and Decrypt"),
            ("/grpc.health.v1.Health/Check", "Status, Encrypt and Decrypt"),
        ] {
            assert!(remedy(path).contains(says), "{path}");
        }
    }
}
