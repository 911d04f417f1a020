//! Where tokens come from: the token endpoint of OAuth, and the metadata server of Google's machines.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::super::auth::OWNER;
use super::Identity;
use super::accounts::project_of;
use super::token::{self, BadAssertion, LIFETIME};

/// What the counters call a request to the metadata server.
pub(crate) const METADATA: &str = "Metadata";
/// The one grant that service accounts use.
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// What every path of the metadata server begins with.
const PATHS: &str = "/computeMetadata/v1";
const ACCOUNTS: &str = "instance/service-accounts/";
/// The scopes of a machine that may do what its account may.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// A request to one of these.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
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
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    Json(Value),
    Text(String),
}

impl Answer {
    fn json(operation: &'static str, status: StatusCode, body: Value) -> Self {
        Self { status, body: Content::Json(body), caller: None, operation }
    }

    fn text(status: StatusCode, body: impl Into<String>) -> Self {
        Self { status, body: Content::Text(body.into()), caller: None, operation: METADATA }
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
        match request.path {
            "/token" | "/oauth2/v4/token" | "/o/oauth2/token" if request.method == Method::POST => {
                self.token(request.body)
            }
            _ => Answer::json("Token", StatusCode::NOT_FOUND, json!({ "error": "not_found" })),
        }
    }

    fn token(&self, body: &[u8]) -> Answer {
        let (mut grant, mut assertion) = (String::new(), String::new());
        for (name, value) in form_urlencoded::parse(body) {
            match &*name {
                "grant_type" => grant = value.into_owned(),
                "assertion" => assertion = value.into_owned(),
                _ => {}
            }
        }
        if grant != JWT_BEARER {
            return Answer::refused("unsupported_grant_type", &format!("Invalid grant_type: {grant}"));
        }
        let claims = match token::signed(&assertion, &self.accounts, self.wall.now()) {
            Ok(claims) => claims,
            Err(_) if self.auth.is_off() => return Answer::json("Token", StatusCode::OK, self.given(OWNER)),
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
        if !self.auth.is_off() && claims.scope.as_ref().is_none_or(String::is_empty) {
            return Answer::refused("invalid_scope", "Invalid OAuth scope or ID token audience provided.");
        }
        let mut answer = Answer::json("Token", StatusCode::OK, self.given(&claims.iss));
        answer.caller = Some(claims.iss);
        answer
    }

    fn given(&self, email: &str) -> Value {
        json!({ "access_token": self.access_token(email), "expires_in": LIFETIME.as_secs(), "token_type": "Bearer" })
    }

    fn metadata(&self, request: Request<'_>) -> Answer {
        // So that no request that was let through by mistake gets a token.
        if request.path != "/" && !request.flavor.is_some_and(|flavor| flavor.eq_ignore_ascii_case("google")) {
            return Answer::text(StatusCode::FORBIDDEN, "Missing required header \"Metadata-Flavor\": \"Google\"\n");
        }
        let email = self.default();
        let found = |text: &str| Answer { caller: Some(email.clone()), ..Answer::text(StatusCode::OK, text) };
        let path = request.path.trim_end_matches('/');
        let Some(path) = path.strip_prefix(PATHS) else {
            return found("computeMetadata/\n");
        };
        let path = path.trim_start_matches('/');
        match path {
            "" => found("instance/\nproject/\nuniverse/\n"),
            "project/project-id" => found(project_of(&email)),
            "project/numeric-project-id" => found("123456789012"),
            "universe/universe-domain" | "universe/universe_domain" => found("googleapis.com"),
            "instance/service-accounts" => found(&format!("default/\n{email}/\n")),
            _ => match path.strip_prefix(ACCOUNTS).map(|rest| rest.split_once('/').unwrap_or((rest, ""))) {
                Some((account, what)) if account == "default" || account == email => {
                    self.account(&email, what, request.query).unwrap_or_else(not_found)
                }
                _ => not_found(),
            },
        }
    }

    fn account(&self, email: &str, what: &str, query: &str) -> Option<Answer> {
        let recursive =
            form_urlencoded::parse(query.as_bytes()).any(|(name, value)| name == "recursive" && value == "true");
        let text = |text: &str| Answer { caller: Some(email.to_owned()), ..Answer::text(StatusCode::OK, text) };
        let json =
            |body: Value| Answer { caller: Some(email.to_owned()), ..Answer::json(METADATA, StatusCode::OK, body) };
        Some(match what {
            "" if recursive => json(json!({ "aliases": ["default"], "email": email, "scopes": [SCOPE] })),
            "" => text("aliases\nemail\nidentity\nscopes\ntoken\n"),
            "aliases" => text("default\n"),
            "email" => text(email),
            "scopes" => text(&format!("{SCOPE}\n")),
            "token" => json(self.given(email)),
            _ => return None,
        })
    }
}

fn not_found() -> Answer {
    Answer::text(StatusCode::NOT_FOUND, "Not Found\n")
}
