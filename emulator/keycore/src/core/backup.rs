//! A key as bytes that only this core can read again: every version, sealed under the master key.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::KeyCore;
use crate::{Key, KeyError, KeyId, KeyState, Realm};

impl KeyCore {
    /// The whole key, sealed.
    pub fn backup(&self, realm: &Realm, id: &KeyId) -> Result<Vec<u8>, KeyError> {
        let key = self.key(realm, id)?;
        let bytes = postcard::to_allocvec(&*key).map(Zeroizing::new);
        let bytes = bytes.map_err(|_| KeyError::Internal {
            what: "a key could not be written",
        })?;
        self.master.seal_backup(self.entropy.as_ref(), &bytes)
    }

    /// Puts a key from [`KeyCore::backup`] into a realm, under the name and with the versions it
    /// had.
    pub fn restore(&self, realm: &Realm, backup: &[u8]) -> Result<Arc<Key>, KeyError> {
        let bytes = self.master.open_backup(backup)?;
        let mut key: Key = postcard::from_bytes(&bytes).map_err(|_| KeyError::BadBackup)?;
        key.realm = realm.clone();
        if let KeyState::PendingDeletion { .. } = key.state {
            key.state = KeyState::Enabled;
        }
        let id = key.id.clone();
        // A name that waits for its deletion is taken too.
        if let Ok(there) = self.key(realm, &id)
            && let KeyState::PendingDeletion { .. } = there.state
        {
            return Err(KeyError::PendingDeletion { id: id.to_string() });
        }
        self.store.insert(key)?;
        self.key(realm, &id)
    }
}
