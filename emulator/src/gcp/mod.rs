//! Google Cloud KMS over the key core, for gRPC and REST alike.
//!
//! Each key ring is a realm. `auth` verifies tokens before an operation is called; IAM policies
//! on projects, key rings and keys decide what a caller may do.

mod admin;
mod algorithms;
mod asymmetric;
mod attestation;
mod audit;
pub(crate) mod audit_export;
mod auth;
mod blob;
pub(crate) mod catalog;
mod crypto;
mod data;
mod error;
mod faults;
mod iam;
pub(crate) mod identity;
mod import_jobs;
mod keys;
pub(crate) mod names;
mod page;
mod raw;
mod retired;
mod rings;
mod roles;
pub(crate) mod route;
pub(crate) mod seed;
pub(crate) mod service;
mod transcode;
mod versions;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use kmslab_emulator_api::{KeyRow, VersionRow};
use kmslab_keycore::{Clock, Entropy, VersionState};

pub(crate) use error::GcpError;

use crate::Auth;
use attestation::Hsm;
use data::{Key, KeyCore, KeyRef, VersionRef};
use iam::Policies;
use identity::Identity;
use import_jobs::ImportJob;
use names::{ImportJobName, KeyName, RingName, VersionName};
use retired::Retired;

/// The Google Cloud KMS front end.
pub(crate) struct Gcp {
    pub(crate) core: Arc<KeyCore>,
    /// Key rings with their creation times. They cannot be deleted.
    rings: RwLock<BTreeMap<RingName, Timestamp>>,
    jobs: RwLock<BTreeMap<ImportJobName, ImportJob>>,
    pub(crate) retired: Retired,
    hsm: Hsm,
    pub(crate) policies: Policies,
    pub(crate) identity: Identity,
    auth: Auth,
}

impl fmt::Debug for Gcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gcp")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Gcp {
    pub(crate) fn new(
        core: Arc<KeyCore>,
        wall: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        auth: Auth,
    ) -> Self {
        let gcp = Self {
            core,
            rings: RwLock::default(),
            jobs: RwLock::default(),
            retired: Retired::default(),
            hsm: Hsm::default(),
            policies: Policies::default(),
            identity: Identity::new(wall, entropy, auth),
            auth,
        };
        gcp.reset();
        gcp
    }

    /// Restores the initial state: the well-known account with all permissions. The core removes
    /// the keys.
    pub(crate) fn reset(&self) {
        self.rings
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.jobs
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.retired.clear();
        self.policies.reset();
        self.identity.reset();
    }

    /// Removes the well-known account and its permissions.
    pub(crate) fn clear(&self) {
        self.policies.clear();
        self.identity.accounts.clear();
    }

    fn all_rings(&self) -> Vec<(RingName, Timestamp)> {
        let rings = self.rings.read().unwrap_or_else(PoisonError::into_inner);
        rings
            .iter()
            .map(|(name, created)| (name.clone(), *created))
            .collect()
    }

    /// Returns the creation time of a key ring.
    fn ring(&self, name: &RingName) -> Result<Timestamp, GcpError> {
        let rings = self.rings.read().unwrap_or_else(PoisonError::into_inner);
        rings
            .get(name)
            .copied()
            .ok_or_else(|| GcpError::not_found("KeyRing", name))
    }

    pub(crate) fn add_ring(&self, name: &RingName) -> Result<Timestamp, GcpError> {
        let now = self.core.now();
        self.put_ring(name, now)?;
        Ok(now)
    }

    /// Creates a key ring that was created at `created`.
    fn put_ring(&self, name: &RingName, created: Timestamp) -> Result<(), GcpError> {
        let mut rings = self.rings.write().unwrap_or_else(PoisonError::into_inner);
        if rings.contains_key(name) {
            return Err(GcpError::already_exists("KeyRing", name));
        }
        rings.insert(name.clone(), created);
        Ok(())
    }

    fn key(&self, name: &KeyName) -> Result<KeyRef<'_>, GcpError> {
        self.core
            .key(&name.ring.realm(), &name.id())
            .map_err(|error| GcpError::from_key_error(name, error))
    }

    fn version(&self, name: &VersionName) -> Result<VersionRef<'_>, GcpError> {
        version_of(&self.key(&name.key)?, name)
    }

    /// Generates the material of pending versions in the background.
    fn finish_pending(&self, key: &KeyRef<'_>) {
        for version in key
            .versions
            .iter()
            .filter(|version| version.state == VersionState::Pending)
        {
            let core = Arc::clone(&self.core);
            let (realm, id, version) = (key.realm.clone(), key.id.clone(), version.id);
            tokio::task::spawn_blocking(move || {
                let finished = core
                    .key(&realm, &id)
                    .and_then(|key| key.version(&version)?.finish());
                if let Err(error) = finished {
                    tracing::warn!(%error, key = %id, "a version could not be made");
                }
            });
        }
    }

    /// Lists all keys with their versions, without key material.
    pub(crate) fn key_table(&self) -> Vec<KeyRow> {
        let realms = self.core.realms();
        realms
            .iter()
            .flat_map(|realm| self.core.keys(realm))
            .filter_map(|key| key_row(&key))
            .collect()
    }
}

/// Returns a version of a key by its name.
fn version_of<'a>(key: &KeyRef<'a>, name: &VersionName) -> Result<VersionRef<'a>, GcpError> {
    key.version_where(|version| version.number == name.number)
        .map_err(|error| GcpError::from_version_error(name, error))
}

fn key_row(key: &Key) -> Option<KeyRow> {
    let name = KeyName::of(key)?;
    let versions = key.versions.iter().map(|version| VersionRow {
        number: version.number,
        id: version.number.to_string(),
        blob_id: Some(hex::encode(blob::blob_id(&version.id))),
        created: Some(version.created),
    });
    let primary = key.primary_version().ok();
    Some(KeyRow {
        cloud: "gcp".to_owned(),
        key: name.to_string(),
        state: primary
            .map_or("", |version| wire::state_name(version.state))
            .to_owned(),
        primary: primary.map_or(0, |version| version.number),
        versions: versions.collect(),
    })
}
