//! Creates the key rings of a seed file and what is in them, with the checks of the operations that
//! create the same.

use jiff::{SignedDuration, Timestamp};
use kmslab_googleapis::kms;
use kmslab_googleapis::kms::crypto_key::{CryptoKeyPurpose, RotationSchedule};
use kmslab_googleapis::kms::crypto_key_version::{
    CryptoKeyVersionAlgorithm, CryptoKeyVersionState,
};
use kmslab_googleapis::kms::{CryptoKeyVersionTemplate, ProtectionLevel};
use kmslab_keycore::{
    Algorithm, Cause, KeyId, KeyState, Period, PlainKey, PlainVersion, Purpose, Realm, Rotation,
    Trigger, VersionState,
};

use super::{SeedCryptoKey, SeedCryptoKeyVersion, SeedImportJob, SeedKeyRing};
use crate::gcp::data::{GcpFront, Import, KeyData, VersionData, VersionTemplate};
use crate::gcp::import_jobs::{self, ImportJob};
use crate::gcp::names::{ImportJobName, KeyName, RingName, is_id};
use crate::gcp::{Gcp, algorithms, keys, wire};
use crate::seed::error::SeedError;
use crate::seed::material::SeedMaterial;
use crate::seed::version_id::version_id;

const PURPOSES: &[CryptoKeyPurpose] = &[
    CryptoKeyPurpose::EncryptDecrypt,
    CryptoKeyPurpose::AsymmetricSign,
    CryptoKeyPurpose::AsymmetricDecrypt,
    CryptoKeyPurpose::RawEncryptDecrypt,
    CryptoKeyPurpose::Mac,
    CryptoKeyPurpose::KeyEncapsulation,
];
const STATES: &[CryptoKeyVersionState] = &[
    CryptoKeyVersionState::Enabled,
    CryptoKeyVersionState::Disabled,
    CryptoKeyVersionState::DestroyScheduled,
    CryptoKeyVersionState::Destroyed,
    CryptoKeyVersionState::PendingGeneration,
];
const LEVELS: &[ProtectionLevel] = &[ProtectionLevel::Software, ProtectionLevel::Hsm];

/// Where a value stands in the file.
fn at(path: &str, field: &str) -> String {
    format!("{path}.{field}")
}

/// One of `known` by its name; `default` if none is given.
fn named<T: Copy>(
    (path, field): (&str, &str),
    given: Option<&str>,
    default: T,
    known: &[T],
    name: impl Fn(&T) -> &'static str,
) -> Result<T, SeedError> {
    let Some(given) = given else {
        return Ok(default);
    };
    let found = known.iter().find(|one| name(one) == given).copied();
    found.ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(&name).collect();
        SeedError::unknown(&at(path, field), field, given, &names)
    })
}

fn level(path: &str, given: Option<&str>) -> Result<ProtectionLevel, SeedError> {
    let place = (path, "protectionLevel");
    named(place, given, ProtectionLevel::Software, LEVELS, |level| {
        level.as_str_name()
    })
}

fn algorithm(
    path: &str,
    given: Option<&str>,
    default: CryptoKeyVersionAlgorithm,
) -> Result<CryptoKeyVersionAlgorithm, SeedError> {
    let known: Vec<_> = algorithms::names().collect();
    named((path, "algorithm"), given, default, &known, |name| {
        name.as_str_name()
    })
}

fn id_of(path: &str, id: &str) -> Result<(), SeedError> {
    if is_id(id) {
        return Ok(());
    }
    let reason = format!("{id} is not an id of 1 to 63 letters, digits, dashes and underscores");
    Err(SeedError::invalid(&at(path, "id"), reason))
}

impl SeedKeyRing {
    pub(super) fn apply(&self, gcp: &Gcp, path: &str) -> Result<(), SeedError> {
        let name = RingName::parse(&self.name).ok_or_else(|| {
            let reason = format!(
                "{} is not a key ring's name, projects/P/locations/L/keyRings/R",
                self.name
            );
            SeedError::invalid(&at(path, "name"), reason)
        })?;
        let created = self.create_time.unwrap_or_else(|| gcp.core.now());
        gcp.put_ring(&name, created)
            .map_err(|error| SeedError::invalid(&at(path, "name"), error.message))?;
        for (index, key) in self.keys.iter().enumerate() {
            key.apply(gcp, &name, &format!("{path}.keys[{index}]"))?;
        }
        for (index, job) in self.import_jobs.iter().enumerate() {
            job.apply(gcp, &name, &format!("{path}.importJobs[{index}]"))?;
        }
        Ok(())
    }
}

impl SeedCryptoKey {
    fn apply(&self, gcp: &Gcp, ring: &RingName, path: &str) -> Result<(), SeedError> {
        id_of(path, &self.id)?;
        let name = KeyName {
            ring: ring.clone(),
            key: self.id.clone(),
        };
        let key = self.plain(gcp, &name, path)?;
        let key = gcp.core.import(key).map_err(|error| {
            SeedError::invalid(path, format!("the key cannot be created: {error}"))
        })?;
        gcp.finish_pending(&key);
        Ok(())
    }

    /// The key as the core takes it in.
    fn plain(
        &self,
        gcp: &Gcp,
        name: &KeyName,
        path: &str,
    ) -> Result<PlainKey<GcpFront>, SeedError> {
        let now = gcp.core.now();
        let purpose = named(
            (path, "purpose"),
            self.purpose.as_deref(),
            CryptoKeyPurpose::EncryptDecrypt,
            PURPOSES,
            |purpose| purpose.as_str_name(),
        )?;
        let default = CryptoKeyVersionAlgorithm::Unspecified;
        let requested = kms::CryptoKey {
            purpose: purpose.into(),
            version_template: Some(CryptoKeyVersionTemplate {
                algorithm: algorithm(path, self.algorithm.as_deref(), default)?.into(),
                protection_level: level(path, self.protection_level.as_deref())?.into(),
            }),
            labels: self.labels.clone(),
            import_only: self.import_only,
            destroy_scheduled_duration: self.destroy_scheduled_seconds.map(wire::to_proto_duration),
            rotation_schedule: self.rotation_period_seconds.map(|seconds| {
                let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
                RotationSchedule::RotationPeriod(wire::to_proto_duration(seconds))
            }),
            // That of the file may be in the past.
            next_rotation_time: self
                .rotation_period_seconds
                .and_then(|_| now.checked_add(SignedDuration::from_hours(1)).ok())
                .map(wire::to_proto_timestamp),
            ..kms::CryptoKey::default()
        };
        let (info, data) =
            keys::key_data(&requested).map_err(|error| SeedError::invalid(path, error.message))?;
        let rotates = keys::rotation(&requested, purpose, now)
            .map_err(|error| SeedError::invalid(path, error.message))?;
        let rotation = self.rotation(rotates.map(|(period, _)| period), now, path)?;
        let created = self.create_time.unwrap_or(now);
        let versions = self.plain_versions(name, &data, created, path)?;
        let last = versions.last().map_or(0, |newest| newest.number);
        let default = match purpose {
            CryptoKeyPurpose::EncryptDecrypt => last,
            _ => 0,
        };
        let primary = match self.primary.unwrap_or(default) {
            0 => None,
            number => {
                let primary = versions.iter().find(|version| version.number == number);
                let reason = || format!("there is no version {number}");
                Some(
                    primary
                        .ok_or_else(|| SeedError::invalid(&at(path, "primary"), reason()))?
                        .id,
                )
            }
        };
        Ok(PlainKey {
            realm: name.ring.realm(),
            id: name.id(),
            purpose: info.core_purpose(),
            state: KeyState::Enabled,
            created,
            algorithm: info.material,
            last_number: self.last_version.unwrap_or(last),
            primary,
            versions,
            rotation,
            data,
        })
    }

    fn rotation(
        &self,
        period: Option<Period>,
        now: Timestamp,
        path: &str,
    ) -> Result<Rotation, SeedError> {
        let Some(period) = period else {
            return match self.next_rotation_time {
                Some(_) => Err(SeedError::invalid(
                    &at(path, "nextRotationTime"),
                    "a nextRotationTime needs rotationPeriodSeconds".to_owned(),
                )),
                None => Ok(Rotation::default()),
            };
        };
        Ok(Rotation {
            trigger: Some(Trigger::Every(period)),
            next: self.next_rotation_time.or_else(|| period.after(now)),
            ..Rotation::default()
        })
    }

    fn plain_versions(
        &self,
        name: &KeyName,
        data: &KeyData,
        created: Timestamp,
        path: &str,
    ) -> Result<Vec<PlainVersion<GcpFront>>, SeedError> {
        let only = [SeedCryptoKeyVersion::default()];
        let given = match &self.versions {
            Some(versions) => versions.as_slice(),
            None if self.import_only => &[],
            None => &only,
        };
        let mut number = 0_u32;
        let versions = given.iter().enumerate().map(|(index, version)| {
            number = version.number.unwrap_or(number.saturating_add(1));
            let path = format!("{path}.versions[{index}]");
            version.plain(name, number, data, created, &path)
        });
        versions.collect()
    }
}

impl SeedCryptoKeyVersion {
    fn plain(
        &self,
        key: &KeyName,
        number: u32,
        data: &KeyData,
        created: Timestamp,
        path: &str,
    ) -> Result<PlainVersion<GcpFront>, SeedError> {
        let (purpose, template) = (data.purpose, data.template);
        let name = key.version(number).to_string();
        let algorithm = algorithm(path, self.algorithm.as_deref(), template.algorithm)?;
        let info = algorithms::find(algorithm).ok_or(SeedError::Stopped)?;
        if info.purpose != purpose {
            let reason = format!(
                "{} is not for keys of purpose {}",
                algorithm.as_str_name(),
                purpose.as_str_name()
            );
            return Err(SeedError::invalid(&at(path, "algorithm"), reason));
        }
        let protection = match self.protection_level.as_deref() {
            None => template.protection,
            given => level(path, given)?,
        };
        let created = self.create_time.unwrap_or(created);
        let id = match &self.id {
            None => version_id(&name),
            Some(id) => id.parse().map_err(|_| {
                let reason = format!("{id} is not an id of 64 lower-case hex digits");
                SeedError::invalid(&at(path, "id"), reason)
            })?,
        };
        Ok(PlainVersion {
            id,
            number,
            state: self.version_state(path)?,
            created,
            updated: self.destroy_event_time.unwrap_or(created),
            cause: match self.scheduled {
                true => Cause::Automatic,
                false => Cause::Created,
            },
            algorithm: info.material,
            not_before: None,
            expires: None,
            data: VersionData {
                template: VersionTemplate {
                    algorithm,
                    protection,
                },
                import: self.import_job.as_ref().map(|job| Import {
                    job: job.clone(),
                    time: self.import_time.unwrap_or(created),
                }),
            },
            material: load(self.material.as_ref(), info.material, &name, path)?,
        })
    }

    fn version_state(&self, path: &str) -> Result<VersionState, SeedError> {
        let default = CryptoKeyVersionState::Enabled;
        let given = self.state.as_deref();
        let state = named((path, "state"), given, default, STATES, |state| {
            state.as_str_name()
        })?;
        match (state, self.destroy_time) {
            (CryptoKeyVersionState::DestroyScheduled, Some(at)) => {
                Ok(VersionState::DestroyScheduled { at })
            }
            (CryptoKeyVersionState::DestroyScheduled, None) => Err(SeedError::invalid(
                &at(path, "state"),
                "a version that is DESTROY_SCHEDULED needs a destroyTime".to_owned(),
            )),
            (_, Some(_)) => Err(SeedError::invalid(
                &at(path, "destroyTime"),
                "only a version that is DESTROY_SCHEDULED has a destroyTime".to_owned(),
            )),
            (CryptoKeyVersionState::Disabled, None) => Ok(VersionState::Disabled),
            (CryptoKeyVersionState::Destroyed, None) => Ok(VersionState::Destroyed),
            (CryptoKeyVersionState::PendingGeneration, None) => Ok(VersionState::Pending),
            _ => Ok(VersionState::Enabled),
        }
    }
}

fn load(
    material: Option<&SeedMaterial>,
    algorithm: Algorithm,
    name: &str,
    path: &str,
) -> Result<Option<kmslab_keycore::ImportedMaterial>, SeedError> {
    let loaded = material.map(|material| material.load(algorithm, name));
    loaded.transpose().map_err(|reason| {
        SeedError::invalid(&at(path, "material"), format!("the material {reason}"))
    })
}

impl SeedImportJob {
    fn apply(&self, gcp: &Gcp, ring: &RingName, path: &str) -> Result<(), SeedError> {
        id_of(path, &self.id)?;
        let name = ImportJobName {
            ring: ring.clone(),
            job: self.id.clone(),
        };
        let created = self.create_time.unwrap_or_else(|| gcp.core.now());
        let level = level(path, self.protection_level.as_deref())?;
        let methods = import_jobs::METHODS;
        let Some(method) = methods
            .iter()
            .find(|method| method.as_str_name() == self.import_method)
        else {
            let known: Vec<&str> = methods.iter().map(|method| method.as_str_name()).collect();
            let field = "importMethod";
            return Err(SeedError::unknown(
                &at(path, field),
                field,
                &self.import_method,
                &known,
            ));
        };
        let wrapping = |algorithm: Algorithm, realm: Realm| -> Result<_, SeedError> {
            let text = name.to_string();
            let id = version_id(&text);
            Ok(PlainKey {
                realm,
                id: KeyId::new(name.job.as_str()),
                purpose: Purpose::EncryptDecrypt,
                state: KeyState::Enabled,
                created,
                algorithm,
                last_number: 1,
                primary: Some(id),
                versions: vec![PlainVersion {
                    id,
                    number: 1,
                    state: VersionState::Enabled,
                    created,
                    updated: created,
                    cause: Cause::Created,
                    algorithm,
                    not_before: None,
                    expires: None,
                    data: VersionData::default(),
                    material: load(self.material.as_ref(), algorithm, &text, path)?,
                }],
                rotation: Rotation::default(),
                data: KeyData::default(),
            })
        };
        let (bits, ..) = import_jobs::unwrapping(*method).ok_or(SeedError::Stopped)?;
        let key = wrapping(Algorithm::Rsa { bits }, import_jobs::wrapping_realm(ring))?;
        let job = ImportJob {
            method: *method,
            level,
            created,
        };
        gcp.put_job(&name, job);
        gcp.core.import(key).map(drop).map_err(|error| {
            SeedError::invalid(path, format!("the import job cannot be created: {error}"))
        })
    }
}
