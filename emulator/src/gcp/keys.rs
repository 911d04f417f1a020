//! Key operations: list, get, create and update.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use kmslab_googleapis::kms;
use kmslab_googleapis::kms::ProtectionLevel;
use kmslab_googleapis::kms::crypto_key::{CryptoKeyPurpose as Purpose, RotationSchedule};
use kmslab_googleapis::kms::crypto_key_version::CryptoKeyVersionAlgorithm;
use kmslab_keycore::{NewKey, Period, RotationPolicy, Trigger};

use super::algorithms::{self, AlgorithmInfo};
use super::auth::Caller;
use super::data::{KeyData, KeyRef, NewVersion, VersionData, VersionTemplate};
use super::names::{KeyName, is_id};
use super::page::{PageRequest, page};
use super::{Gcp, GcpError, rings, wire};

/// Bounds of `rotation_period` in seconds: one day and 876,000 hours.
const ROTATION_PERIOD_SECONDS: (i64, i64) = (86_400, 876_000 * 3600);
/// Bounds of `destroy_scheduled_duration` in seconds: one day and 120 days.
const DESTROY_SCHEDULED_SECONDS: (i64, i64) = (86_400, 120 * 86_400);
/// Maximum number of labels, and maximum length of their keys and values.
const MAX_LABELS_AND_LEN: (usize, usize) = (64, 63);

/// Parses the name of a key.
pub(crate) fn parse_name(name: &str) -> Result<KeyName, GcpError> {
    KeyName::parse(name).ok_or_else(|| GcpError::bad_name(name, "CryptoKey"))
}

pub(crate) fn list(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::ListCryptoKeysRequest,
) -> Result<kms::ListCryptoKeysResponse, GcpError> {
    let ring = rings::parse_ring(&request.parent)?;
    gcp.allow(caller, "cloudkms.cryptoKeys.list", &request.parent)?;
    gcp.ring(&ring)?;
    let mut keys = gcp.core.keys(&ring.realm());
    keys.sort_by(|a, b| a.id.cmp(&b.id));
    let json = |key: &KeyRef<'_>| KeyName::of(key).map(|name| wire::crypto_key(&name, key));
    let page = page(
        keys.iter().filter_map(json).collect(),
        PageRequest {
            size: request.page_size,
            token: &request.page_token,
            filter: &request.filter,
            order_by: &request.order_by,
        },
    )?;
    Ok(kms::ListCryptoKeysResponse {
        crypto_keys: page.items,
        next_page_token: page.next,
        total_size: page.total,
    })
}

pub(crate) fn get(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::GetCryptoKeyRequest,
) -> Result<kms::CryptoKey, GcpError> {
    let name = parse_name(&request.name)?;
    gcp.allow(caller, "cloudkms.cryptoKeys.get", &request.name)?;
    let key = gcp.key(&name)?;
    Ok(wire::crypto_key(&name, &key))
}

pub(crate) fn create(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::CreateCryptoKeyRequest,
) -> Result<kms::CryptoKey, GcpError> {
    let ring = rings::parse_ring(&request.parent)?;
    if !is_id(&request.crypto_key_id) {
        return Err(rings::invalid_id("crypto_key_id", &request.crypto_key_id));
    }
    let requested = request
        .crypto_key
        .ok_or_else(|| GcpError::bad_field("crypto_key", "The CryptoKey is required."))?;
    let (row, data) = key_data(&requested)?;
    let rotation = rotation(&requested, row.purpose, gcp.core.now())?;
    if data.import_only && !request.skip_initial_version_creation {
        return Err(GcpError::bad_field(
            "crypto_key.import_only",
            "A CryptoKey that is import_only has no initial version: skip_initial_version_creation must be set.",
        ));
    }
    gcp.allow(caller, "cloudkms.cryptoKeys.create", &request.parent)?;
    gcp.ring(&ring)?;
    let name = KeyName {
        ring,
        key: request.crypto_key_id,
    };
    let first = (!request.skip_initial_version_creation).then(|| new_version(row, data.template));
    let new = NewKey {
        id: name.id(),
        algorithm: row.material,
        first,
        purpose: row.core_purpose(),
        data,
    };
    let realm = name.ring.realm();
    let create = || {
        gcp.core
            .create(&realm, new)
            .map_err(|error| GcpError::from_key_error(&name, error))
    };
    let mut key = gcp.retired.create(&name, create)?;
    if let Some((period, first)) = rotation {
        let scheduled = key.set_rotation(RotationPolicy {
            trigger: Some(Trigger::Every(period)),
            first: Some(first),
            lifetime: None,
        });
        key = scheduled.map_err(|error| GcpError::from_key_error(&name, error))?;
    }
    gcp.finish_pending(&key);
    Ok(wire::crypto_key(&name, &key))
}

/// The algorithm and the data of a key to create.
pub(super) fn key_data(
    requested: &kms::CryptoKey,
) -> Result<(&'static AlgorithmInfo, KeyData), GcpError> {
    let row = template(requested)?;
    let data = KeyData {
        purpose: row.purpose,
        template: VersionTemplate {
            algorithm: row.name,
            protection: protection(requested)?,
        },
        import_only: requested.import_only,
        destroy_after: destroy_after(requested)?,
        labels: requested.labels.clone(),
    };
    validate_labels(&data.labels)?;
    Ok((row, data))
}

/// A new version of a template, pending if its material takes long to generate.
pub(crate) fn new_version(row: &AlgorithmInfo, template: VersionTemplate) -> NewVersion {
    NewVersion {
        pending: row.is_asymmetric(),
        primary: row.purpose == Purpose::EncryptDecrypt,
        data: VersionData {
            template,
            import: None,
        },
        ..NewVersion::new(row.material)
    }
}

/// The purpose and algorithm of a new key.
fn template(requested: &kms::CryptoKey) -> Result<&'static AlgorithmInfo, GcpError> {
    let purpose = Purpose::try_from(requested.purpose).unwrap_or_default();
    if purpose == Purpose::Unspecified {
        return Err(GcpError::bad_field(
            "crypto_key.purpose",
            "The purpose of a CryptoKey is required.",
        ));
    }
    let named = requested
        .version_template
        .as_ref()
        .map(|template| template.algorithm)
        .filter(|algorithm| *algorithm != 0);
    let row = match named {
        Some(named) => algorithm("crypto_key.version_template.algorithm", named)?,
        None => {
            let name = algorithms::default_algorithm(purpose).ok_or_else(|| {
                GcpError::bad_field(
                    "crypto_key.version_template.algorithm",
                    "The algorithm is required for keys of this purpose.",
                )
            })?;
            algorithms::find(name)
                .ok_or_else(|| GcpError::internal("a default that is not there"))?
        }
    };
    if row.purpose != purpose {
        return Err(GcpError::bad_field(
            "crypto_key.version_template.algorithm",
            format!(
                "Algorithm {} is not for keys of purpose {}.",
                row.name.as_str_name(),
                purpose.as_str_name()
            ),
        ));
    }
    Ok(row)
}

fn algorithm(field: &str, number: i32) -> Result<&'static AlgorithmInfo, GcpError> {
    let name = CryptoKeyVersionAlgorithm::try_from(number);
    let name =
        name.map_err(|_| GcpError::bad_field(field, format!("Unknown algorithm {number}.")))?;
    algorithms::find(name)
        .ok_or_else(|| GcpError::unimplemented(&format!("Algorithm {}", name.as_str_name())))
}

fn protection(requested: &kms::CryptoKey) -> Result<ProtectionLevel, GcpError> {
    let level = requested
        .version_template
        .as_ref()
        .map_or(0, |template| template.protection_level);
    match ProtectionLevel::try_from(level) {
        Ok(ProtectionLevel::Unspecified | ProtectionLevel::Software) => {
            Ok(ProtectionLevel::Software)
        }
        Ok(ProtectionLevel::Hsm) => Ok(ProtectionLevel::Hsm),
        Ok(other) => Err(GcpError::unimplemented(&format!(
            "Protection level {}",
            other.as_str_name()
        ))),
        Err(_) => Err(GcpError::bad_field(
            "crypto_key.version_template.protection_level",
            "Unknown protection level.",
        )),
    }
}

fn destroy_after(requested: &kms::CryptoKey) -> Result<SignedDuration, GcpError> {
    let Some(duration) = &requested.destroy_scheduled_duration else {
        return Ok(wire::DESTROY_AFTER);
    };
    let (least, most) = DESTROY_SCHEDULED_SECONDS;
    let seconds = wire::from_proto_duration(duration).as_secs();
    if (least..=most).contains(&seconds) || (seconds == 0 && requested.import_only) {
        return Ok(SignedDuration::from_secs(seconds));
    }
    Err(GcpError::bad_field(
        "crypto_key.destroy_scheduled_duration",
        "The destroy_scheduled_duration must be from 24 hours to 120 days.",
    ))
}

fn validate_labels(labels: &BTreeMap<String, String>) -> Result<(), GcpError> {
    let (count, length) = MAX_LABELS_AND_LEN;
    let fits = |text: &str| {
        text.chars().count() <= length
            && text
                .chars()
                .all(|c| c.is_lowercase() || c.is_numeric() || c == '_' || c == '-')
    };
    let bad = labels
        .iter()
        .find(|(key, value)| !key.starts_with(char::is_lowercase) || !fits(key) || !fits(value));
    match bad {
        Some((key, value)) => Err(GcpError::bad_field(
            "crypto_key.labels",
            format!("Invalid label {key}:{value}"),
        )),
        None if labels.len() > count => Err(GcpError::bad_field(
            "crypto_key.labels",
            format!("A CryptoKey has at most {count} labels."),
        )),
        None => Ok(()),
    }
}

/// The rotation trigger of a request and its first date.
pub(super) fn rotation(
    requested: &kms::CryptoKey,
    purpose: Purpose,
    now: Timestamp,
) -> Result<Option<(Period, Timestamp)>, GcpError> {
    let period = requested
        .rotation_schedule
        .as_ref()
        .map(|RotationSchedule::RotationPeriod(period)| wire::from_proto_duration(period));
    let (period, next) = match (period, &requested.next_rotation_time) {
        (None, None) => return Ok(None),
        (Some(period), Some(next)) => (period, next),
        (Some(_), None) => {
            return Err(GcpError::bad_field(
                "crypto_key.next_rotation_time",
                "The next_rotation_time is required where there is a rotation_period.",
            ));
        }
        (None, Some(_)) => {
            return Err(GcpError::bad_field(
                "crypto_key.rotation_period",
                "The rotation_period is required where there is a next_rotation_time.",
            ));
        }
    };
    if purpose != Purpose::EncryptDecrypt {
        return Err(GcpError::bad_field(
            "crypto_key.rotation_period",
            "Automatic rotation is for keys of purpose ENCRYPT_DECRYPT only.",
        ));
    }
    let (least, most) = ROTATION_PERIOD_SECONDS;
    if period < SignedDuration::from_secs(least) || period > SignedDuration::from_secs(most) {
        return Err(GcpError::bad_field(
            "crypto_key.rotation_period",
            "The rotation_period must be from 24 hours to 876,000 hours.",
        ));
    }
    let next = wire::from_proto_timestamp(next).filter(|next| *next > now);
    let next = next.ok_or_else(|| {
        GcpError::bad_field(
            "crypto_key.next_rotation_time",
            "The next_rotation_time must be in the future.",
        )
    })?;
    let seconds = u64::try_from(period.as_secs()).map_err(GcpError::internal)?;
    Ok(Some((Period::seconds(seconds), next)))
}

pub(crate) fn update(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::UpdateCryptoKeyRequest,
) -> Result<kms::CryptoKey, GcpError> {
    let requested = request
        .crypto_key
        .ok_or_else(|| GcpError::bad_field("crypto_key", "The CryptoKey is required."))?;
    let name = parse_name(&requested.name)?;
    let mask = request
        .update_mask
        .map(|mask| mask.paths)
        .filter(|paths| !paths.is_empty());
    let mask =
        mask.ok_or_else(|| GcpError::bad_field("update_mask", "The update_mask is required."))?;
    gcp.allow(caller, "cloudkms.cryptoKeys.update", &requested.name)?;
    let key = gcp.key(&name)?;
    let (mut labels, mut rotates) = (None, false);
    let mut changed = wire::crypto_key(&name, &key);
    for path in &mask {
        match path.as_str() {
            "labels" => {
                validate_labels(&requested.labels)?;
                labels = Some(requested.labels.clone());
            }
            "rotation_period" | "rotation_schedule" => {
                (rotates, changed.rotation_schedule) = (true, requested.rotation_schedule);
                // A schedule that is removed needs no next date.
                if requested.rotation_schedule.is_none()
                    && !mask.iter().any(|path| path == "next_rotation_time")
                {
                    changed.next_rotation_time = None;
                }
            }
            "next_rotation_time" => {
                (rotates, changed.next_rotation_time) = (true, requested.next_rotation_time)
            }
            "version_template" | "version_template.algorithm" => {
                changed.version_template = requested.version_template
            }
            other => {
                return Err(GcpError::bad_field(
                    "update_mask",
                    format!("The field {other} can not be updated."),
                ));
            }
        }
    }
    let row = template(&changed)?;
    let refused = |error| GcpError::from_key_error(&name, error);
    if rotates {
        let (trigger, first) = match rotation(&changed, row.purpose, gcp.core.now())? {
            Some((period, first)) => (Some(Trigger::Every(period)), Some(first)),
            None => (None, None),
        };
        key.set_rotation(RotationPolicy {
            trigger,
            first,
            lifetime: None,
        })
        .map_err(refused)?;
    }
    let updated = key.update(|data| {
        if let Some(labels) = &labels {
            data.labels.clone_from(labels);
        }
        data.template.algorithm = row.name;
    });
    let key = updated.map_err(refused)?;
    Ok(wire::crypto_key(&name, &key))
}
