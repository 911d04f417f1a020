//! What the audit trail records of Key Vault.

use kmslab_emulator_api::KeyUse;
use kmslab_keycore::VersionUse;

use super::operation::Call;
use super::vaults::Vault;
use super::{Azure, names};

impl Azure {
    /// The key of a call; see [`crate::pipeline::Call::keys`].
    pub(super) fn audited_keys(
        &self,
        vault: &Vault,
        call: &Call,
        uses: &[VersionUse],
    ) -> Vec<KeyUse> {
        let Some(name) = &call.key else {
            return Vec::new();
        };
        let key = self.core.key(&names::realm(&vault.name), &name.id());
        let key = match key {
            Ok(key) => names::key_url(&vault.name, &key),
            Err(_) => names::key_url_of(&vault.name, name),
        };
        if uses.is_empty() {
            let version = call.version.as_deref().map(str::to_ascii_lowercase);
            return vec![KeyUse { key, version }];
        }
        let used = |used: &VersionUse| KeyUse {
            key: key.clone(),
            version: Some(names::version_name(&used.version)),
        };
        uses.iter().map(used).collect()
    }
}
