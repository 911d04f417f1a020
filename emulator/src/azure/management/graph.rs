//! Microsoft Graph: the lookups of principals that the Azure CLI makes.

use http::StatusCode;
use serde_json::{Value, json};

use super::{ArmError, ManagementResponse, Outcome, Request};
use crate::azure::Azure;
use crate::azure::identity::Application;
use crate::azure::wire::query_parameter;

impl Azure {
    /// Answers a request to `graph.microsoft.com`.
    pub(crate) fn graph(&self, request: Request<'_>) -> Outcome {
        let segments: Vec<&str> = request
            .path
            .split('/')
            .filter(|segment| !segment.is_empty())
            .collect();
        match segments[..] {
            // Applications have no signed-in user; the CLI then looks up the service principal.
            [_, "me"] => Err(ArmError::new(
                StatusCode::BAD_REQUEST,
                "BadRequest",
                "/me request is only valid with delegated authentication flow.",
            )),
            [_, "servicePrincipals"] => {
                let filter = query_parameter(request.query, "$filter").unwrap_or_default();
                // `servicePrincipalNames/any(c:c eq 'APP')`, `appId eq 'APP'`, or the caller's own
                // identity.
                let named = filter.split('\'').nth(1).unwrap_or(&request.who.client_id);
                let found = self.identity.directory.find(|there| {
                    there.client_id.eq_ignore_ascii_case(named)
                        || there.name.eq_ignore_ascii_case(named)
                });
                Ok(ManagementResponse::ok(
                    json!({ "value": found.iter().map(|found| principal(found)).collect::<Vec<_>>() }),
                ))
            }
            [_, "directoryObjects", "getByIds"] => {
                let body: Value = super::body(request)?;
                let ids: Vec<&str> = body["ids"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .collect();
                let found = ids.iter().filter_map(|id| {
                    let there = self
                        .identity
                        .directory
                        .find(|there| there.object_id.eq_ignore_ascii_case(id))?;
                    let mut listed = principal(&there);
                    listed["@odata.type"] = "#microsoft.graph.servicePrincipal".into();
                    Some(listed)
                });
                Ok(ManagementResponse::ok(
                    json!({ "value": found.collect::<Vec<_>>() }),
                ))
            }
            _ => Err(ArmError::new(
                StatusCode::NOT_FOUND,
                "ResourceNotFound",
                "Resource not found for the segment.",
            )),
        }
    }
}

fn principal(application: &Application) -> Value {
    json!({
        "id": application.object_id,
        "appId": application.client_id,
        "displayName": application.name,
        "servicePrincipalType": if application.managed.is_some() { "ManagedIdentity" } else { "Application" },
        "servicePrincipalNames": [application.client_id],
    })
}
