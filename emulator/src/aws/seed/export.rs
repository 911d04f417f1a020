//! Writes keys and aliases as a seed file has them.

use kmslab_keycore::{Alias, Cause, KeyError, KeyState, Trigger};

use super::{SeedAlias, SeedCredential, SeedKey, SeedKeyState, SeedKeyVersion, SeedRotationType};
use crate::aws::auth::Credentials;
use crate::aws::data::KeyRef;
use crate::aws::{Aws, names};
use crate::seed::material::SeedMaterial;

/// All access keys, by their ids.
pub(crate) fn credentials(known: &Credentials) -> Vec<SeedCredential> {
    let seeded = known.iter().map(|(id, credential)| SeedCredential {
        id: id.to_owned(),
        secret: credential.secret.to_string(),
        account: credential.account.clone(),
        session_token: credential.session_token.as_deref().cloned(),
    });
    seeded.collect()
}

/// All keys, by account and Region, oldest first. Without `with_material`, the versions have none.
pub(crate) fn keys(aws: &Aws, with_material: bool) -> Result<Vec<SeedKey>, KeyError> {
    let mut realms = aws.core.realms();
    realms.sort();
    let mut all = Vec::new();
    for realm in realms {
        let Some((account, region)) = names::account_and_region(&realm) else {
            continue;
        };
        let aliases = aws.core.aliases(&realm);
        for key in aws.core.keys(&realm) {
            all.push(SeedKey {
                account: account.to_owned(),
                region: region.to_owned(),
                aliases: aliases
                    .iter()
                    .filter(|alias| alias.target == key.id)
                    .map(SeedAlias::from)
                    .collect(),
                ..SeedKey::of(&key, with_material)?
            });
        }
    }
    Ok(all)
}

impl SeedKey {
    fn of(key: &KeyRef<'_>, with_material: bool) -> Result<Self, KeyError> {
        let plain = key.export(with_material)?;
        let (state, deletion_date) = match plain.state {
            KeyState::Enabled => (None, None),
            KeyState::Disabled => (Some(SeedKeyState::Disabled), None),
            KeyState::PendingDeletion { at } => (Some(SeedKeyState::PendingDeletion), Some(at)),
        };
        let rotation_period_in_days = match plain.rotation.trigger {
            Some(Trigger::Every(period)) => period.as_days(),
            _ => None,
        };
        let versions = plain.versions.iter().map(|version| SeedKeyVersion {
            id: Some(version.id.to_string()),
            created: Some(version.created),
            rotation: match version.cause {
                Cause::Created => None,
                Cause::Automatic => Some(SeedRotationType::Automatic),
                Cause::OnDemand => Some(SeedRotationType::OnDemand),
            },
            material: version.material.as_ref().map(SeedMaterial::of),
        });
        let data = plain.data;
        Ok(Self {
            id: Some(plain.id.to_string()),
            description: Some(data.description).filter(|text| !text.is_empty()),
            policy: data.policy,
            tags: data.tags,
            state,
            deletion_date,
            created: Some(plain.created),
            rotation_period_in_days,
            next_rotation: rotation_period_in_days.and(plain.rotation.next),
            on_demand_rotations: Some(plain.rotation.on_demand_used),
            versions: versions.collect(),
            ..Self::default()
        })
    }
}

impl From<&Alias> for SeedAlias {
    fn from(alias: &Alias) -> Self {
        Self {
            name: alias.name.clone(),
            created: Some(alias.created),
            updated: Some(alias.updated),
        }
    }
}
