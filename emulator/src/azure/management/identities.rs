//! User-assigned managed identities. Each is an application whose tokens the instance metadata
//! service returns.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{ArmError, ManagementResponse, Outcome, Request, body, method_not_allowed};
use crate::azure::Azure;
use crate::azure::identity::{Application, managed_identity_id};

const KIND: &str = "Microsoft.ManagedIdentity/userAssignedIdentities";

impl Azure {
    pub(super) fn managed_identity(
        &self,
        request: Request<'_>,
        group: &str,
        name: &str,
    ) -> Outcome {
        let id = managed_identity_id(group, name);
        let requested = |there: &Application| {
            there
                .managed
                .as_ref()
                .is_some_and(|managed| managed.eq_ignore_ascii_case(&id))
        };
        let there = self.identity.directory.find(requested);
        match *request.method {
            Method::GET => {
                let there = there.ok_or_else(|| ArmError::no_resource(KIND, name, group))?;
                Ok(ManagementResponse::ok(to_json(
                    &there,
                    self.tenant(),
                    &id,
                    &self.group_location(group)?,
                )))
            }
            Method::PUT => {
                let body = body(request)?;
                let location = self.group_location(group)?;
                let location = body["location"].as_str().map_or(location, str::to_owned);
                let is_new = there.is_none();
                let application = there.map_or_else(
                    || Application {
                        client_id: self.guid(),
                        object_id: self.guid(),
                        name: name.to_owned(),
                        secrets: Vec::new(),
                        certificates: Vec::new(),
                        federated: Vec::new(),
                        managed: Some(id.clone()),
                    },
                    |there| (*there).clone(),
                );
                let listed = to_json(&application, self.tenant(), &id, &location);
                self.identity.directory.add(application);
                Ok(ManagementResponse::created(listed, is_new))
            }
            Method::DELETE => {
                let Some(there) = there else {
                    return Ok(ManagementResponse::empty(StatusCode::NO_CONTENT));
                };
                self.identity.directory.remove(&there.client_id);
                Ok(ManagementResponse::empty(StatusCode::OK))
            }
            _ => method_not_allowed(request),
        }
    }
}

fn to_json(application: &Application, tenant: &str, id: &str, location: &str) -> Value {
    json!({
        "id": id,
        "name": application.name,
        "type": KIND,
        "location": location,
        "tags": {},
        "properties": {
            "tenantId": tenant,
            "principalId": application.object_id,
            "clientId": application.client_id,
            "isolationScope": "None",
        },
    })
}
