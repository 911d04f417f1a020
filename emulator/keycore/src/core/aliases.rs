//! Aliases: second names of keys.

use super::{KeyCore, KeyRef};
use crate::{Alias, Front, KeyError, Realm};

impl<F: Front> KeyRef<'_, F> {
    /// Creates an alias of the key. Fails with [`KeyError::AliasExists`] when the name is in use.
    pub fn create_alias(&self, name: &str) -> Result<Alias, KeyError> {
        let now = self.core.now();
        self.put_alias(
            Alias {
                name: name.to_owned(),
                target: self.id.clone(),
                created: now,
                updated: now,
            },
            false,
        )
    }

    /// Points an existing alias at the key.
    pub fn update_alias(&self, name: &str) -> Result<Alias, KeyError> {
        let old = self.core.alias(&self.realm, name)?;
        self.put_alias(
            Alias {
                target: self.id.clone(),
                updated: self.core.now(),
                ..old
            },
            true,
        )
    }

    fn put_alias(&self, alias: Alias, replace: bool) -> Result<Alias, KeyError> {
        self.core
            .store
            .put_alias(&self.realm, alias.clone(), replace)?;
        Ok(alias)
    }
}

impl<F: Front> KeyCore<F> {
    /// Looks up the key of an alias. An alias whose key is gone is not found.
    pub fn key_by_alias(&self, realm: &Realm, name: &str) -> Result<KeyRef<'_, F>, KeyError> {
        let not_found = |_| KeyError::AliasNotFound {
            name: name.to_owned(),
        };
        let alias = self.alias(realm, name)?;
        self.key(realm, &alias.target).map_err(not_found)
    }

    /// Deletes an alias; the key stays.
    pub fn delete_alias(&self, realm: &Realm, name: &str) -> Result<(), KeyError> {
        self.store.remove_alias(realm, name)
    }

    /// Looks up an alias. Its key may be gone.
    fn alias(&self, realm: &Realm, name: &str) -> Result<Alias, KeyError> {
        let not_found = || KeyError::AliasNotFound {
            name: name.to_owned(),
        };
        self.store.alias(realm, name).ok_or_else(not_found)
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
