//! Sources of tokens: the OAuth token endpoint, and the metadata server of Compute Engine.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::access_token::LIFETIME;
use super::token::{self, InvalidAssertion};
use super::{CLOUD_PLATFORM_SCOPE, Identity, OWNER};
use crate::oauth::jwt;

/// Operation name of metadata requests in the request counts.
pub(crate) const METADATA: &str = "Metadata";
/// Operation name of token requests in the request counts.
pub(crate) const TOKEN: &str = "Token";
/// The grant type that service accounts use.
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Paths of the token endpoint in key files and client libraries of the last ten years.
const TOKEN_PATHS: &[&str] = &[
    "/token",
    "/oauth2/v3/token",
    "/oauth2/v4/token",
    "/o/oauth2/token",
];

/// Hosts of the token endpoint.
const TOKEN_HOSTS: &[&str] = &[
    "oauth2.googleapis.com",
    "www.googleapis.com",
    "accounts.google.com",
];

/// A request to one of these.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    /// The host as the caller wrote it.
    pub(crate) host: &'a str,
    /// Whether `X-Forwarded-For` is present.
    pub(crate) forwarded: bool,
    /// Value of `Metadata-Flavor`.
    pub(crate) flavor: Option<&'a str>,
    pub(crate) body: &'a [u8],
}

/// A response: JSON, or text of the metadata server.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct IdentityResponse {
    pub(crate) status: StatusCode,
    pub(crate) body: Content,
    /// The caller, if known.
    pub(crate) caller: Option<String>,
    /// Operation name for the request counts.
    pub(crate) operation: &'static str,
    /// Target of a redirect.
    pub(crate) location: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    Json(Value),
    Text(String),
}

impl IdentityResponse {
    pub(super) fn json(operation: &'static str, status: StatusCode, body: Value) -> Self {
        Self {
            status,
            body: Content::Json(body),
            caller: None,
            operation,
            location: None,
        }
    }

    pub(super) fn text(status: StatusCode, body: impl Into<String>) -> Self {
        Self {
            status,
            body: Content::Text(body.into()),
            caller: None,
            operation: METADATA,
            location: None,
        }
    }

    fn error(error: &str, description: &str) -> Self {
        let body = json!({ "error": error, "error_description": description });
        Self::json(TOKEN, StatusCode::BAD_REQUEST, body)
    }
}

impl Identity {
    /// Reports whether a path on a host without a vendor's name belongs here.
    pub(crate) fn is_identity_path(method: &Method, path: &str) -> bool {
        (path == "/token" && method == Method::POST) || path.starts_with("/computeMetadata/")
    }

    pub(crate) fn respond(&self, request: Request<'_>) -> IdentityResponse {
        if is_metadata_path(request.path) {
            return self.metadata(request);
        }
        if TOKEN_PATHS.contains(&request.path) && request.method == Method::POST {
            return self.token(request);
        }
        let not_found = || {
            IdentityResponse::json(
                TOKEN,
                StatusCode::NOT_FOUND,
                json!({ "error": "not_found" }),
            )
        };
        self.published_keys(request).unwrap_or_else(not_found)
    }

    /// The account that an assertion claims to be from, if there is such an account.
    pub(super) fn claimed_account(&self, body: &[u8]) -> Option<String> {
        let mut form = form_urlencoded::parse(body);
        let (_, assertion) = form.find(|(name, _)| name == "assertion")?;
        let claims: token::Claims = jwt::claims_without_verification(&assertion)?;
        Some(self.accounts.get(&claims.iss)?.email.clone())
    }

    fn token(&self, request: Request<'_>) -> IdentityResponse {
        let (mut grant, mut assertion) = (String::new(), String::new());
        for (name, value) in form_urlencoded::parse(request.body) {
            match &*name {
                "grant_type" => grant = value.into_owned(),
                "assertion" => assertion = value.into_owned(),
                _ => {}
            }
        }
        if grant != JWT_BEARER {
            return IdentityResponse::error(
                "unsupported_grant_type",
                &format!("Invalid grant_type: {grant}"),
            );
        }
        let claims = match token::verify_signed(&assertion, &self.accounts, self.wall.now()) {
            Ok(claims) => claims,
            Err(_) if self.auth.is_off() => {
                return IdentityResponse::json(
                    TOKEN,
                    StatusCode::OK,
                    self.token_response(OWNER, CLOUD_PLATFORM_SCOPE),
                );
            }
            Err(bad) => {
                let description = match bad {
                    InvalidAssertion::Malformed => {
                        return IdentityResponse::error("invalid_request", "Bad Request");
                    }
                    InvalidAssertion::NoAccount => "Invalid grant: account not found",
                    InvalidAssertion::Signature => "Invalid JWT Signature.",
                    InvalidAssertion::Time => {
                        "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and \
                         exp values in the JWT claim."
                    }
                };
                return IdentityResponse::error("invalid_grant", description);
            }
        };
        if !self.auth.is_off()
            && !claims
                .aud
                .as_deref()
                .is_some_and(|audience| is_token_audience(audience, request.host))
        {
            return IdentityResponse::error("invalid_grant", "Invalid JWT: Failed audience check.");
        }
        if claims.has_other_subject() {
            let description = "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of the \
                               scopes requested.";
            let refused = IdentityResponse::error("unauthorized_client", description);
            return IdentityResponse {
                status: StatusCode::UNAUTHORIZED,
                caller: Some(claims.iss),
                ..refused
            };
        }
        if let Some(audience) = claims
            .target_audience
            .as_deref()
            .filter(|audience| !audience.is_empty())
        {
            let token = self.id_token(&claims.iss, audience, None);
            let body = json!({ "id_token": token });
            return IdentityResponse {
                caller: Some(claims.iss),
                ..IdentityResponse::json(TOKEN, StatusCode::OK, body)
            };
        }
        if !self.auth.is_off() && claims.scope.as_ref().is_none_or(String::is_empty) {
            return IdentityResponse::error(
                "invalid_scope",
                "Invalid OAuth scope or ID token audience provided.",
            );
        }
        let scopes = claims
            .scope
            .as_deref()
            .filter(|scopes| !scopes.is_empty())
            .unwrap_or(CLOUD_PLATFORM_SCOPE);
        let mut answer = IdentityResponse::json(
            TOKEN,
            StatusCode::OK,
            self.token_response(&claims.iss, scopes),
        );
        answer.caller = Some(claims.iss);
        answer
    }

    fn token_response(&self, email: &str, scopes: &str) -> Value {
        let (token, _) = self.access_token(email, scopes);
        json!({ "access_token": token, "expires_in": LIFETIME.as_secs(), "token_type": "Bearer" })
    }

    /// The token response of the metadata server, whose scopes are separated by commas and default
    /// to those of the machine.
    pub(super) fn token_for_machine(&self, email: &str, scopes: Option<&str>) -> Value {
        let scopes = scopes
            .filter(|scopes| !scopes.is_empty())
            .map(|scopes| scopes.replace(',', " "));
        let (token, ends) =
            self.cached_token(email, scopes.as_deref().unwrap_or(CLOUD_PLATFORM_SCOPE));
        let left = ends - self.wall.now().as_second();
        json!({ "access_token": token, "expires_in": left, "token_type": "Bearer" })
    }
}

/// Reports whether a path is the metadata server's.
pub(super) fn is_metadata_path(path: &str) -> bool {
    path.starts_with("/computeMetadata") || path == "/"
}

/// Reports whether an assertion's audience is a token endpoint: one of Google's, or this server as
/// the caller reached it, which the emulator's own key files name.
fn is_token_audience(audience: &str, host: &str) -> bool {
    let rest = audience
        .strip_prefix("https://")
        .or_else(|| audience.strip_prefix("http://"));
    let at = |host: &str| {
        rest.and_then(|rest| rest.strip_prefix(host))
            .is_some_and(|path| TOKEN_PATHS.contains(&path))
    };
    at(host) || (audience.starts_with("https:") && TOKEN_HOSTS.iter().any(|host| at(host)))
}
