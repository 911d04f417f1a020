//! Responses to calls of services that the plugin does not implement, above all KMS v1, from a
//! misconfigured API server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::Uri;
use tonic::codegen::http::Response;

use crate::error;

/// Called by kube-apiserver with `apiVersion: v1` or without an API version.
const V1_PREFIX: &str = "/v1beta1.KeyManagementService/";
/// Called by kube-apiserver 1.25 and 1.26 with `apiVersion: v2`.
const V2_ALPHA_PREFIX: &str = "/v2alpha1.KeyManagementService/";
/// The same in HPACK encoding, without the bits that depend on the following bytes.
const V1_IN_HPACK: &[u8] =
    b"\x63\xb8\x63\x2a\x46\x15\xf3\x17\xd6\x81\xd4\x39\x8b\x49\x6a\x4e\xe2\xd9\xdc\xc4\x2b";
const V2_ALPHA_IN_HPACK: &[u8] =
    b"\x63\xb8\x87\x45\x73\x8c\x2b\xe6\x2f\xad\x03\xa8\x73\x16\x92\xd4\x9d\xc5\xb3\xb9\x88\x56";
/// Number of bytes of a connection that are inspected; its first call is within them.
const INSPECTED_BYTES: usize = 1024;

#[derive(Debug, Clone, Default)]
pub(crate) struct UnsupportedServices {
    /// An API server calls every few seconds: only the first call is logged.
    logged: Arc<AtomicBool>,
}

impl UnsupportedServices {
    pub(crate) fn answer(&self, uri: &Uri) -> Response<tonic::body::Body> {
        let remedy = remedy(uri.path());
        self.log(remedy);
        error::unsupported(remedy).into_http()
    }

    fn log(&self, remedy: &str) {
        if !self.logged.swap(true, Ordering::Relaxed) {
            tracing::warn!("{remedy}");
        }
    }
}

/// Inspects the first bytes of a connection for calls of older services.
///
/// kube-apiserver makes those with the socket's path as `:authority`, `%2Fvar%2Frun…`, which `h2`
/// rejects before any handler; its log then only says PROTOCOL_ERROR.
#[derive(Debug)]
pub(crate) struct ConnectionInspector {
    first: Vec<u8>,
    unsupported: UnsupportedServices,
}

impl ConnectionInspector {
    pub(crate) fn new(unsupported: UnsupportedServices) -> Self {
        Self {
            first: Vec::new(),
            unsupported,
        }
    }

    /// Inspects received bytes.
    pub(crate) fn inspect(&mut self, bytes: &[u8]) {
        let room = INSPECTED_BYTES - self.first.len();
        if room == 0 || bytes.is_empty() {
            return;
        }
        self.first
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
        for (path, in_hpack) in [
            (V1_PREFIX, V1_IN_HPACK),
            (V2_ALPHA_PREFIX, V2_ALPHA_IN_HPACK),
        ] {
            if [in_hpack, path.as_bytes()]
                .iter()
                .any(|form| contains(&self.first, form))
            {
                self.unsupported.log(remedy(path));
            }
        }
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn remedy(path: &str) -> &'static str {
    if path.starts_with(V1_PREFIX) {
        "this is a KMS v2 plugin, and the API server calls KMS v1: set `apiVersion: v2` for this kms provider in its \
         EncryptionConfiguration (what a v1 plugin encrypted is read by that plugin alone)"
    } else if path.starts_with(V2_ALPHA_PREFIX) {
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
    fn older_services_have_a_remedy_each() {
        for (path, says) in [
            (
                "/v1beta1.KeyManagementService/Version",
                "set `apiVersion: v2`",
            ),
            (
                "/v1beta1.KeyManagementService/Encrypt",
                "set `apiVersion: v2`",
            ),
            ("/v2alpha1.KeyManagementService/Status", "1.32 or newer"),
            (
                "/v2.KeyManagementService/Rotate",
                "Status, Encrypt and Decrypt",
            ),
            (
                "/grpc.health.v1.Health/Check",
                "Status, Encrypt and Decrypt",
            ),
        ] {
            assert!(remedy(path).contains(says), "{path}");
        }
    }
    #[test]
    fn first_call_of_an_older_service_is_detected_in_any_fragmentation() {
        // Sent by grpc-go 1.79.3 for v1beta1's Version on /tmp/v1d/cap.sock, dialled as
        // kube-apiserver does.
        let v1 = hex::decode(
            "505249202a20485454502f322e300d0a0d0a534d0d0a0d0a00000004000000000000000004010000000000006901040000000183\
             86459b63b8632a4615f317d681d4398b496a4ee2d9dcc42b1c4b620c7abf41915458534d6a8b0f70c8a8b09075ae8393af5f8b1d\
             75d0620d263d4c4d65647a8b9acac8b4c7602bbafaecff40027465864d833505b11f40899acac8b24d494f6a7f8613efbee05eb7\
             00000e00010000000100000000090a0776316265746131",
        )
        .unwrap();
        for piece in [1, 7, 1000] {
            let unsupported = UnsupportedServices::default();
            let mut watch = ConnectionInspector::new(unsupported.clone());
            v1.chunks(piece).for_each(|piece| watch.inspect(piece));
            assert!(
                unsupported.logged.load(Ordering::Relaxed),
                "in pieces of {piece}"
            );
        }
        // Status of v2 has another path.
        let unsupported = UnsupportedServices::default();
        let mut watch = ConnectionInspector::new(unsupported.clone());
        watch.inspect(&hex::decode("63b897cc5f5a0750e62d25a93b8b677310ac6e48d36a3f").unwrap());
        watch.inspect(&[0; 5000]);
        assert!(
            watch.first.len() == INSPECTED_BYTES && !unsupported.logged.load(Ordering::Relaxed)
        );
    }
}
