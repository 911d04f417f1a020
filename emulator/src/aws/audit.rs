//! What the audit trail records of AWS KMS.

use kmslab_emulator_api::KeyUse;
use kmslab_keycore::VersionUse;
use serde_json::Value;

use super::wire::Input;
use super::{Aws, Caller, names};

impl Aws {
    /// The keys of a call; see [`crate::pipeline::Call::keys`].
    pub(super) fn audited_keys(
        &self,
        caller: &Caller,
        input: &Input,
        uses: &[VersionUse],
        output: Option<&Value>,
    ) -> Vec<KeyUse> {
        if !uses.is_empty() {
            return uses.iter().filter_map(key_use).collect();
        }
        let created = output.and_then(|output| output["KeyMetadata"]["Arn"].as_str());
        let named = || self.used_key(caller, input).map(|used| used.key.arn);
        let key = created.map(str::to_owned).or_else(named);
        let named = |key| KeyUse { key, version: None };
        key.map(named).into_iter().collect()
    }
}

fn key_use(used: &VersionUse) -> Option<KeyUse> {
    let (account, region) = names::account_and_region(&used.realm)?;
    Some(KeyUse {
        key: names::key_arn(account, region, used.key.as_str()),
        version: Some(used.version.to_string()),
    })
}
