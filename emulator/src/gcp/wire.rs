//! Conversion of keys and versions to messages, and of timestamps, durations and checksums.

use jiff::{SignedDuration, Timestamp};
use kmslab_googleapis::kms;
use kmslab_googleapis::kms::crypto_key::RotationSchedule;
use kmslab_googleapis::kms::crypto_key_version::CryptoKeyVersionState;
use kmslab_keycore::{Trigger, VersionState};
use pem::{EncodeConfig, LineEnding, Pem};
use zeroize::Zeroizing;

use super::GcpError;
use super::algorithms::{self, AlgorithmInfo};
use super::data::{self, Key, Version};
use super::names::{KeyName, VersionName};

/// Default of `destroy_scheduled_duration`.
pub(crate) const DESTROY_AFTER: SignedDuration = SignedDuration::from_hours(30 * 24);

const CRC32C: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);

/// CRC32C as a 64-bit number, as in the API.
pub(crate) fn crc32c(bytes: &[u8]) -> i64 {
    CRC32C.checksum(bytes).into()
}

/// DER as PEM. The copy of the DER is wiped; the crate does not wipe its Base64.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let block = Pem::new(label, der);
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    let text = pem::encode_config(&block, config);
    drop(Zeroizing::new(block.into_contents()));
    text
}

/// The state's name in the API.
pub(crate) fn state_name(state: VersionState) -> &'static str {
    to_proto_state(state).as_str_name()
}

fn to_proto_state(state: VersionState) -> CryptoKeyVersionState {
    match state {
        VersionState::Pending => CryptoKeyVersionState::PendingGeneration,
        VersionState::Enabled => CryptoKeyVersionState::Enabled,
        VersionState::Disabled => CryptoKeyVersionState::Disabled,
        VersionState::DestroyScheduled { .. } => CryptoKeyVersionState::DestroyScheduled,
        VersionState::Destroyed => CryptoKeyVersionState::Destroyed,
    }
}

pub(crate) fn to_proto_timestamp(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: at.as_second(),
        nanos: at.subsec_nanosecond(),
    }
}

/// Converts a timestamp of a request; `None` if it is out of range.
pub(crate) fn from_proto_timestamp(at: &prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(at.seconds, at.nanos).ok()
}

pub(crate) fn to_proto_duration(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

/// Converts a duration of a request.
pub(crate) fn from_proto_duration(duration: &prost_types::Duration) -> SignedDuration {
    SignedDuration::new(duration.seconds, duration.nanos)
}

/// Verifies a checksum of a request. Returns false if there is none.
pub(crate) fn verify_checksum(
    field: &str,
    bytes: &[u8],
    claimed: Option<i64>,
) -> Result<bool, GcpError> {
    match claimed {
        None => Ok(false),
        Some(claimed) if claimed == crc32c(bytes) => Ok(true),
        Some(_) => Err(GcpError::bad_field(
            &format!("{field}_crc32c"),
            format!(
                "The checksum in field {field}_crc32c did not match the data in field {field}."
            ),
        )),
    }
}

pub(crate) fn algorithm_info(version: &Version) -> Result<&'static AlgorithmInfo, GcpError> {
    algorithms::find(version.data.template.algorithm)
        .ok_or_else(|| GcpError::internal("a version without an algorithm"))
}

pub(crate) fn protection_level(version: &Version) -> i32 {
    version.data.template.protection.into()
}

/// Converts a key.
pub(crate) fn crypto_key(name: &KeyName, key: &Key) -> kms::CryptoKey {
    let rotation_period = match key.rotation.trigger {
        Some(Trigger::Every(period)) => period.as_seconds(),
        _ => None,
    };
    kms::CryptoKey {
        name: name.to_string(),
        primary: key
            .primary_version()
            .ok()
            .map(|version| crypto_key_version(name, version)),
        purpose: key.data.purpose.into(),
        create_time: Some(to_proto_timestamp(key.created)),
        next_rotation_time: key.rotation.next.map(to_proto_timestamp),
        rotation_schedule: rotation_period
            .map(|seconds| RotationSchedule::RotationPeriod(to_proto_duration(seconds))),
        version_template: Some(kms::CryptoKeyVersionTemplate {
            protection_level: key.data.template.protection.into(),
            algorithm: key.data.template.algorithm.into(),
        }),
        labels: key.data.labels.clone(),
        import_only: key.data.import_only,
        destroy_scheduled_duration: Some(to_proto_duration(key.data.destroy_after.as_secs())),
        ..kms::CryptoKey::default()
    }
}

/// Converts a version.
pub(crate) fn crypto_key_version(key: &KeyName, version: &Version) -> kms::CryptoKeyVersion {
    let name = VersionName {
        key: key.clone(),
        number: version.number,
    };
    let import = data::import(version);
    let import_job = import.map(|import| import.job.clone()).unwrap_or_default();
    let import_time = import.map(|import| to_proto_timestamp(import.time));
    let (mut destroy_time, mut destroy_event_time) = (None, None);
    match version.state {
        VersionState::DestroyScheduled { at } => destroy_time = Some(to_proto_timestamp(at)),
        VersionState::Destroyed => destroy_event_time = Some(to_proto_timestamp(version.updated)),
        _ => {}
    }
    let generated = version.state != VersionState::Pending && import_job.is_empty();
    kms::CryptoKeyVersion {
        name: name.to_string(),
        state: to_proto_state(version.state).into(),
        protection_level: protection_level(version),
        algorithm: version.data.template.algorithm.into(),
        create_time: Some(to_proto_timestamp(version.created)),
        generate_time: generated.then(|| to_proto_timestamp(version.created)),
        destroy_time,
        destroy_event_time,
        reimport_eligible: !import_job.is_empty() && version.state == VersionState::Destroyed,
        import_job,
        import_time,
        ..kms::CryptoKeyVersion::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_matches_rfc_3720_vectors() {
        // Test vectors of RFC 3720, appendix B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert!(verify_checksum("plaintext", b"123456789", Some(0xe306_9283)).unwrap());
        assert!(verify_checksum("plaintext", b"123456789", Some(-1)).is_err());
    }
}
