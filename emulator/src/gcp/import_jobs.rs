//! Import jobs: wrapping keys, and versions whose material was imported with them.

use std::sync::PoisonError;

use jiff::{SignedDuration, Timestamp};
use kmslab_googleapis::kms;
use kmslab_googleapis::kms::ProtectionLevel;
use kmslab_googleapis::kms::crypto_key_version::CryptoKeyVersionAlgorithm;
use kmslab_googleapis::kms::import_job::{ImportJobState, ImportMethod, WrappingPublicKey};
use kmslab_keycore::{
    Algorithm, ImportedMaterial, KeyError, KeyId, NewKey, Purpose, Realm, RsaPadding, VersionState,
};

use super::algorithms::{self, AlgorithmInfo};
use super::auth::Caller;
use super::data::{Import, KeyData, KeyRef, NewVersion, VersionData, VersionTemplate};
use super::names::{ImportJobName, RingName, is_id};
use super::page::{PageRequest, page};
use super::{Gcp, GcpError, keys, rings, versions, wire};

/// Lifetime of an import job.
const LIFETIME: SignedDuration = SignedDuration::from_hours(72);

/// An import job; its wrapping key is in the core.
#[derive(Debug, Clone)]
pub(crate) struct ImportJob {
    pub(super) method: ImportMethod,
    pub(super) level: ProtectionLevel,
    pub(super) created: Timestamp,
}

/// The methods that import jobs may have.
pub(super) const METHODS: &[ImportMethod] = &[
    ImportMethod::RsaOaep3072Sha1Aes256,
    ImportMethod::RsaOaep4096Sha1Aes256,
    ImportMethod::RsaOaep3072Sha256Aes256,
    ImportMethod::RsaOaep4096Sha256Aes256,
    ImportMethod::RsaOaep3072Sha256,
    ImportMethod::RsaOaep4096Sha256,
];

/// The realm of a key ring's wrapping keys.
pub(super) fn wrapping_realm(ring: &RingName) -> Realm {
    Realm::new(format!("gcpimport/{ring}"))
}

/// The method's RSA modulus length, its padding, and whether an AES key wraps the material.
pub(super) fn unwrapping(method: ImportMethod) -> Option<(u16, RsaPadding, bool)> {
    use ImportMethod as M;
    Some(match method {
        M::RsaOaep3072Sha1Aes256 => (3072, RsaPadding::OaepSha1, true),
        M::RsaOaep4096Sha1Aes256 => (4096, RsaPadding::OaepSha1, true),
        M::RsaOaep3072Sha256Aes256 => (3072, RsaPadding::OaepSha256, true),
        M::RsaOaep4096Sha256Aes256 => (4096, RsaPadding::OaepSha256, true),
        M::RsaOaep3072Sha256 => (3072, RsaPadding::OaepSha256, false),
        M::RsaOaep4096Sha256 => (4096, RsaPadding::OaepSha256, false),
        _ => return None,
    })
}

fn name(text: &str) -> Result<ImportJobName, GcpError> {
    ImportJobName::parse(text).ok_or_else(|| GcpError::bad_name(text, "ImportJob"))
}

impl Gcp {
    pub(crate) fn job(&self, name: &ImportJobName) -> Result<ImportJob, GcpError> {
        let jobs = self.jobs.read().unwrap_or_else(PoisonError::into_inner);
        jobs.get(name)
            .cloned()
            .ok_or_else(|| GcpError::not_found("ImportJob", name))
    }

    /// The import jobs of a key ring.
    pub(super) fn jobs_of(&self, ring: &RingName) -> Vec<(ImportJobName, ImportJob)> {
        let jobs = self.jobs.read().unwrap_or_else(PoisonError::into_inner);
        let of_ring = jobs.iter().filter(|(name, _)| name.ring == *ring);
        of_ring
            .map(|(name, job)| (name.clone(), job.clone()))
            .collect()
    }

    /// Adds an import job, whose wrapping key is in [`wrapping_realm`], for seeds.
    pub(super) fn put_job(&self, name: &ImportJobName, job: ImportJob) {
        self.jobs
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.clone(), job);
    }

    fn wrapping_key(&self, name: &ImportJobName) -> Result<KeyRef<'_>, GcpError> {
        self.core
            .key(&wrapping_realm(&name.ring), &KeyId::new(name.job.as_str()))
            .map_err(GcpError::internal)
    }

    fn to_proto(&self, name: &ImportJobName, job: &ImportJob) -> Result<kms::ImportJob, GcpError> {
        let key = self.wrapping_key(name)?;
        let version = key.primary().map_err(GcpError::internal)?;
        let expires = job.created.checked_add(LIFETIME).unwrap_or(Timestamp::MAX);
        let state = match version.state {
            _ if expires <= self.core.now() => ImportJobState::Expired,
            VersionState::Pending => ImportJobState::PendingGeneration,
            _ => ImportJobState::Active,
        };
        let public = match state {
            ImportJobState::Active => {
                let public = version.public_key().map_err(GcpError::internal)?;
                let der = public
                    .der()
                    .ok_or_else(|| GcpError::internal("a wrapping key that is not RSA's"))?;
                Some(WrappingPublicKey {
                    pem: wire::pem("PUBLIC KEY", der),
                    ..WrappingPublicKey::default()
                })
            }
            _ => None,
        };
        Ok(kms::ImportJob {
            name: name.to_string(),
            import_method: job.method.into(),
            protection_level: job.level.into(),
            create_time: Some(wire::to_proto_timestamp(job.created)),
            generate_time: (version.state != VersionState::Pending)
                .then(|| wire::to_proto_timestamp(job.created)),
            expire_time: Some(wire::to_proto_timestamp(expires)),
            expire_event_time: (state == ImportJobState::Expired)
                .then(|| wire::to_proto_timestamp(expires)),
            state: state.into(),
            public_key: public,
            ..kms::ImportJob::default()
        })
    }
}

pub(crate) fn create(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::CreateImportJobRequest,
) -> Result<kms::ImportJob, GcpError> {
    let ring = rings::parse_ring(&request.parent)?;
    if !is_id(&request.import_job_id) {
        return Err(rings::invalid_id("import_job_id", &request.import_job_id));
    }
    let requested = request
        .import_job
        .ok_or_else(|| GcpError::bad_field("import_job", "The ImportJob is required."))?;
    let method = ImportMethod::try_from(requested.import_method).ok();
    let (method, (bits, ..)) = method
        .and_then(|method| Some((method, unwrapping(method)?)))
        .ok_or_else(|| {
            GcpError::bad_field(
                "import_job.import_method",
                "The import_method is required, and must be a known one.",
            )
        })?;
    let level = match ProtectionLevel::try_from(requested.protection_level) {
        Ok(level @ (ProtectionLevel::Software | ProtectionLevel::Hsm)) => level,
        _ => {
            return Err(GcpError::bad_field(
                "import_job.protection_level",
                "The protection_level is required, and must be SOFTWARE or HSM.",
            ));
        }
    };
    gcp.allow(caller, "cloudkms.importJobs.create", &request.parent)?;
    gcp.ring(&ring)?;
    let name = ImportJobName {
        ring,
        job: request.import_job_id,
    };
    let job = ImportJob {
        method,
        level,
        created: gcp.core.now(),
    };
    let algorithm = Algorithm::Rsa { bits };
    let new = NewKey {
        id: KeyId::new(name.job.as_str()),
        algorithm,
        first: Some(NewVersion {
            pending: true,
            ..NewVersion::new(algorithm)
        }),
        purpose: Purpose::EncryptDecrypt,
        data: KeyData::default(),
    };
    let key = gcp
        .core
        .create(&wrapping_realm(&name.ring), new)
        .map_err(|error| match error {
            KeyError::AlreadyExists { .. } => GcpError::already_exists("ImportJob", &name),
            error => GcpError::internal(error),
        })?;
    gcp.put_job(&name, job.clone());
    gcp.finish_pending(&key);
    gcp.to_proto(&name, &job)
}

pub(crate) fn get(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::GetImportJobRequest,
) -> Result<kms::ImportJob, GcpError> {
    let name = name(&request.name)?;
    gcp.allow(caller, "cloudkms.importJobs.get", &request.name)?;
    gcp.to_proto(&name, &gcp.job(&name)?)
}

pub(crate) fn list(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::ListImportJobsRequest,
) -> Result<kms::ListImportJobsResponse, GcpError> {
    let ring = rings::parse_ring(&request.parent)?;
    gcp.allow(caller, "cloudkms.importJobs.list", &request.parent)?;
    gcp.ring(&ring)?;
    let jobs = gcp
        .jobs
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let of_ring = jobs.iter().filter(|(name, _)| name.ring == ring);
    let page = page(
        of_ring
            .map(|(name, job)| gcp.to_proto(name, job))
            .collect::<Result<_, _>>()?,
        PageRequest {
            size: request.page_size,
            token: &request.page_token,
            filter: &request.filter,
            order_by: &request.order_by,
        },
    )?;
    Ok(kms::ListImportJobsResponse {
        import_jobs: page.items,
        next_page_token: page.next,
        total_size: page.total,
    })
}

pub(crate) fn import(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::ImportCryptoKeyVersionRequest,
) -> Result<kms::CryptoKeyVersion, GcpError> {
    let key_name = keys::parse_name(&request.parent)?;
    let job_name = name(&request.import_job)?;
    if !request.crypto_key_version.is_empty() {
        return Err(GcpError::unimplemented(
            "Importing into a version that was there before",
        ));
    }
    gcp.allow(caller, "cloudkms.cryptoKeyVersions.create", &request.parent)?;
    gcp.allow(
        caller,
        "cloudkms.importJobs.useToImport",
        &request.import_job,
    )?;
    let key = gcp.key(&key_name)?;
    let row = CryptoKeyVersionAlgorithm::try_from(request.algorithm)
        .ok()
        .and_then(algorithms::find);
    let row = row
        .filter(|row| row.purpose == key.data.purpose)
        .ok_or_else(|| {
            GcpError::bad_field(
                "algorithm",
                "The algorithm is required, and must be one of the CryptoKey's purpose.",
            )
        })?;
    let job = gcp.job(&job_name)?;
    let json = gcp.to_proto(&job_name, &job)?;
    if json.state != i32::from(ImportJobState::Active) {
        let state = ImportJobState::try_from(json.state)
            .unwrap_or_default()
            .as_str_name();
        return Err(GcpError::precondition(format!(
            "{job_name} is not active, current state is: {state}."
        )));
    }
    let wrapped = match request.wrapped_key_material {
        Some(kms::import_crypto_key_version_request::WrappedKeyMaterial::RsaAesWrappedKey(
            bytes,
        )) => bytes,
        None => request.wrapped_key,
    };
    let wrapping = gcp.wrapping_key(&job_name)?;
    let version = wrapping.primary().map_err(GcpError::internal)?;
    let (_, padding, with_aes) =
        unwrapping(job.method).ok_or_else(|| GcpError::internal("a job without a method"))?;
    let plaintext = match with_aes {
        true => version.unwrap_rsa_aes(padding, &wrapped),
        false => version.decrypt_rsa(padding, &wrapped),
    };
    let does_not_fit = |_| {
        GcpError::bad_field(
            "wrapped_key",
            "The wrapped_key does not unwrap to key material of the algorithm's kind.",
        )
    };
    let material = material(row, &plaintext.map_err(does_not_fit)?).map_err(does_not_fit)?;
    let template = VersionTemplate {
        algorithm: row.name,
        protection: job.level,
    };
    let import = Import {
        job: job_name.to_string(),
        time: gcp.core.now(),
    };
    let new = NewVersion {
        pending: false,
        primary: false,
        material: Some(material),
        data: VersionData {
            template,
            import: Some(import),
        },
        ..keys::new_version(row, template)
    };
    let key = key
        .add_version(new)
        .map_err(|error| GcpError::from_key_error(&key_name, error))?;
    versions::to_proto(gcp, &key_name, &versions::newest(&key)?)
}

fn material(row: &AlgorithmInfo, bytes: &[u8]) -> Result<ImportedMaterial, KeyError> {
    let material = match row.material {
        Algorithm::Aes { .. } => ImportedMaterial::aes(bytes),
        Algorithm::Hmac { bits } => ImportedMaterial::hmac(bits, bytes),
        algorithm => ImportedMaterial::pkcs8(algorithm, bytes),
    }?;
    if material.algorithm() == row.material {
        Ok(material)
    } else {
        Err(KeyError::BadMaterial)
    }
}
