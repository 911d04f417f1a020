//! Writes what Google has as a seed file has it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kmslab_keycore::{Cause, KeyError, KeyId, PlainKey, PlainVersion, Trigger, VersionState};

use super::{
    GcpSeed, SeedCondition, SeedCryptoKey, SeedCryptoKeyVersion, SeedImportJob, SeedKeyRing,
    SeedPolicyBinding, SeedPublicKey, SeedResourcePolicy, SeedRetiredKey, SeedServiceAccount,
};
use crate::gcp::data::GcpFront;
use crate::gcp::import_jobs::wrapping_realm;
use crate::gcp::names::RingName;
use crate::gcp::{Gcp, wire};
use crate::seed::material::SeedMaterial;

impl GcpSeed {
    /// Everything that there is. Without `with_material`, key material is left out. Private keys of
    /// service accounts are not kept by the emulator.
    pub(crate) fn export(gcp: &Gcp, with_material: bool) -> Result<Self, KeyError> {
        let rings = gcp.all_rings().into_iter().map(|(name, created)| {
            Ok(SeedKeyRing {
                create_time: Some(created),
                keys: keys(gcp, &name, with_material)?,
                import_jobs: jobs(gcp, &name, with_material)?,
                name: name.to_string(),
            })
        });
        Ok(Self {
            key_rings: rings.collect::<Result<_, KeyError>>()?,
            service_accounts: accounts(gcp),
            metadata_account: Some(gcp.identity.default()),
            policies: policies(gcp),
            retired_keys: gcp
                .retired
                .all()
                .into_iter()
                .map(|(key, id, delete_time)| SeedRetiredKey {
                    key: key.to_string(),
                    id,
                    delete_time,
                })
                .collect(),
            ..Self::default()
        })
    }
}

fn accounts(gcp: &Gcp) -> Vec<SeedServiceAccount> {
    let all = gcp.identity.accounts.all();
    let seeded = all.iter().map(|account| SeedServiceAccount {
        email: account.email.clone(),
        display_name: Some(account.display_name.clone()).filter(|name| !name.is_empty()),
        key_file: None,
        public_keys: account
            .keys
            .iter()
            .map(|key| SeedPublicKey {
                id: key.id.clone(),
                n: URL_SAFE_NO_PAD.encode(&key.public.modulus),
                e: URL_SAFE_NO_PAD.encode(&key.public.exponent),
            })
            .collect(),
    });
    seeded.collect()
}

fn policies(gcp: &Gcp) -> Vec<SeedResourcePolicy> {
    let all = gcp.policies.all().into_iter();
    let seeded = all.map(|(resource, (revision, bindings))| SeedResourcePolicy {
        resource,
        revision,
        bindings: bindings
            .into_iter()
            .map(|binding| SeedPolicyBinding {
                role: binding.role,
                members: binding.members,
                condition: binding.condition.map(|condition| SeedCondition {
                    expression: condition.expression,
                    title: condition.title,
                    description: condition.description,
                    location: condition.location,
                }),
            })
            .collect(),
    });
    seeded.collect()
}

fn keys(gcp: &Gcp, ring: &RingName, with_material: bool) -> Result<Vec<SeedCryptoKey>, KeyError> {
    let keys = gcp.core.keys(&ring.realm());
    let keys = keys.iter().map(|key| {
        let key = key.export(with_material)?;
        Ok(SeedCryptoKey::of(&key))
    });
    keys.collect()
}

impl SeedCryptoKey {
    fn of(key: &PlainKey<GcpFront>) -> Self {
        let data = &key.data;
        let period = match key.rotation.trigger {
            Some(Trigger::Every(period)) => period.as_seconds(),
            _ => None,
        };
        let primary = key
            .versions
            .iter()
            .find(|version| Some(version.id) == key.primary);
        Self {
            id: key.id.to_string(),
            purpose: Some(data.purpose.as_str_name().to_owned()),
            algorithm: Some(data.template.algorithm.as_str_name().to_owned()),
            protection_level: Some(data.template.protection.as_str_name().to_owned()),
            labels: data.labels.clone().into_iter().collect(),
            rotation_period_seconds: period.and_then(|seconds| u64::try_from(seconds).ok()),
            next_rotation_time: period.and(key.rotation.next),
            destroy_scheduled_seconds: Some(data.destroy_after.as_secs()),
            import_only: data.import_only,
            create_time: Some(key.created),
            primary: Some(primary.map_or(0, |version| version.number)),
            last_version: Some(key.last_number),
            versions: Some(key.versions.iter().map(SeedCryptoKeyVersion::of).collect()),
        }
    }
}

impl SeedCryptoKeyVersion {
    fn of(version: &PlainVersion<GcpFront>) -> Self {
        let (mut destroy_time, mut destroy_event_time) = (None, None);
        match version.state {
            VersionState::DestroyScheduled { at } => destroy_time = Some(at),
            VersionState::Destroyed => destroy_event_time = Some(version.updated),
            VersionState::Pending | VersionState::Enabled | VersionState::Disabled => {}
        }
        let import = version.data.import.as_ref();
        Self {
            number: Some(version.number),
            id: Some(version.id.to_string()),
            state: Some(wire::state_name(version.state).to_owned()),
            algorithm: Some(version.data.template.algorithm.as_str_name().to_owned()),
            protection_level: Some(version.data.template.protection.as_str_name().to_owned()),
            create_time: Some(version.created),
            destroy_time,
            destroy_event_time,
            import_job: import.map(|import| import.job.clone()),
            import_time: import.map(|import| import.time),
            scheduled: version.cause == Cause::Automatic,
            material: version.material.as_ref().map(SeedMaterial::of),
        }
    }
}

fn jobs(gcp: &Gcp, ring: &RingName, with_material: bool) -> Result<Vec<SeedImportJob>, KeyError> {
    let jobs = gcp.jobs_of(ring).into_iter().map(|(name, job)| {
        let id = KeyId::new(name.job.as_str());
        let key = gcp.core.key(&wrapping_realm(ring), &id)?;
        let key = key.export(with_material)?;
        let material = key.versions.first().and_then(|only| only.material.as_ref());
        Ok(SeedImportJob {
            id: name.job,
            import_method: job.method.as_str_name().to_owned(),
            protection_level: Some(job.level.as_str_name().to_owned()),
            create_time: Some(job.created),
            material: material.map(SeedMaterial::of),
        })
    });
    jobs.collect()
}
