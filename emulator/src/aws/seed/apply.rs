//! Creates the keys of a seed file, with the checks of the operations that create keys.

use std::collections::HashSet;

use jiff::Timestamp;
use kmslab_keycore::{
    Algorithm, Alias, Cause, KeyId, KeyState, Period, PlainKey, PlainVersion, Purpose, Rotation,
    Trigger, VersionId, VersionState,
};
use serde_json::{Value, json};

use super::{SeedKey, SeedKeyState, SeedKeyVersion, SeedRotationType};
use crate::aws::data::AwsFront;
use crate::aws::wire::Input;
use crate::aws::{Aws, AwsError, Caller, Operation, aliases, keys, names, rotation};
use crate::seed::error::SeedError;
use crate::seed::material::SeedMaterial;
use crate::seed::version_id::version_id;

/// Creates the keys of a seed file and their aliases.
pub(crate) fn apply(given: &[SeedKey], aws: &Aws) -> Result<(), SeedError> {
    let mut versions = HashSet::new();
    for (index, key) in given.iter().enumerate() {
        key.apply(aws, &format!("keys[{index}]"), &mut versions)?;
    }
    Ok(())
}

impl SeedKey {
    /// Creates the key and its aliases. `path` is the key's place in the file, `others` are the ids
    /// of all versions before it.
    fn apply(
        &self,
        aws: &Aws,
        path: &str,
        others: &mut HashSet<VersionId>,
    ) -> Result<(), SeedError> {
        let caller = Caller {
            account: self.account.clone(),
            region: self.region.clone(),
            access_key_id: "seed".to_owned(),
        };
        let is_account =
            self.account.len() == 12 && self.account.bytes().all(|b| b.is_ascii_digit());
        if !is_account {
            let reason = format!("{} is not an account id of 12 digits", self.account);
            return Err(SeedError::invalid(&format!("{path}.account"), reason));
        }
        let key = self.plain(aws, &caller, path)?;
        let (realm, id) = (key.realm.clone(), key.id.clone());
        let versions: Vec<_> = key.versions.iter().map(|version| version.id).collect();
        aws.core.import(key).map_err(|error| {
            SeedError::invalid(path, format!("the key cannot be created: {error}"))
        })?;
        // Ciphertexts name the version only.
        if let Some(version) = versions
            .into_iter()
            .find(|version| !others.insert(*version))
        {
            let reason = format!("another key has a version with the id {version}");
            return Err(SeedError::invalid(path, reason));
        }
        let now = aws.core.now();
        for (index, alias) in self.aliases.iter().enumerate() {
            let created = alias.created.unwrap_or(now);
            self.accept_alias(&alias.name, path)?;
            let imported = Alias {
                name: alias.name.clone(),
                target: id.clone(),
                created,
                updated: alias.updated.unwrap_or(created),
            };
            aws.core.import_alias(&realm, imported).map_err(|error| {
                SeedError::invalid(&format!("{path}.aliases[{index}]"), error.to_string())
            })?;
        }
        Ok(())
    }

    /// Fails where CreateAlias would.
    fn accept_alias(&self, name: &str, path: &str) -> Result<(), SeedError> {
        let accepted = input("CreateAlias", &json!({ "AliasName": name }))
            .and_then(|input| aliases::alias_name(&input).map(drop));
        accepted.map_err(|error| self.refused(path, "CreateAlias", error))
    }

    fn refused(&self, path: &str, operation: &'static str, error: AwsError) -> SeedError {
        let named = self.aliases.first().map(|alias| alias.name.clone());
        SeedError::Refused {
            path: path.to_owned(),
            what: named
                .or_else(|| self.description.clone())
                .unwrap_or_else(|| "no alias".to_owned()),
            operation,
            code: error.kind,
            message: error.message.unwrap_or_default(),
        }
    }

    /// The key as the core takes it in.
    fn plain(
        &self,
        aws: &Aws,
        caller: &Caller,
        path: &str,
    ) -> Result<PlainKey<AwsFront>, SeedError> {
        let request = self.create_request();
        let mut new = input("CreateKey", &request)
            .and_then(|input| keys::new_key(aws, &input))
            .map_err(|error| self.refused(path, "CreateKey", error))?;
        if let Some(id) = &self.id {
            if !names::is_key_id(id) {
                return Err(SeedError::invalid(
                    &format!("{path}.id"),
                    format!("{id} is not a key id: a lower-case UUID, or mrk- and 32 hex digits"),
                ));
            }
            new.id = KeyId::new(id.as_str());
            let is_multi_region = names::is_multi_region(&new.id);
            if self
                .multi_region
                .is_some_and(|given| given != is_multi_region)
            {
                return Err(SeedError::invalid(
                    &format!("{path}.multiRegion"),
                    "ids of multi-Region keys, and only they, start with mrk-".to_owned(),
                ));
            }
        }
        let created = self.created.unwrap_or_else(|| aws.core.now());
        let versions = self.plain_versions(aws, caller, &new.id, created, path)?;
        let on_demand = versions
            .iter()
            .filter(|version| version.cause == Cause::OnDemand);
        let on_demand = u32::try_from(on_demand.count()).unwrap_or(u32::MAX);
        Ok(PlainKey {
            realm: names::realm(&caller.account, &caller.region),
            id: new.id,
            purpose: Purpose::EncryptDecrypt,
            state: self.key_state(path)?,
            created,
            algorithm: Algorithm::AES_256,
            last_number: versions.last().map_or(0, |version| version.number),
            primary: versions.last().map(|version| version.id),
            versions,
            rotation: self.rotation(aws, on_demand, path)?,
            data: new.data,
        })
    }

    /// The request of CreateKey that makes such a key.
    fn create_request(&self) -> Value {
        let tags: Vec<Value> = self
            .tags
            .iter()
            .map(|(key, value)| json!({ "TagKey": key, "TagValue": value }))
            .collect();
        let multi_region = self.multi_region.or_else(|| {
            let id = self.id.as_deref()?;
            Some(names::is_multi_region(&KeyId::new(id)))
        });
        let fields = [
            ("Description", self.description.clone().map(Value::from)),
            ("KeySpec", self.key_spec.clone().map(Value::from)),
            ("KeyUsage", self.key_usage.clone().map(Value::from)),
            ("MultiRegion", multi_region.map(Value::from)),
            ("Policy", self.policy.clone().map(Value::from)),
            ("Tags", (!tags.is_empty()).then_some(Value::from(tags))),
        ];
        fields
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }

    fn key_state(&self, path: &str) -> Result<KeyState, SeedError> {
        match (self.state, self.deletion_date) {
            (Some(SeedKeyState::PendingDeletion), Some(at)) => Ok(KeyState::PendingDeletion { at }),
            (Some(SeedKeyState::PendingDeletion), None) => Err(SeedError::invalid(
                &format!("{path}.state"),
                "a key that is PendingDeletion needs a deletionDate".to_owned(),
            )),
            (_, Some(_)) => Err(SeedError::invalid(
                &format!("{path}.deletionDate"),
                "only a key whose state is PendingDeletion has a deletionDate".to_owned(),
            )),
            (Some(SeedKeyState::Disabled), None) => Ok(KeyState::Disabled),
            (Some(SeedKeyState::Enabled) | None, None) => Ok(KeyState::Enabled),
        }
    }

    fn rotation(&self, aws: &Aws, on_demand: u32, path: &str) -> Result<Rotation, SeedError> {
        let mut planned = Rotation {
            on_demand_used: self.on_demand_rotations.unwrap_or(on_demand),
            ..Rotation::default()
        };
        let Some(days) = self.rotation_period_in_days else {
            return match self.next_rotation {
                Some(_) => Err(SeedError::invalid(
                    &format!("{path}.nextRotation"),
                    "a nextRotation needs a rotationPeriodInDays".to_owned(),
                )),
                None => Ok(planned),
            };
        };
        let request = json!({ "KeyId": "", "RotationPeriodInDays": days });
        input("EnableKeyRotation", &request)
            .and_then(|input| rotation::period_input(&input))
            .map_err(|error| self.refused(path, "EnableKeyRotation", error))?;
        let period = Period::days(days);
        planned.trigger = Some(Trigger::Every(period));
        planned.next = self.next_rotation.or_else(|| period.after(aws.core.now()));
        Ok(planned)
    }

    fn plain_versions(
        &self,
        aws: &Aws,
        caller: &Caller,
        id: &KeyId,
        created: Timestamp,
        path: &str,
    ) -> Result<Vec<PlainVersion<AwsFront>>, SeedError> {
        let only = [SeedKeyVersion {
            material: self.material.clone(),
            ..SeedKeyVersion::default()
        }];
        let given = match self.versions.as_slice() {
            [] => &only[..],
            _ if self.material.is_some() => {
                return Err(SeedError::invalid(
                    &format!("{path}.material"),
                    "a key with versions has its material there".to_owned(),
                ));
            }
            versions => versions,
        };
        let arn = names::key_arn(&caller.account, &caller.region, id.as_str());
        let versions = given.iter().zip(1..).map(|(version, number)| {
            let path = match self.versions.is_empty() {
                true => path.to_owned(),
                false => format!("{path}.versions[{}]", number - 1),
            };
            let name = format!("{arn}/{number}");
            let id = match &version.id {
                Some(id) => id.parse().map_err(|_| {
                    let reason = format!("{id} is not a KeyMaterialId of 64 lower-case hex digits");
                    SeedError::invalid(&format!("{path}.id"), reason)
                })?,
                None if self.id.is_some() => version_id(&name),
                None => VersionId::random(aws.entropy.as_ref()),
            };
            let material = version.material.as_ref().map(|material| {
                if matches!(material, SeedMaterial::FromSeed(_)) && self.id.is_none() {
                    return Err("depends on the key's id, so the key needs one".to_owned());
                }
                material.load(Algorithm::AES_256, &name)
            });
            let material = material.transpose().map_err(|reason| {
                SeedError::invalid(
                    &format!("{path}.material"),
                    format!("the material {reason}"),
                )
            })?;
            let at = version.created.unwrap_or(created);
            Ok(PlainVersion {
                id,
                number,
                state: VersionState::Enabled,
                created: at,
                updated: at,
                cause: match version.rotation {
                    Some(SeedRotationType::Automatic) => Cause::Automatic,
                    Some(SeedRotationType::OnDemand) => Cause::OnDemand,
                    None if number == 1 => Cause::Created,
                    None => Cause::OnDemand,
                },
                algorithm: Algorithm::AES_256,
                not_before: None,
                expires: None,
                data: (),
                material,
            })
        });
        versions.collect()
    }
}

/// The input of an operation, which is in the table of operations.
fn input(operation: &'static str, request: &Value) -> Result<Input, AwsError> {
    let operation = Operation::find(operation).ok_or_else(AwsError::unknown_operation)?;
    Input::parse(operation, request.to_string().as_bytes())
}
