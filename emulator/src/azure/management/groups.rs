//! Resource groups, and resources by type and name.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    ArmError, ManagementResponse, Outcome, Request, SUBSCRIPTION, body, method_not_allowed,
};
use crate::azure::Azure;
use crate::azure::wire::query_parameter;

/// A resource group.
#[derive(Debug, Clone)]
pub(super) struct Group {
    name: String,
    pub(super) location: String,
    tags: Value,
}

impl Group {
    /// A group without tags.
    pub(super) fn new(name: &str, location: &str) -> Self {
        Self {
            name: name.to_owned(),
            location: location.to_owned(),
            tags: Value::Null,
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "id": format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/{}", self.name),
            "name": self.name,
            "type": "Microsoft.Resources/resourceGroups",
            "location": self.location,
            "tags": self.tags,
            "properties": { "provisioningState": "Succeeded" },
        })
    }
}

impl Azure {
    /// Creates a group or replaces the one with the same name, for seeds.
    pub(crate) fn put_group(&self, name: &str, location: &str, tags: Value) {
        let group = Group {
            tags,
            ..Group::new(name, location)
        };
        let key = name.to_ascii_lowercase();
        self.management.write().insert(key, group);
    }

    /// Name, location and tags of all groups.
    pub(crate) fn groups(&self) -> Vec<(String, String, Value)> {
        let groups = self.management.read();
        let parts = |group: &Group| {
            (
                group.name.clone(),
                group.location.clone(),
                group.tags.clone(),
            )
        };
        groups.values().map(parts).collect()
    }

    pub(super) fn group(&self, request: Request<'_>, name: &str) -> Outcome {
        let key = name.to_ascii_lowercase();
        match *request.method {
            Method::PUT => {
                let body = body(request)?;
                let location = body["location"]
                    .as_str()
                    .unwrap_or_default()
                    .replace(' ', "")
                    .to_ascii_lowercase();
                if location.is_empty() {
                    return Err(ArmError::new(
                        StatusCode::BAD_REQUEST,
                        "LocationRequired",
                        "The location property is required for this definition.",
                    ));
                }
                let mut groups = self.management.write();
                if let Some(there) = groups.get(&key).filter(|there| there.location != location) {
                    let message = format!(
                        "Invalid resource group location '{location}'. The Resource group already exists in location '{}'.",
                        there.location
                    );
                    return Err(ArmError::conflict("InvalidResourceGroupLocation", message));
                }
                let group = Group {
                    name: name.to_owned(),
                    location,
                    tags: body["tags"].clone(),
                };
                let listed = group.to_json();
                let is_new = groups.insert(key, group).is_none();
                Ok(ManagementResponse::created(listed, is_new))
            }
            Method::GET => {
                let groups = self.management.read();
                let group = groups.get(&key).ok_or_else(|| ArmError::no_group(name))?;
                Ok(ManagementResponse::ok(group.to_json()))
            }
            Method::HEAD => {
                let there = self.management.read().contains_key(&key);
                Ok(ManagementResponse::empty(if there {
                    StatusCode::NO_CONTENT
                } else {
                    StatusCode::NOT_FOUND
                }))
            }
            Method::DELETE => {
                self.management
                    .write()
                    .remove(&key)
                    .ok_or_else(|| ArmError::no_group(name))?;
                for vault in self.vaults.managed() {
                    if vault.resource_group.eq_ignore_ascii_case(name) {
                        self.delete_vault(&vault.name);
                    }
                }
                Ok(ManagementResponse::empty(StatusCode::OK))
            }
            _ => method_not_allowed(request),
        }
    }

    pub(super) fn list_groups(&self) -> Outcome {
        let listed: Vec<Value> = self
            .management
            .read()
            .values()
            .map(Group::to_json)
            .collect();
        Ok(ManagementResponse::ok(json!({ "value": listed })))
    }

    /// The location of a group; fails if it does not exist.
    pub(super) fn group_location(&self, group: &str) -> Result<String, ArmError> {
        let groups = self.management.read();
        let found = groups
            .get(&group.to_ascii_lowercase())
            .ok_or_else(|| ArmError::no_group(group))?;
        Ok(found.location.clone())
    }

    /// `$filter=resourceType eq 'Microsoft.KeyVault/vaults' and name eq 'NAME'`: how the CLI finds
    /// the group of a vault.
    pub(super) fn resources(&self, request: Request<'_>) -> Outcome {
        let filter = query_parameter(request.query, "$filter").unwrap_or_default();
        let requested = |field: &str| {
            let (_, rest) = filter.split_once(&format!("{field} eq '"))?;
            rest.split_once('\'').map(|(value, _)| value)
        };
        let kind = requested("resourceType");
        let vaults = self.vaults.managed().into_iter().filter(|vault| {
            kind.is_none_or(|kind| kind.eq_ignore_ascii_case("Microsoft.KeyVault/vaults"))
                && requested("name").is_none_or(|name| name.eq_ignore_ascii_case(&vault.name))
        });
        let listed: Vec<Value> = vaults
            .map(|vault| {
                json!({
                    "id": vault.id(),
                    "name": vault.name,
                    "type": "Microsoft.KeyVault/vaults",
                    "location": vault.location,
                })
            })
            .collect();
        Ok(ManagementResponse::ok(json!({ "value": listed })))
    }
}
