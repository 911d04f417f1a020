//! `v1beta1.KeyManagementService`, which an API server calls for a provider with `apiVersion: v1`.
//! The plugins here implement v2 only; this is for tests of values that other plugins left in etcd.

use std::fmt;

use crate::socket::Redacted;

mod generated {
    #![allow(
        clippy::all,
        missing_debug_implementations,
        missing_docs,
        unreachable_pub,
        reason = "generated code"
    )]
    include!("gen/socket_v1/v1beta1.rs");
}

pub use generated::*;

impl fmt::Debug for EncryptRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptRequest")
            .field("version", &self.version)
            .field("plain", &Redacted(self.plain.len()))
            .finish()
    }
}

impl fmt::Debug for DecryptResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecryptResponse")
            .field("plain", &Redacted(self.plain.len()))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_of_v1_messages_contains_no_plaintext() {
        let request = EncryptRequest {
            version: "v1beta1".into(),
            plain: b"hunter2".to_vec(),
        };
        assert_eq!(
            format!("{request:?}"),
            "EncryptRequest { version: \"v1beta1\", plain: <7 bytes> }"
        );
        let response = DecryptResponse {
            plain: b"hunter2".to_vec(),
        };
        assert_eq!(
            format!("{response:?}"),
            "DecryptResponse { plain: <7 bytes> }"
        );
    }
}
