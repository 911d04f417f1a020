//! Aliases: second names of keys.

use super::KeyCore;
use crate::{Alias, KeyError, KeyId, Realm};

impl KeyCore {
    /// Creates an alias. Fails with [`KeyError::AliasExists`] when the name is in use.
    pub fn create_alias(
        &self,
        realm: &Realm,
        name: &str,
        target: &KeyId,
    ) -> Result<Alias, KeyError> {
        self.key(realm, target)?;
        let now = self.now();
        let alias = Alias {
            name: name.to_owned(),
            target: target.clone(),
            created: now,
            updated: now,
        };
        self.store.put_alias(realm, alias.clone(), false)?;
        Ok(alias)
    }

    /// Points an existing alias at another key.
    pub fn update_alias(
        &self,
        realm: &Realm,
        name: &str,
        target: &KeyId,
    ) -> Result<Alias, KeyError> {
        self.key(realm, target)?;
        let old = self.alias(realm, name)?;
        let alias = Alias {
            target: target.clone(),
            updated: self.now(),
            ..old
        };
        self.store.put_alias(realm, alias.clone(), true)?;
        Ok(alias)
    }

    /// Deletes an alias; the key stays.
    pub fn delete_alias(&self, realm: &Realm, name: &str) -> Result<(), KeyError> {
        self.store.remove_alias(realm, name)
    }

    /// Looks up an alias. An alias whose key is gone is not found.
    pub fn alias(&self, realm: &Realm, name: &str) -> Result<Alias, KeyError> {
        let not_found = || KeyError::AliasNotFound {
            name: name.to_owned(),
        };
        let alias = self.store.alias(realm, name).ok_or_else(not_found)?;
        self.key(realm, &alias.target).map_err(|_| not_found())?;
        Ok(alias)
    }

    /// Lists the aliases of a realm, ordered by name.
    pub fn aliases(&self, realm: &Realm) -> Vec<Alias> {
        self.store
            .aliases(realm)
            .into_iter()
            .filter(|alias| self.key(realm, &alias.target).is_ok())
            .collect()
    }
}
