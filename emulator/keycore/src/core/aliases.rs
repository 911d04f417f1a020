//! Second names of keys.

use super::KeyCore;
use crate::{Alias, KeyError, KeyId, Realm};

impl KeyCore {
    /// Adds an alias.
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

    /// Points an alias at another key.
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

    /// Removes an alias; its key stays.
    pub fn delete_alias(&self, realm: &Realm, name: &str) -> Result<(), KeyError> {
        self.store.remove_alias(realm, name)
    }

    /// An alias by its name.
    pub fn alias(&self, realm: &Realm, name: &str) -> Result<Alias, KeyError> {
        let not_found = || KeyError::AliasNotFound {
            name: name.to_owned(),
        };
        let alias = self.store.alias(realm, name).ok_or_else(not_found)?;
        self.key(realm, &alias.target).map_err(|_| not_found())?;
        Ok(alias)
    }

    /// All aliases of a realm, by name.
    pub fn aliases(&self, realm: &Realm) -> Vec<Alias> {
        self.store
            .aliases(realm)
            .into_iter()
            .filter(|alias| self.key(realm, &alias.target).is_ok())
            .collect()
    }
}
