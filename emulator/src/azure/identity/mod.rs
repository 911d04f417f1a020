//! Microsoft Entra ID for non-interactive logins: discovery, the token endpoints of both versions,
//! and the instance metadata service of virtual machines.

mod assertion;
mod directory;
mod endpoint;
mod error;
pub(super) mod faults;
mod imds;
pub(crate) mod service;
mod token;

use std::sync::Arc;

use http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use kmslab_keycore::{Clock, Entropy};
use serde_json::{Value, json};

pub(crate) use directory::{Application, Federated, Issuer};
pub(crate) use directory::{Directory, managed_identity_id};
pub(crate) use token::{Claims, InvalidToken, issuer};

use crate::Auth;
use crate::ids::random_uuid;
use endpoint::Endpoint;
use error::LoginError;
use token::{Subject, Tokens};

/// Resource of Key Vault tokens.
pub(crate) const VAULT_RESOURCE: &str = "https://vault.azure.net";
/// Resource of managed HSM tokens.
pub(crate) const HSM_RESOURCE: &str = "https://managedhsm.azure.net";
/// Resources that tokens are issued for, without trailing slash.
const RESOURCES: &[&str] = &[
    VAULT_RESOURCE,
    HSM_RESOURCE,
    "https://management.azure.com",
    "https://management.core.windows.net",
    "https://graph.microsoft.com",
    "https://graph.windows.net",
];
/// Resources whose tokens Resource Manager accepts.
pub(crate) const ARM_RESOURCES: &[&str] = &[
    "https://management.azure.com",
    "https://management.core.windows.net",
];
/// Resources whose tokens Graph accepts.
pub(crate) const GRAPH_RESOURCES: &[&str] =
    &["https://graph.microsoft.com", "https://graph.windows.net"];
/// Hosts of the identity platform, as instance discovery lists them.
pub(crate) const LOGIN_HOSTS: &[&str] = &[
    "login.microsoftonline.com",
    "login.windows.net",
    "login.microsoft.com",
    "sts.windows.net",
];
const LOGIN: &str = "https://login.microsoftonline.com";

/// A response.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct IdentityResponse {
    pub(crate) status: StatusCode,
    pub(crate) body: Content,
    /// `Retry-After` in seconds.
    pub(crate) retry_after: Option<u64>,
    /// For the request counts.
    pub(crate) caller: Option<String>,
    pub(crate) code: String,
}

/// The body of a response.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    Json(Value),
    Text(&'static str),
}

/// The parts of a request that are used here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a Method,
    /// Path relative to the front end's mount point.
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    /// `https://HOST` as the caller wrote it.
    pub(crate) base: &'a str,
    /// Whether the header `Metadata: true` is present.
    pub(crate) metadata: bool,
    pub(crate) body: &'a [u8],
}

/// The identity platform.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) directory: Directory,
    tokens: Tokens,
    wall: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    pub(super) auth: Auth,
}

impl Identity {
    pub(crate) fn new(
        tenant: &str,
        lifetime: SignedDuration,
        wall: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        auth: Auth,
    ) -> Self {
        Self {
            directory: Directory::new(tenant),
            tokens: Tokens::new(lifetime),
            wall,
            entropy,
            auth,
        }
    }

    /// Reports whether a path belongs to this front end on a shared host.
    pub(crate) fn is_identity_path(path: &str) -> bool {
        Endpoint::of_path(path).is_some()
    }

    /// Verifies a token for one of `resources` and returns its claims.
    pub(crate) fn verify(&self, token: &str, resources: &[&str]) -> Result<Claims, InvalidToken> {
        self.tokens
            .verify(token, &self.directory.tenant, resources, self.wall.now())
    }

    /// Answers a request.
    pub(crate) fn respond(&self, request: Request<'_>) -> IdentityResponse {
        match Endpoint::of(request.method, request.path) {
            Some(Endpoint::Token { tenant, version }) => self.token(tenant, version, request),
            Some(Endpoint::ManagedIdentity) => self.imds(request),
            Some(Endpoint::Configuration { tenant, version }) => {
                self.configuration(tenant, version, request)
            }
            Some(Endpoint::Instance) => self.instance(request),
            Some(Endpoint::Keys) => ok(self.tokens.jwks()),
            None => failed(
                StatusCode::NOT_FOUND,
                "NotFound",
                json!({ "error": "invalid_request", "error_description": "there is nothing here" }),
            ),
        }
    }

    fn token(&self, tenant: &str, version: u8, request: Request<'_>) -> IdentityResponse {
        let form: Vec<(String, String)> =
            form_urlencoded::parse(request.body).into_owned().collect();
        let field = |name: &str| {
            form.iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.as_str())
        };
        match self.issue(tenant, version, request, &field) {
            Ok(body) => ok(body),
            Err(error) => self.failed_login(&error),
        }
    }

    fn failed_login(&self, error: &LoginError) -> IdentityResponse {
        let body = error.body(self.wall.now(), &self.uuid(), &self.uuid());
        failed(error.status, format!("AADSTS{}", error.number), body)
    }

    fn issue<'f>(
        &self,
        tenant: &str,
        version: u8,
        request: Request<'_>,
        field: &impl Fn(&str) -> Option<&'f str>,
    ) -> Result<Value, LoginError> {
        if !self.auth.is_off() && !self.directory.is_tenant(tenant) {
            return Err(LoginError::no_tenant(tenant));
        }
        let required = |name: &'static str| field(name).ok_or_else(|| LoginError::missing(name));
        let grant = required("grant_type")?;
        let client_id = required("client_id")?;
        if grant != "client_credentials" {
            return Err(LoginError::unsupported_grant(grant));
        }
        let resource = match version {
            1 => self.resource(required("resource")?)?,
            _ => {
                let scope = required("scope")?;
                // `https://vault.azure.net//.default`, of a resource that ends with a slash, is
                // valid as well.
                let resource = scope
                    .split(' ')
                    .find_map(|scope| scope.strip_suffix("/.default"));
                self.resource(resource.ok_or_else(|| LoginError::scope(scope))?)?
            }
        };
        let application = self.directory.application(client_id);
        let application = application.or_else(|| {
            self.auth
                .is_off()
                .then(|| Arc::new(Directory::well_known()))
        });
        let application = application
            .ok_or_else(|| LoginError::no_application(client_id, &self.directory.tenant))?;
        let now = self.wall.now();
        let by = match (field("client_assertion"), field("client_secret")) {
            _ if self.auth.is_off() => 0,
            (Some(assertion), _) => {
                let kind = required("client_assertion_type")?;
                if kind != assertion::TYPE {
                    return Err(LoginError::malformed_assertion());
                }
                let tenant = &self.directory.tenant;
                let endpoint = |audience: &str| {
                    [request.base, LOGIN, "https://login.windows.net"]
                        .iter()
                        .any(|base| {
                            audience
                                .strip_prefix(&format!("{base}/{tenant}/"))
                                .is_some_and(|rest| {
                                    matches!(
                                        rest,
                                        "oauth2/v2.0/token" | "oauth2/token" | "v2.0" | ""
                                    )
                                })
                        })
                };
                assertion::check(&self.directory, &application, assertion, endpoint, now)?;
                2
            }
            (None, Some(secret)) => {
                use subtle::ConstantTimeEq;
                let known = application
                    .secrets
                    .iter()
                    .any(|known| known.as_bytes().ct_eq(secret.as_bytes()).into());
                if !known {
                    return Err(LoginError::wrong_secret(&application.client_id));
                }
                1
            }
            (None, None) => return Err(LoginError::no_credential()),
        };
        let (token, lifetime) = (
            self.issue_for(&application, resource, by),
            self.tokens.lifetime().as_secs(),
        );
        let mut body = json!({ "token_type": "Bearer", "access_token": token });
        if version == 1 {
            // The v1 endpoint returns numbers as strings.
            body["expires_in"] = lifetime.to_string().into();
            body["ext_expires_in"] = lifetime.to_string().into();
            body["expires_on"] = (now.as_second() + lifetime).to_string().into();
            body["not_before"] = now.as_second().to_string().into();
            body["resource"] = field("resource").unwrap_or(resource).into();
        } else {
            body["expires_in"] = lifetime.into();
            body["ext_expires_in"] = lifetime.into();
        }
        Ok(body)
    }

    fn resource(&self, text: &str) -> Result<&'static str, LoginError> {
        let plain = text.trim_end_matches('/');
        let known = RESOURCES
            .iter()
            .find(|resource| **resource == plain)
            .copied();
        known.ok_or_else(|| LoginError::no_resource(text, &self.directory.tenant))
    }

    fn issue_for(&self, application: &Application, resource: &str, by: u8) -> String {
        let subject = Subject {
            tenant: self.directory.tenant.clone(),
            client_id: application.client_id.clone(),
            object_id: application.object_id.clone(),
            by,
        };
        self.tokens
            .issue(&subject, resource, self.wall.now(), self.entropy.as_ref())
            .unwrap_or_default()
    }

    fn configuration(&self, tenant: &str, version: u8, request: Request<'_>) -> IdentityResponse {
        let shared = ["common", "organizations", "consumers"].contains(&tenant);
        if !shared && !self.auth.is_off() && !self.directory.is_tenant(tenant) {
            return self.failed_login(&LoginError::no_tenant(tenant));
        }
        let base = format!("{}/{tenant}", request.base);
        let middle = if version == 2 { "/v2.0" } else { "" };
        let issuer = if version == 2 {
            format!("{LOGIN}/{}/v2.0", self.directory.tenant)
        } else {
            issuer(&self.directory.tenant)
        };
        ok(json!({
            "token_endpoint": format!("{base}/oauth2{middle}/token"),
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
            "jwks_uri": format!("{base}/discovery{middle}/keys"),
            "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "issuer": issuer,
            "authorization_endpoint": format!("{base}/oauth2{middle}/authorize"),
            "device_authorization_endpoint": format!("{base}/oauth2{middle}/devicecode"),
            "tenant_region_scope": null,
            "cloud_instance_name": "microsoftonline.com",
        }))
    }

    /// Instance discovery: the hosts that form one authority. This server is one by itself unless
    /// it is reached by Microsoft's names.
    fn instance(&self, request: Request<'_>) -> IdentityResponse {
        let host = request
            .base
            .trim_start_matches("https://")
            .trim_start_matches("http://");
        let mut metadata = vec![json!({
            "preferred_network": LOGIN_HOSTS[0],
            "preferred_cache": LOGIN_HOSTS[1],
            "aliases": LOGIN_HOSTS,
        })];
        if !LOGIN_HOSTS.contains(&host) {
            metadata.push(
                json!({ "preferred_network": host, "preferred_cache": host, "aliases": [host] }),
            );
        }
        let discovery = format!(
            "{}/{}/v2.0/.well-known/openid-configuration",
            request.base, self.directory.tenant
        );
        ok(
            json!({ "tenant_discovery_endpoint": discovery, "api-version": "1.1", "metadata": metadata }),
        )
    }

    fn uuid(&self) -> String {
        random_uuid(self.entropy.as_ref()).to_string()
    }

    fn now(&self) -> Timestamp {
        self.wall.now()
    }
}

fn ok(body: Value) -> IdentityResponse {
    failed(StatusCode::OK, crate::counts::OK, body)
}

/// A response with an error's code.
fn failed(status: StatusCode, code: impl Into<String>, body: Value) -> IdentityResponse {
    IdentityResponse {
        status,
        body: Content::Json(body),
        retry_after: None,
        caller: None,
        code: code.into(),
    }
}
