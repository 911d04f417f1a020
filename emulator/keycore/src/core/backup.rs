//! Backup and restore: all versions of a key, encrypted under the master key of this core.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::KeyCore;
use crate::{Key, KeyError, KeyId, KeyState, Realm};

impl KeyCore {
    /// Returns the key with all its versions, encrypted. Only this core can restore it.
    pub fn backup(&self, realm: &Realm, id: &KeyId) -> Result<Vec<u8>, KeyError> {
        let key = self.key(realm, id)?;
        let bytes = postcard::to_allocvec(&*key).map(Zeroizing::new);
        let bytes = bytes.map_err(|_| KeyError::Internal {
            what: "a key could not be written",
        })?;
        self.master.encrypt_backup(self.entropy.as_ref(), &bytes)
    }

    /// Restores a key from [`KeyCore::backup`] into a realm, with its id and its versions. Fails
    /// with [`KeyError::AlreadyExists`] when the id is in use.
    pub fn restore(&self, realm: &Realm, backup: &[u8]) -> Result<Arc<Key>, KeyError> {
        let bytes = self.master.decrypt_backup(backup)?;
        let mut key: Key = postcard::from_bytes(&bytes).map_err(|_| KeyError::BadBackup)?;
        key.realm = realm.clone();
        if let KeyState::PendingDeletion { .. } = key.state {
            key.state = KeyState::Enabled;
        }
        let id = key.id.clone();
        // The id of a key that is pending deletion is in use as well.
        if let Ok(there) = self.key(realm, &id)
            && let KeyState::PendingDeletion { .. } = there.state
        {
            return Err(KeyError::PendingDeletion { id: id.to_string() });
        }
        self.store.insert(key)?;
        self.key(realm, &id)
    }
}
