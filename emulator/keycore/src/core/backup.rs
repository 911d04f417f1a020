//! Backup and restore: all versions of a key, encrypted under the master key of this core.

use zeroize::Zeroizing;

use super::{KeyCore, KeyRef};
use crate::{Front, Key, KeyError, KeyState, Realm};

impl<F: Front> KeyRef<'_, F> {
    /// Returns the key with all its versions, encrypted. Only this core can restore it.
    pub fn backup(&self) -> Result<Vec<u8>, KeyError> {
        let bytes = postcard::to_allocvec(&self.stored.key).map(Zeroizing::new);
        let bytes = bytes.map_err(|_| KeyError::Internal {
            what: "a key could not be written",
        })?;
        let core = self.core;
        core.master.encrypt_backup(core.entropy.as_ref(), &bytes)
    }
}

impl<F: Front> KeyCore<F> {
    /// Restores a key from [`KeyRef::backup`] into a realm, with its id and its versions. Fails
    /// with [`KeyError::AlreadyExists`] when the id is in use.
    pub fn restore(&self, realm: &Realm, backup: &[u8]) -> Result<KeyRef<'_, F>, KeyError> {
        let bytes = self.master.decrypt_backup(backup)?;
        let mut key: Key<F> = postcard::from_bytes(&bytes).map_err(|_| KeyError::BadBackup)?;
        key.realm = realm.clone();
        if let KeyState::PendingDeletion { .. } = key.state {
            key.state = KeyState::Enabled;
        }
        // The id of a key that is pending deletion is in use as well.
        if let Ok(there) = self.key(realm, &key.id)
            && let KeyState::PendingDeletion { .. } = there.state
        {
            return Err(KeyError::PendingDeletion {
                id: key.id.to_string(),
            });
        }
        let stored = self.store.insert(key)?;
        self.current(stored)
    }
}
