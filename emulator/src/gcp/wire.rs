//! Keys and versions as messages, and what goes into messages: times, durations, checksums.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use kmslab_googleapis::kms;
use kmslab_googleapis::kms::crypto_key::{CryptoKeyPurpose, RotationSchedule};
use kmslab_googleapis::kms::crypto_key_version::{
    CryptoKeyVersionAlgorithm, CryptoKeyVersionState,
};
use kmslab_keycore::{Cause, Key, Trigger, Version, VersionState};
use zeroize::Zeroizing;

use super::GcpError;
use super::algorithms::{self, Row};
use super::names::{KeyName, VersionName};

/// Attributes of a key in the core.
pub(crate) const PURPOSE: &str = "purpose";
pub(crate) const IMPORT_ONLY: &str = "import_only";
pub(crate) const DESTROY_AFTER: &str = "destroy_scheduled_duration";
/// Attributes of a key (of its template) and of a version.
pub(crate) const ALGORITHM: &str = "algorithm";
pub(crate) const PROTECTION: &str = "protection_level";
/// Attributes of an imported version.
pub(crate) const IMPORT_JOB: &str = "import_job";
pub(crate) const IMPORT_TIME: &str = "import_time";

/// The default `destroy_scheduled_duration`: 30 days.
pub(crate) const DESTROY_AFTER_SECONDS: i64 = 30 * 86_400;

const CRC32C: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);

/// CRC-32C, as the API has it: a number of 64 bits.
pub(crate) fn crc32c(bytes: &[u8]) -> i64 {
    CRC32C.checksum(bytes).into()
}

/// PEM, with lines as the service has them.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = Zeroizing::new(STANDARD.encode(der));
    let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy);
    let mut pem = String::with_capacity(text.len() + text.len() / 64 + 2 * (label.len() + 18));
    pem.push_str(&format!("-----BEGIN {label}-----\n"));
    for line in lines {
        pem.push_str(&line);
        pem.push('\n');
    }
    pem + &format!("-----END {label}-----\n")
}

/// The state in the service's word.
pub(crate) fn state_name(state: VersionState) -> &'static str {
    state_of(state).as_str_name()
}

fn state_of(state: VersionState) -> CryptoKeyVersionState {
    match state {
        VersionState::Pending => CryptoKeyVersionState::PendingGeneration,
        VersionState::Enabled => CryptoKeyVersionState::Enabled,
        VersionState::Disabled => CryptoKeyVersionState::Disabled,
        VersionState::DestroyScheduled { .. } => CryptoKeyVersionState::DestroyScheduled,
        VersionState::Destroyed => CryptoKeyVersionState::Destroyed,
    }
}

pub(crate) fn time(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: at.as_second(),
        nanos: at.subsec_nanosecond(),
    }
}

/// A time that came in; `None` where no calendar has it.
pub(crate) fn timestamp(at: &prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(at.seconds, at.nanos).ok()
}

fn duration(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

/// A duration that came in.
pub(crate) fn signed(duration: &prost_types::Duration) -> SignedDuration {
    SignedDuration::new(duration.seconds, duration.nanos)
}

/// Whether the checksum that came with the bytes is theirs; `false` where none came.
pub(crate) fn checked(field: &str, bytes: &[u8], claimed: Option<i64>) -> Result<bool, GcpError> {
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

/// A key's purpose.
pub(crate) fn purpose(key: &Key) -> CryptoKeyPurpose {
    let name = key
        .attributes
        .get(PURPOSE)
        .map(String::as_str)
        .unwrap_or_default();
    CryptoKeyPurpose::from_str_name(name).unwrap_or_default()
}

/// The algorithm that an attribute names.
pub(crate) fn algorithm(
    attributes: &std::collections::BTreeMap<String, String>,
) -> CryptoKeyVersionAlgorithm {
    let name = attributes
        .get(ALGORITHM)
        .map(String::as_str)
        .unwrap_or_default();
    CryptoKeyVersionAlgorithm::from_str_name(name).unwrap_or_default()
}

/// What a version can do.
pub(crate) fn row(version: &Version) -> Result<&'static Row, GcpError> {
    algorithms::find(algorithm(&version.attributes))
        .ok_or_else(|| GcpError::internal("a version without an algorithm"))
}

fn protection(attributes: &std::collections::BTreeMap<String, String>) -> i32 {
    let name = attributes
        .get(PROTECTION)
        .map(String::as_str)
        .unwrap_or_default();
    kms::ProtectionLevel::from_str_name(name)
        .unwrap_or(kms::ProtectionLevel::Software)
        .into()
}

/// The protection level of a version, as answers have it.
pub(crate) fn protection_of(version: &Version) -> i32 {
    protection(&version.attributes)
}

/// How long after Destroy a key's versions are gone.
pub(crate) fn destroy_after(key: &Key) -> SignedDuration {
    let seconds = key
        .attributes
        .get(DESTROY_AFTER)
        .and_then(|text| text.parse().ok());
    SignedDuration::from_secs(seconds.unwrap_or(DESTROY_AFTER_SECONDS))
}

/// A key as the service shows it.
pub(crate) fn crypto_key(name: &KeyName, key: &Key) -> kms::CryptoKey {
    let purpose = purpose(key);
    let rotation_period = match key.rotation.trigger {
        Some(Trigger::Every(period)) => period.as_seconds(),
        _ => None,
    };
    kms::CryptoKey {
        name: name.to_string(),
        primary: key
            .primary()
            .ok()
            .map(|version| crypto_key_version(name, version)),
        purpose: purpose.into(),
        create_time: Some(time(key.created)),
        next_rotation_time: key.rotation.next.map(time),
        rotation_schedule: rotation_period
            .map(|seconds| RotationSchedule::RotationPeriod(duration(seconds))),
        version_template: Some(kms::CryptoKeyVersionTemplate {
            protection_level: protection(&key.attributes),
            algorithm: algorithm(&key.attributes).into(),
        }),
        labels: key.labels.clone(),
        import_only: key.attributes.contains_key(IMPORT_ONLY),
        destroy_scheduled_duration: Some(duration(destroy_after(key).as_secs())),
        ..kms::CryptoKey::default()
    }
}

/// A version as the service shows it.
pub(crate) fn crypto_key_version(key: &KeyName, version: &Version) -> kms::CryptoKeyVersion {
    let name = VersionName {
        key: key.clone(),
        number: version.number,
    };
    // A version that a schedule makes has what the one before it had, and was not imported.
    let imported = |name: &str| {
        version
            .attributes
            .get(name)
            .filter(|_| version.cause == Cause::Created)
    };
    let import_job = imported(IMPORT_JOB).cloned().unwrap_or_default();
    let import_time = imported(IMPORT_TIME)
        .and_then(|at| at.parse().ok())
        .map(time);
    let (mut destroy_time, mut destroy_event_time) = (None, None);
    match version.state {
        VersionState::DestroyScheduled { at } => destroy_time = Some(time(at)),
        VersionState::Destroyed => destroy_event_time = Some(time(version.updated)),
        _ => {}
    }
    let generated = version.state != VersionState::Pending && import_job.is_empty();
    kms::CryptoKeyVersion {
        name: name.to_string(),
        state: state_of(version.state).into(),
        protection_level: protection(&version.attributes),
        algorithm: algorithm(&version.attributes).into(),
        create_time: Some(time(version.created)),
        generate_time: generated.then(|| time(version.created)),
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
    fn the_checksum_is_castagnolis() {
        // RFC 3720, appendix B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert!(checked("plaintext", b"123456789", Some(0xe306_9283)).unwrap());
        assert!(checked("plaintext", b"123456789", Some(-1)).is_err());
    }
}
