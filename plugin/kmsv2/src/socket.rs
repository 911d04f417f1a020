//! `v2.KeyManagementService`: client, server and messages between kube-apiserver and a KMS plugin.

use std::fmt;

mod generated {
    #![allow(
        clippy::all,
        missing_debug_implementations,
        missing_docs,
        unreachable_pub,
        reason = "generated code"
    )]
    include!("gen/socket/v2.rs");
}

pub use generated::*;

// The two messages that contain plaintext print its length only.

impl fmt::Debug for EncryptRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptRequest")
            .field("plaintext", &Redacted(self.plaintext.len()))
            .field("uid", &self.uid)
            .finish()
    }
}

impl fmt::Debug for DecryptResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecryptResponse")
            .field("plaintext", &Redacted(self.plaintext.len()))
            .finish()
    }
}

pub(crate) struct Redacted(pub(crate) usize);

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_of_messages_contains_plaintext_lengths_only() {
        let request = EncryptRequest {
            plaintext: b"hunter2".to_vec(),
            uid: "u-1".into(),
        };
        assert_eq!(
            format!("{request:?}"),
            r#"EncryptRequest { plaintext: <7 bytes>, uid: "u-1" }"#
        );
        let response = DecryptResponse {
            plaintext: b"hunter2".to_vec(),
        };
        assert_eq!(
            format!("{response:?}"),
            "DecryptResponse { plaintext: <7 bytes> }"
        );
    }
}
