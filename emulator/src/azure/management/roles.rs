//! Role definitions and assignments on a key, a vault, a resource group or the subscription.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Answer, ArmError, Outcome, Request, SUBSCRIPTION, body, method_not_allowed};
use crate::azure::Azure;
use crate::azure::vaults::Role;
use crate::azure::wire::query;

/// A role of a principal on a scope and everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// A GUID chosen by the caller.
    name: String,
    /// A resource id in lower case.
    scope: String,
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

    fn shown(&self) -> Value {
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
        let filter = query(request.query, "$filter").unwrap_or_default();
        let wanted = filter
            .split_once("roleName eq '")
            .and_then(|(_, rest)| rest.split_once('\''));
        let shown: Vec<Value> = Role::all()
            .filter(|role| wanted.is_none_or(|(name, _)| name.eq_ignore_ascii_case(role.name())))
            .map(|role| {
                json!({
                    "id": definition_id(role),
                    "name": role.id(),
                    "type": "Microsoft.Authorization/roleDefinitions",
                    "properties": { "roleName": role.name(), "type": "BuiltInRole", "assignableScopes": ["/"] },
                })
            })
            .collect();
        Ok(Answer::ok(json!({ "value": shown })))
    }

    pub(super) fn assignment(&self, request: Request<'_>) -> Outcome {
        let (scope, name) = split(request.path)?;
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
                let made = Assignment {
                    name,
                    scope,
                    object_id,
                    role,
                };
                let shown = made.shown();
                if !self.vaults.assign(made) {
                    return Err(ArmError::conflict(
                        "RoleAssignmentExists",
                        "The role assignment already exists.",
                    ));
                }
                Ok(Answer::made(shown, true))
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
                Ok(Answer::ok(found.shown()))
            }
            Method::DELETE => {
                let gone = self.vaults.unassign(&name);
                Ok(gone.map_or_else(
                    || Answer::empty(StatusCode::NO_CONTENT),
                    |gone| Answer::ok(gone.shown()),
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
        let shown: Vec<Value> = self
            .vaults
            .assignments()
            .iter()
            .filter(|there| there.holds_for(scope))
            .map(Assignment::shown)
            .collect();
        Ok(Answer::ok(json!({ "value": shown })))
    }
}

impl Assignment {
    /// Reports whether two assignments grant the same, whatever their names.
    pub(crate) fn is_the_same_as(&self, other: &Self) -> bool {
        (&self.scope, &self.object_id, self.role) == (&other.scope, &other.object_id, other.role)
    }

    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// Splits `SCOPE/providers/Microsoft.Authorization/roleAssignments/NAME`.
fn split(path: &str) -> Result<(String, String), ArmError> {
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
