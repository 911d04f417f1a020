//! Where tokens come from: the token endpoint of OAuth, and the metadata server of Google's
//! machines.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::super::auth::OWNER;
use super::access_token::LIFETIME;
use super::token::{self, BadAssertion};
use super::{EVERYTHING, Identity};

/// What the counters call a request to the metadata server.
pub(crate) const METADATA: &str = "Metadata";
/// The one grant that service accounts use.
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Where the addresses of key files and client libraries of the last ten years lead.
const TOKEN: &[&str] = &[
    "/token",
    "/oauth2/v3/token",
    "/oauth2/v4/token",
    "/o/oauth2/token",
];

/// Whose they are.
const HOSTS: &[&str] = &[
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
    /// As the caller wrote it.
    pub(crate) host: &'a str,
    /// Whether `X-Forwarded-For` is there.
    pub(crate) forwarded: bool,
    /// `Metadata-Flavor`.
    pub(crate) flavor: Option<&'a str>,
    pub(crate) body: &'a [u8],
}

/// An answer: JSON, or the metadata server's text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Content,
    /// Who asked, as far as that is known.
    pub(crate) caller: Option<String>,
    /// What was asked, for the counters.
    pub(crate) operation: &'static str,
    /// Where a redirect leads.
    pub(crate) location: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    Json(Value),
    Text(String),
}

impl Answer {
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

    fn refused(error: &str, description: &str) -> Self {
        let body = json!({ "error": error, "error_description": description });
        Self::json("Token", StatusCode::BAD_REQUEST, body)
    }
}

impl Identity {
    /// Whether a path on a host without a vendor's name is one of these.
    pub(crate) fn has(method: &Method, path: &str) -> bool {
        (path == "/token" && method == Method::POST) || path.starts_with("/computeMetadata/")
    }

    pub(crate) fn answer(&self, request: Request<'_>) -> Answer {
        if request.path.starts_with("/computeMetadata") || request.path == "/" {
            return self.metadata(request);
        }
        if TOKEN.contains(&request.path) && request.method == Method::POST {
            return self.token(request);
        }
        let not_found = || {
            Answer::json(
                "Token",
                StatusCode::NOT_FOUND,
                json!({ "error": "not_found" }),
            )
        };
        self.published(request).unwrap_or_else(not_found)
    }

    fn token(&self, request: Request<'_>) -> Answer {
        let (mut grant, mut assertion) = (String::new(), String::new());
        for (name, value) in form_urlencoded::parse(request.body) {
            match &*name {
                "grant_type" => grant = value.into_owned(),
                "assertion" => assertion = value.into_owned(),
                _ => {}
            }
        }
        if grant != JWT_BEARER {
            return Answer::refused(
                "unsupported_grant_type",
                &format!("Invalid grant_type: {grant}"),
            );
        }
        let claims = match token::signed(&assertion, &self.accounts, self.wall.now()) {
            Ok(claims) => claims,
            Err(_) if self.auth.is_off() => {
                return Answer::json("Token", StatusCode::OK, self.given(OWNER, EVERYTHING));
            }
            Err(bad) => {
                let description = match bad {
                    BadAssertion::Malformed => {
                        return Answer::refused("invalid_request", "Bad Request");
                    }
                    BadAssertion::NoAccount => "Invalid grant: account not found",
                    BadAssertion::Signature => "Invalid JWT Signature.",
                    BadAssertion::Time => {
                        "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and \
                         exp values in the JWT claim."
                    }
                };
                return Answer::refused("invalid_grant", description);
            }
        };
        if !self.auth.is_off()
            && !claims
                .aud
                .as_deref()
                .is_some_and(|audience| is_ours(audience, request.host))
        {
            return Answer::refused("invalid_grant", "Invalid JWT: Failed audience check.");
        }
        if claims.is_for_another() {
            let description = "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of the \
                               scopes requested.";
            let refused = Answer::refused("unauthorized_client", description);
            return Answer {
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
            return Answer {
                caller: Some(claims.iss),
                ..Answer::json("Token", StatusCode::OK, body)
            };
        }
        if !self.auth.is_off() && claims.scope.as_ref().is_none_or(String::is_empty) {
            return Answer::refused(
                "invalid_scope",
                "Invalid OAuth scope or ID token audience provided.",
            );
        }
        let scopes = claims
            .scope
            .as_deref()
            .filter(|scopes| !scopes.is_empty())
            .unwrap_or(EVERYTHING);
        let mut answer = Answer::json("Token", StatusCode::OK, self.given(&claims.iss, scopes));
        answer.caller = Some(claims.iss);
        answer
    }

    fn given(&self, email: &str, scopes: &str) -> Value {
        let (token, _) = self.access_token(email, scopes);
        json!({ "access_token": token, "expires_in": LIFETIME.as_secs(), "token_type": "Bearer" })
    }

    /// The same from the metadata server. It separates scopes by commas, and gives those of the
    /// machine when it is asked for none.
    pub(super) fn given_to_machine(&self, email: &str, scopes: Option<&str>) -> Value {
        let scopes = scopes
            .filter(|scopes| !scopes.is_empty())
            .map(|scopes| scopes.replace(',', " "));
        let (token, ends) = self.cached_token(email, scopes.as_deref().unwrap_or(EVERYTHING));
        let left = ends - self.wall.now().as_second();
        json!({ "access_token": token, "expires_in": left, "token_type": "Bearer" })
    }
}

/// Whether an assertion is for a token endpoint: one of Google's, or this one as the caller reached
/// it, which key files of the emulator name.
fn is_ours(audience: &str, host: &str) -> bool {
    let rest = audience
        .strip_prefix("https://")
        .or_else(|| audience.strip_prefix("http://"));
    let at = |host: &str| {
        rest.and_then(|rest| rest.strip_prefix(host))
            .is_some_and(|path| TOKEN.contains(&path))
    };
    at(host) || (audience.starts_with("https:") && HOSTS.iter().any(|host| at(host)))
}
