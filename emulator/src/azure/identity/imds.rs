//! The instance metadata service: tokens of managed identities for every caller that can reach it.

use http::StatusCode;
use serde_json::json;

use super::{Application, Identity, IdentityResponse, Request, failed, ok};

impl Identity {
    /// `GET /metadata/identity/oauth2/token`.
    pub(super) fn imds(&self, request: Request<'_>) -> IdentityResponse {
        let query: Vec<(String, String)> = form_urlencoded::parse(request.query.as_bytes())
            .into_owned()
            .collect();
        let field = |name: &str| {
            query
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.as_str())
        };
        if !request.metadata {
            return error("Required metadata header not specified");
        }
        if field("api-version").is_none_or(str::is_empty) {
            return error("Required query variable 'api-version' is missing");
        }
        let Some(resource) = field("resource").filter(|resource| !resource.is_empty()) else {
            return error("Required audience parameter not specified");
        };
        let Ok(known) = self.resource(resource) else {
            let body = json!({
                "error": "invalid_resource",
                "error_description": format!(
                    "AADSTS500011: The resource principal named {resource} was not found in the tenant named {}.",
                    self.directory.tenant
                ),
            });
            return failed(StatusCode::BAD_REQUEST, "AADSTS500011", body);
        };
        let requested = |there: &Application| {
            let Some(id) = &there.managed else {
                return false;
            };
            field("client_id")
                .is_none_or(|requested| there.client_id.eq_ignore_ascii_case(requested))
                && field("object_id")
                    .is_none_or(|requested| there.object_id.eq_ignore_ascii_case(requested))
                && field("msi_res_id")
                    .or(field("mi_res_id"))
                    .is_none_or(|requested| id.eq_ignore_ascii_case(requested))
        };
        let Some(application) = self.directory.find(requested) else {
            return error("Identity not found");
        };
        let (now, lifetime) = (self.now().as_second(), self.tokens.lifetime().as_secs());
        let body = json!({
            "access_token": self.issue_for(&application, known, 2),
            "client_id": application.client_id,
            "expires_in": lifetime.to_string(),
            "expires_on": (now + lifetime).to_string(),
            "ext_expires_in": lifetime.to_string(),
            "not_before": now.to_string(),
            "resource": resource,
            "token_type": "Bearer",
        });
        IdentityResponse {
            caller: Some(application.client_id.clone()),
            ..ok(body)
        }
    }
}

fn error(why: &str) -> IdentityResponse {
    let body = json!({ "error": "invalid_request", "error_description": why });
    failed(StatusCode::BAD_REQUEST, "invalid_request", body)
}
