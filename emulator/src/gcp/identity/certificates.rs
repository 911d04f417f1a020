//! Published keys that verify tokens and signatures of service accounts, at the URLs that client
//! libraries use; and tokeninfo.

use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::access_token::Grant;
use super::endpoints::{IdentityResponse, Request};
use super::{Identity, client_id};
use crate::oauth::PublicRsaKey;

const ISSUER: &str = "https://accounts.google.com";
/// Paths that end with an account's address: its keys as X.509 certificates.
const X509_PATHS: &[&str] = &[
    "/robot/v1/metadata/x509/",
    "/service_accounts/v1/metadata/x509/",
];
/// Paths that end with an account's address: its keys as JSON Web Keys.
const JWK_PATHS: &[&str] = &[
    "/service_accounts/v1/jwk/",
    "/service_accounts/v1/metadata/jwk/",
    "/robot/v1/metadata/jwk/",
];
/// Paths of tokeninfo.
const TOKEN_INFO_PATHS: &[&str] = &[
    "/tokeninfo",
    "/oauth2/v1/tokeninfo",
    "/oauth2/v2/tokeninfo",
    "/oauth2/v3/tokeninfo",
];

/// Operations in the request counts.
pub(super) const CERTIFICATES: &str = "Certificates";
pub(super) const TOKEN_INFO: &str = "TokenInfo";
/// Paths of the keys that sign ID tokens, and of their description.
const SIGNER_X509_PATH: &str = "/oauth2/v1/certs";
const SIGNER_JWK_PATH: &str = "/oauth2/v3/certs";
const CONFIGURATION_PATH: &str = "/.well-known/openid-configuration";

/// The operation of one of these paths; `None` for other paths.
pub(super) fn operation(path: &str) -> Option<&'static str> {
    if TOKEN_INFO_PATHS.contains(&path) {
        return Some(TOKEN_INFO);
    }
    let mut of_account = X509_PATHS.iter().chain(JWK_PATHS);
    let is_published = [SIGNER_X509_PATH, SIGNER_JWK_PATH, CONFIGURATION_PATH].contains(&path)
        || of_account.any(|prefix| path.starts_with(prefix));
    is_published.then_some(CERTIFICATES)
}

impl Identity {
    /// Answers a request for one of these paths; `None` for other paths.
    pub(super) fn published_keys(&self, request: Request<'_>) -> Option<IdentityResponse> {
        let path = request.path;
        if TOKEN_INFO_PATHS.contains(&path) {
            return Some(self.token_info(request));
        }
        if request.method != Method::GET {
            return None;
        }
        let body = match path {
            SIGNER_X509_PATH => self.signer_certificates(),
            SIGNER_JWK_PATH => self.signer_jwks(),
            CONFIGURATION_PATH => configuration(),
            _ => {
                let of = |prefixes: &[&str]| {
                    prefixes.iter().find_map(|prefix| path.strip_prefix(prefix))
                };
                let (email, x509) = match (of(X509_PATHS), of(JWK_PATHS)) {
                    (Some(email), _) => (email, true),
                    (None, email) => (email?, false),
                };
                let email = percent_encoding::percent_decode_str(email).decode_utf8_lossy();
                let Some(account) = self.accounts.get(&email) else {
                    return Some(IdentityResponse::json(
                        CERTIFICATES,
                        StatusCode::NOT_FOUND,
                        json!({ "error": "not_found" }),
                    ));
                };
                let keys = account
                    .keys
                    .iter()
                    .map(|key| (key.id.as_str(), &key.public));
                if x509 {
                    self.certificates(keys, &account.email)
                } else {
                    jwks(keys)
                }
            }
        };
        Some(IdentityResponse::json(CERTIFICATES, StatusCode::OK, body))
    }

    fn signer_certificates(&self) -> Value {
        let signer = self.signer().map(|key| (key.id(), key.public()));
        self.certificates(
            signer.iter().map(|(id, key)| (*id, key)),
            "federated-signon.system.gserviceaccount.com",
        )
    }

    fn signer_jwks(&self) -> Value {
        let signer = self.signer().map(|key| (key.id(), key.public()));
        jwks(signer.iter().map(|(id, key)| (*id, key)))
    }

    /// Certificates by key id.
    fn certificates<'a>(
        &self,
        keys: impl Iterator<Item = (&'a str, &'a PublicRsaKey)>,
        name: &str,
    ) -> Value {
        let now = self.wall.now();
        let certificate = |key| self.signer()?.certify(key, name, now);
        let certificates =
            keys.filter_map(|(id, key)| Some((id.to_owned(), certificate(key)?.into())));
        Value::Object(certificates.collect::<Map<_, _>>())
    }

    fn token_info(&self, request: Request<'_>) -> IdentityResponse {
        let pairs = form_urlencoded::parse(request.query.as_bytes())
            .chain(form_urlencoded::parse(request.body));
        let token = pairs
            .filter(|(name, _)| name == "access_token")
            .map(|(_, value)| value)
            .last()
            .unwrap_or_default();
        let now = self.wall.now();
        let Ok(Grant {
            email,
            scopes,
            expires: ends,
            ..
        }) = self.verify_access_token(&token)
        else {
            let body = json!({ "error": "invalid_token", "error_description": "Invalid Value" });
            return IdentityResponse::json(TOKEN_INFO, StatusCode::BAD_REQUEST, body);
        };
        let (id, left) = (client_id(&email), ends - now.as_second());
        // Version 1 has member names of its own, and numbers as numbers.
        let body = if request.path == "/oauth2/v3/tokeninfo" || request.path == "/tokeninfo" {
            json!({
                "azp": id,
                "aud": id,
                "scope": scopes,
                "exp": ends.to_string(),
                "expires_in": left.to_string(),
                "email": email,
                "email_verified": "true",
                "access_type": "online",
            })
        } else {
            json!({
                "issued_to": id,
                "audience": id,
                "user_id": id,
                "scope": scopes,
                "expires_in": left,
                "email": email,
                "verified_email": true,
                "access_type": "online",
            })
        };
        IdentityResponse {
            caller: Some(email),
            ..IdentityResponse::json(TOKEN_INFO, StatusCode::OK, body)
        }
    }
}

fn jwks<'a>(keys: impl Iterator<Item = (&'a str, &'a PublicRsaKey)>) -> Value {
    json!({ "keys": keys.map(|(id, key)| key.jwk(id)).collect::<Vec<_>>() })
}

/// The members of Google's discovery document that concern tokens of programs.
fn configuration() -> Value {
    json!({
        "issuer": ISSUER,
        "authorization_endpoint": "https://accounts.google.com/o/oauth2/v2/auth",
        "token_endpoint": "https://oauth2.googleapis.com/token",
        "jwks_uri": "https://www.googleapis.com/oauth2/v3/certs",
        "response_types_supported": ["code", "token", "id_token", "none"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "grant_types_supported": ["urn:ietf:params:oauth:grant-type:jwt-bearer"],
    })
}
