//! The audit trail: one event for each request to a cloud, with the keys that it used.

mod detail;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::Cloud;
pub use detail::{AwsDetail, AzureDetail, Detail, GcpDetail};

/// A request to a cloud: an operation, or a request for a token. It never holds plaintexts,
/// ciphertexts, key material or tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// Number of the event since the start of the emulator, from 1, without gaps.
    pub sequence: u64,
    /// End of the request on the wall clock.
    pub time: Timestamp,
    /// End of the request on the lab clock.
    pub lab_time: Timestamp,
    /// The cloud.
    pub cloud: Cloud,
    /// Operation, such as `Encrypt`, as in the request counts.
    pub operation: String,
    /// The keys that the request used or names, in the order of their use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyUse>,
    /// Access key id, application or service account that the request states; `unknown` if none.
    pub caller: String,
    /// `OK`, or the vendor's error code.
    pub code: String,
    /// Request id, as in the response's headers if the vendor has one there.
    pub request_id: String,
    /// IP address and port of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The client's `User-Agent`, at most 256 characters of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Names of the faults that were applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// Time from the request's headers to its result, in microseconds.
    pub duration_us: u64,
    /// What depends on the cloud, of a request that was authenticated and authorized.
    #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Detail>,
}

/// A key that a request used or names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyUse {
    /// ARN, URL or resource name of the key.
    pub key: String,
    /// Id or number of the version whose material was used, as the key table has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Identifies the ciphertext that was made or decrypted, without revealing it: the first 16
    /// bytes of its SHA-256 in hexadecimal. A DEK source in etcd is such a ciphertext.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ciphertext: Option<String>,
}

/// Which events to return: those that match all fields that are set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// Events after this sequence number.
    #[serde(default)]
    pub since: u64,
    /// Maximum number of events; 1000 by default, and at most 10000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// The cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<Cloud>,
    /// The operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// A key: ARN, URL or resource name, or the last part of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// `OK`, or an error code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

impl AuditQuery {
    /// Reports whether an event matches all fields but `since` and `limit`.
    pub fn matches(&self, event: &AuditEvent) -> bool {
        let is = |wanted: &Option<String>, value: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == value)
        };
        self.cloud.is_none_or(|cloud| cloud == event.cloud)
            && is(&self.operation, &event.operation)
            && is(&self.caller, &event.caller)
            && is(&self.code, &event.code)
            && self
                .key
                .as_ref()
                .is_none_or(|key| event.keys.iter().any(|used| used.is_of(key)))
    }
}

impl KeyUse {
    /// Identifies a ciphertext, as [`KeyUse::ciphertext`] does.
    pub fn fingerprint(ciphertext: &[u8]) -> String {
        let mut text = [0; 32];
        // Fails only if the lengths differ. `hex::encode` takes several times as long.
        let _ = hex::encode_to_slice(&Sha256::digest(ciphertext)[..16], &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Reports whether `name` is the key's name, or the last part of it.
    pub fn is_of(&self, name: &str) -> bool {
        let Some((rest, last)) = self
            .key
            .split_at_checked(self.key.len().wrapping_sub(name.len()))
        else {
            return false;
        };
        last.eq_ignore_ascii_case(name) && (rest.is_empty() || rest.ends_with('/'))
    }
}

/// Events of the audit trail: the response of `GET /audit`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AuditPage {
    /// The events, oldest first.
    pub events: Vec<AuditEvent>,
    /// `since` of the next query.
    pub next: u64,
    /// Number of events after `since` that are no longer kept.
    pub lost: u64,
    /// Whether there are more events now.
    pub more: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_found_by_its_whole_name_or_its_last_part() {
        let used = |key: &str| KeyUse {
            key: key.to_owned(),
            version: None,
            ciphertext: None,
        };
        let arn = used("arn:aws:kms:us-east-1:123456789012:key/1234abcd");
        let google = used("projects/p/locations/l/keyRings/r/cryptoKeys/k");
        assert!(arn.is_of("1234abcd"));
        assert!(arn.is_of("arn:aws:kms:us-east-1:123456789012:key/1234ABCD"));
        assert!(google.is_of("k") && google.is_of("cryptoKeys/k"));
        for other in [
            "",
            "abcd",
            "oKeys/k",
            "x",
            "much/longer/than/the/name/of/the/key/projects/p/l",
        ] {
            assert!(!google.is_of(other) && !arn.is_of(other), "{other}");
        }
    }
}
