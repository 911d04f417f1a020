//! Role definitions and assignments on a key, a vault, a resource group or the subscription.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    ArmError, ManagementResponse, Outcome, Request, SUBSCRIPTION, body, method_not_allowed,
};
use crate::azure::Azure;
use crate::azure::vaults::Role;
use crate::azure::wire::query_parameter;

/// A role of a principal on a scope and everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// A GUID chosen by the caller.
    pub(crate) name: String,
    /// A resource id in lower case.
    pub(crate) scope: String,
    pub(crate) object_id: String,
    pub(crate) role: Role,
}

impl Assignment {
    /// Reports whether the assignment applies to a resource id.
    pub(crate) fn holds_for(&self, resource: &str) -> bool {
        let resource = resource.to_ascii_lowercase();
        resource
            .strip_prefix(&self.scope)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn to_json(&self) -> Value {
        json!({
            "id": format!("{}/providers/Microsoft.Authorization/roleAssignments/{}", self.scope, self.name),
            "name": self.name,
            "type": "Microsoft.Authorization/roleAssignments",
            "properties": {
                "roleDefinitionId": definition_id(self.role),
                "principalId": self.object_id,
                "principalType": "ServicePrincipal",
                "scope": self.scope,
            },
        })
    }
}

fn definition_id(role: Role) -> String {
    format!(
        "/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/{}",
        role.id()
    )
}

impl Azure {
    /// `$filter=roleName eq 'Key Vault Crypto User'`.
    pub(super) fn role_definitions(&self, request: Request<'_>) -> Outcome {
        let filter = query_parameter(request.query, "$filter").unwrap_or_default();
        let requested = filter
            .split_once("roleName eq '")
            .and_then(|(_, rest)| rest.split_once('\''));
        let listed: Vec<Value> = Role::all()
            .filter(|role| requested.is_none_or(|(name, _)| name.eq_ignore_ascii_case(role.name())))
            .map(|role| {
                json!({
                    "id": definition_id(role),
                    "name": role.id(),
                    "type": "Microsoft.Authorization/roleDefinitions",
                    "properties": { "roleName": role.name(), "type": "BuiltInRole", "assignableScopes": ["/"] },
                })
            })
            .collect();
        Ok(ManagementResponse::ok(json!({ "value": listed })))
    }

    pub(super) fn assignment(&self, request: Request<'_>) -> Outcome {
        let (scope, name) = split_id(request.path)?;
        match *request.method {
            Method::PUT => {
                let body = body(request)?;
                let properties = &body["properties"];
                let role = properties["roleDefinitionId"]
                    .as_str()
                    .and_then(|id| id.rsplit('/').next());
                let role = role.and_then(Role::parse).ok_or_else(|| {
                    ArmError::new(
                        StatusCode::NOT_FOUND,
                        "RoleDefinitionDoesNotExist",
                        format!(
                            "The specified role definition with ID '{}' does not exist.",
                            role.unwrap_or_default()
                        ),
                    )
                })?;
                let object_id = properties["principalId"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                if !self.identity.directory.has_principal(&object_id) {
                    return Err(ArmError::new(
                        StatusCode::BAD_REQUEST,
                        "PrincipalNotFound",
                        format!(
                            "Principal {} does not exist in the directory {}. Check that you have the correct principal ID.",
                            object_id.replace('-', ""),
                            self.identity.directory.tenant
                        ),
                    ));
                }
                let created = Assignment {
                    name,
                    scope,
                    object_id,
                    role,
                };
                let listed = created.to_json();
                if !self.vaults.add_assignment(created) {
                    return Err(ArmError::conflict(
                        "RoleAssignmentExists",
                        "The role assignment already exists.",
                    ));
                }
                Ok(ManagementResponse::created(listed, true))
            }
            Method::GET => {
                let found = self
                    .vaults
                    .assignments()
                    .into_iter()
                    .find(|there| there.name == name);
                let found = found.ok_or_else(|| {
                    let message = format!("The role assignment '{name}' is not found.");
                    ArmError::new(StatusCode::NOT_FOUND, "RoleAssignmentNotFound", message)
                })?;
                Ok(ManagementResponse::ok(found.to_json()))
            }
            Method::DELETE => {
                let gone = self.vaults.remove_assignment(&name);
                Ok(gone.map_or_else(
                    || ManagementResponse::empty(StatusCode::NO_CONTENT),
                    |gone| ManagementResponse::ok(gone.to_json()),
                ))
            }
            _ => method_not_allowed(request),
        }
    }

    pub(super) fn list_assignments(&self, request: Request<'_>) -> Outcome {
        let path = request.path.to_ascii_lowercase();
        let scope = path
            .split("/providers/microsoft.authorization")
            .next()
            .unwrap_or_default();
        let listed: Vec<Value> = self
            .vaults
            .assignments()
            .iter()
            .filter(|there| there.holds_for(scope))
            .map(Assignment::to_json)
            .collect();
        Ok(ManagementResponse::ok(json!({ "value": listed })))
    }
}

impl Assignment {
    /// Reports whether two assignments grant the same, whatever their names.
    pub(crate) fn grants_the_same_as(&self, other: &Self) -> bool {
        (&self.scope, &self.object_id, self.role) == (&other.scope, &other.object_id, other.role)
    }

    pub(crate) fn has_name(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// Splits `SCOPE/providers/Microsoft.Authorization/roleAssignments/NAME`.
fn split_id(path: &str) -> Result<(String, String), ArmError> {
    let lower = path.to_ascii_lowercase();
    let parts = lower.split_once("/providers/microsoft.authorization/roleassignments/");
    let (scope, name) = parts.ok_or_else(|| ArmError::no_such_path(path))?;
    uuid::Uuid::parse_str(name).map_err(|_| {
        let message = format!(
            "The role assignment ID '{name}' is not valid. The role assignment ID must be a GUID."
        );
        ArmError::new(StatusCode::BAD_REQUEST, "InvalidRoleAssignmentId", message)
    })?;
    Ok((scope.to_owned(), name.to_owned()))
}
