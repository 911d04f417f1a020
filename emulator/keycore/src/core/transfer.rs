//! Keys as a whole: written out with their material, and taken in with the ids, numbers, dates and
//! states that they come with.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::{KeyCore, KeyRef};
use crate::{
    Algorithm, Alias, Cause, Front, ImportedMaterial, Key, KeyError, KeyId, KeyState, Purpose,
    Realm, Rotation, Version, VersionId, VersionState, material,
};

/// A key with all that is stored of it, from [`KeyRef::export`] and for [`KeyCore::import`].
#[derive(Debug, Clone)]
pub struct PlainKey<F: Front> {
    /// The realm that the key is in.
    pub realm: Realm,
    /// The key's id, unique in its realm.
    pub id: KeyId,
    /// The key's only purpose.
    pub purpose: Purpose,
    /// Whether the key can be used.
    pub state: KeyState,
    /// Creation time.
    pub created: Timestamp,
    /// Algorithm of the versions that rotations make.
    pub algorithm: Algorithm,
    /// All versions, oldest first.
    pub versions: Vec<PlainVersion<F>>,
    /// Number of the newest version that the key ever had, which may be gone.
    pub last_number: u32,
    /// The version that encrypts, if there is one.
    pub primary: Option<VersionId>,
    /// Rotation policy and its state.
    pub rotation: Rotation,
    /// The front end's data.
    pub data: F::KeyData,
}

/// A version of a [`PlainKey`].
#[derive(Clone)]
pub struct PlainVersion<F: Front> {
    /// Id, unique over all keys.
    pub id: VersionId,
    /// Position in the key's history, from 1.
    pub number: u32,
    /// Whether the version can be used.
    pub state: VersionState,
    /// Creation time.
    pub created: Timestamp,
    /// Time of the last change of its data.
    pub updated: Timestamp,
    /// Why the version was created.
    pub cause: Cause,
    /// Algorithm of the material.
    pub algorithm: Algorithm,
    /// The version does not encrypt or sign before this time.
    pub not_before: Option<Timestamp>,
    /// The version does not encrypt or sign from this time on.
    pub expires: Option<Timestamp>,
    /// The front end's data.
    pub data: F::VersionData,
    /// The material. If it is absent, it is generated where the state has material.
    pub material: Option<ImportedMaterial>,
}

impl<F: Front> fmt::Debug for PlainVersion<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlainVersion")
            .field("id", &self.id)
            .field("number", &self.number)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// Why a key cannot be taken in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// Two versions of the key have the same id.
    #[error("two versions have the id {0}")]
    SameVersionId(VersionId),
    /// The numbers of the versions do not rise.
    #[error("version {0} does not have a higher number than the one before it")]
    NumbersDoNotRise(u32),
    /// The newest version's number is higher than the highest that the key ever had.
    #[error("the last number {last} is lower than that of version {newest}")]
    LastNumber {
        /// The number that the key states.
        last: u32,
        /// Number of its newest version.
        newest: u32,
    },
    /// The primary is none of the versions.
    #[error("the primary is none of the versions")]
    NoSuchPrimary,
    /// A version that is pending or destroyed comes with material.
    #[error("version {number} is {state:?} and so has no material")]
    UnexpectedMaterial {
        /// The version's number.
        number: u32,
        /// The version's state.
        state: VersionState,
    },
    /// The material does not belong to the version's algorithm, or the key's id is in use.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl<F: Front> KeyRef<'_, F> {
    /// Writes the key out. Without `with_material`, all versions are without material.
    pub fn export(&self, with_material: bool) -> Result<PlainKey<F>, KeyError> {
        let key = &self.stored.key;
        let versions = key.versions.iter().map(|version| {
            let material = match &version.material {
                Some(wrapped) if with_material => {
                    let bytes = self.core.master.unwrap(&version.id, wrapped)?;
                    Some(ImportedMaterial::from_stored(version.algorithm, bytes))
                }
                _ => None,
            };
            Ok(PlainVersion {
                id: version.id,
                number: version.number,
                state: version.state,
                created: version.created,
                updated: version.updated,
                cause: version.cause,
                algorithm: version.algorithm,
                not_before: version.not_before,
                expires: version.expires,
                data: version.data.clone(),
                material,
            })
        });
        Ok(PlainKey {
            realm: key.realm.clone(),
            id: key.id.clone(),
            purpose: key.purpose,
            state: key.state,
            created: key.created,
            algorithm: key.algorithm,
            versions: versions.collect::<Result<_, KeyError>>()?,
            last_number: key.last_number,
            primary: key.primary,
            rotation: key.rotation.clone(),
            data: key.data.clone(),
        })
    }
}

impl<F: Front> KeyCore<F> {
    /// Takes a key in as it is. What is due by its dates is applied when the key is next looked up.
    /// Fails with [`KeyError::AlreadyExists`] when its id is in use. Generating the material of RSA
    /// versions takes up to seconds each.
    pub fn import(&self, key: PlainKey<F>) -> Result<KeyRef<'_, F>, ImportError> {
        validate(&key)?;
        let versions = key
            .versions
            .into_iter()
            .map(|version| self.wrap_version(version));
        let key = Key {
            realm: key.realm,
            id: key.id,
            purpose: key.purpose,
            state: key.state,
            created: key.created,
            algorithm: key.algorithm,
            versions: versions.collect::<Result<_, KeyError>>()?,
            last_number: key.last_number,
            primary: key.primary,
            rotation: key.rotation,
            data: key.data,
        };
        Ok(self.handle(self.store.insert(key)?))
    }

    /// Takes an alias in as it is. Fails with [`KeyError::AliasExists`] when its name is in use.
    pub fn import_alias(&self, realm: &Realm, alias: Alias) -> Result<(), KeyError> {
        self.store.put_alias(realm, alias, false)
    }

    fn wrap_version(&self, version: PlainVersion<F>) -> Result<Version<F>, KeyError> {
        let material = match (version.state, &version.material) {
            (VersionState::Pending | VersionState::Destroyed, _) => None,
            (_, Some(material)) => Some(material.for_algorithm(version.algorithm)?),
            (_, None) => Some(material::generate(
                version.algorithm,
                self.entropy.as_ref(),
            )?),
        };
        let wrap = |bytes: &[u8]| self.master.wrap(self.entropy.as_ref(), &version.id, bytes);
        Ok(Version {
            id: version.id,
            number: version.number,
            state: version.state,
            created: version.created,
            updated: version.updated,
            cause: version.cause,
            algorithm: version.algorithm,
            not_before: version.not_before,
            expires: version.expires,
            material: material
                .map(|bytes| wrap(&bytes))
                .transpose()?
                .map(Arc::new),
            data: version.data,
        })
    }
}

fn validate<F: Front>(key: &PlainKey<F>) -> Result<(), ImportError> {
    let (mut ids, mut newest) = (HashSet::new(), 0);
    for version in &key.versions {
        if version.number <= newest {
            return Err(ImportError::NumbersDoNotRise(version.number));
        }
        if !ids.insert(version.id) {
            return Err(ImportError::SameVersionId(version.id));
        }
        newest = version.number;
        if version.material.is_some()
            && matches!(
                version.state,
                VersionState::Pending | VersionState::Destroyed
            )
        {
            return Err(ImportError::UnexpectedMaterial {
                number: version.number,
                state: version.state,
            });
        }
    }
    if key.last_number < newest {
        return Err(ImportError::LastNumber {
            last: key.last_number,
            newest,
        });
    }
    match key.primary {
        Some(primary) if !ids.contains(&primary) => Err(ImportError::NoSuchPrimary),
        _ => Ok(()),
    }
}
