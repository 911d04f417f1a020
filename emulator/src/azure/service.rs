//! The HTTP side of the vaults: from a request to the response with the service's headers.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::{Body, HttpBody as _};
use axum::response::Response;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use kmslab_emulator_api::{Cloud, Wrong};
use kmslab_keycore::VersionUse;
use serde_json::Value;

use super::audit::AuditedRequest;
use super::auth::Principal;
use super::operation::{Call, Operation};
use super::vaults::Vault;
use super::wire::{self, ApiVersion, Input};
use super::{Azure, AzureError, RequestContext, auth, faults, names};
use crate::http::body::BodyError;
use crate::http::host;
use crate::pipeline::audit::Audited;
use crate::pipeline::faults::{Rejection, Subject};
use crate::pipeline::{self, Exchange, Failure, Labels, OutcomeOf};

/// Well above the largest body of the service, a backup.
pub(super) const MAX_BODY_BYTES: usize = 1024 * 1024;
const SERVICE_VERSION: &str = "1.9.1720.1";
const NETWORK_INFO: &str = "conn_type=Ipv4;addr=127.0.0.1;act_addr_fam=InterNetwork;";

/// A request to a vault: the vault's name and the path inside the vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VaultRequest {
    pub(crate) vault: String,
    pub(crate) path: String,
}

impl VaultRequest {
    /// Reports whether a path is one of a vault.
    pub(crate) fn has(path: &str) -> bool {
        Call::is_vault_path(path)
    }
}

/// A request to a vault.
#[derive(Debug)]
pub(crate) struct VaultExchange {
    azure: Arc<Azure>,
    at: VaultRequest,
    /// Set once the vault is found.
    vault: Option<Arc<Vault>>,
    /// Set once the caller is authorized.
    authorized: Option<(Principal, Call, ApiVersion)>,
    /// A caller that is not authorized, for the audit trail.
    authenticated: Option<(Principal, Call)>,
}

impl VaultExchange {
    pub(crate) fn new(azure: Arc<Azure>, at: VaultRequest) -> Self {
        Self {
            azure,
            at,
            vault: None,
            authorized: None,
            authenticated: None,
        }
    }
}

/// An authorized request.
pub(crate) struct AuthorizedRequest {
    azure: Arc<Azure>,
    vault: Arc<Vault>,
    caller: Principal,
    call: Call,
    version: ApiVersion,
    parts: Arc<Parts>,
    input: Input,
}

impl pipeline::Call for AuthorizedRequest {
    const CLOUD: Cloud = Cloud::Azure;
    /// A response; `None` means no body.
    type Output = (StatusCode, Option<Value>);
    type Error = AzureError;

    fn subject(&self) -> Option<Subject> {
        self.azure.fault_subject(&self.vault, &self.call)
    }

    fn rejected(&self, rejection: Rejection<'_>) -> Option<Result<Self::Output, AzureError>> {
        self.azure
            .rejected(&self.vault, &self.caller, &self.call, rejection)
            .map(Err)
    }

    fn corrupt((_, body): &mut Self::Output, wrong: Wrong) -> bool {
        body.as_mut()
            .is_some_and(|body| faults::corrupt(body, wrong))
    }

    fn audited(
        &self,
        uses: &[VersionUse],
        outcome: Option<Result<&Self::Output, &AzureError>>,
    ) -> Audited {
        let outcome = match outcome {
            Some(Ok((status, body))) => Ok((*status, body.as_ref())),
            Some(Err(error)) => Err(error),
            None => Ok((StatusCode::default(), None)),
        };
        let request = AuditedRequest {
            vault: &self.vault,
            caller: &self.caller,
            call: &self.call,
            uri: &self.parts.uri,
            input: Some(&self.input),
        };
        self.azure.audited(&request, uses, outcome)
    }

    fn run(&mut self) -> Result<Self::Output, AzureError> {
        let response = self.azure.run(&RequestContext {
            vault: &self.vault,
            call: &self.call,
            input: &self.input,
            query: self.parts.uri.query().unwrap_or_default(),
            version: self.version,
        })?;
        Ok(match self.call.operation {
            Operation::Purge => (StatusCode::NO_CONTENT, None),
            _ => (StatusCode::OK, Some(response)),
        })
    }
}

impl Exchange for VaultExchange {
    const MAX_BODY_BYTES: usize = MAX_BODY_BYTES;
    type Call = AuthorizedRequest;

    fn admit(&mut self, parts: &Parts, body: &Body, labels: &mut Labels) -> Result<(), AzureError> {
        let found = self.azure.vaults.get(&self.at.vault);
        let vault = found.ok_or_else(|| AzureError::no_vault(&self.at.vault))?;
        self.vault = Some(Arc::clone(&vault));
        let identity = &self.azure.identity;
        let call = Call::parse(&parts.method, &self.at.path);
        if let Ok(call) = &call {
            labels.operation = call.operation.name().into();
            if identity.auth.is_off() && is_challenge_probe(parts, body, call.operation) {
                return Err(AzureError::no_token());
            }
        }
        let caller = auth::authenticate(identity, parts, names::resource(&vault.name))?;
        labels.caller = caller.client_id.clone().into();
        let version = wire::api_version(parts.uri.query().unwrap_or_default())?;
        let call = call?;
        let authorized = self.azure.authorize(&vault, &caller, &call);
        if authorized.is_err() {
            self.authenticated = Some((caller, call));
            return authorized;
        }
        self.authorized = Some((caller, call, version));
        Ok(())
    }

    fn accept(
        &mut self,
        parts: &Arc<Parts>,
        body: Bytes,
        _: &mut Labels,
    ) -> Result<AuthorizedRequest, AzureError> {
        let (Some(vault), Some((caller, call, version))) = (&self.vault, self.authorized.take())
        else {
            return Err(AzureError::no_token());
        };
        Ok(AuthorizedRequest {
            azure: Arc::clone(&self.azure),
            vault: Arc::clone(vault),
            caller,
            call,
            version,
            parts: Arc::clone(parts),
            input: Input::parse(&body)?,
        })
    }

    fn audited(&self, parts: &Parts, error: &AzureError) -> Audited {
        let (Some(vault), Some((caller, call))) = (&self.vault, &self.authenticated) else {
            return Audited::default();
        };
        let request = AuditedRequest {
            vault,
            caller,
            call,
            uri: &parts.uri,
            input: None,
        };
        self.azure.audited(&request, &[], Err(error))
    }

    fn encode(&self, parts: &Parts, request_id: &str, outcome: OutcomeOf<Self>) -> Response {
        let vault = self.vault.as_deref();
        self.azure.respond(parts, vault, request_id, outcome)
    }
}

impl Failure for AzureError {
    fn unread(unread: BodyError, limit: usize) -> Self {
        match unread {
            BodyError::TooLarge => Self::too_large(limit),
            BodyError::Broken => Self::bad_parameter("The request body ended too early."),
        }
    }

    fn panicked() -> Self {
        Self::internal("a request made the emulator panic")
    }

    fn code(&self) -> Cow<'_, str> {
        self.inner.unwrap_or(self.code).into()
    }
}

impl Azure {
    /// A response with the headers of Key Vault.
    pub(super) fn respond(
        &self,
        parts: &Parts,
        vault: Option<&Vault>,
        request_id: &str,
        outcome: Result<(StatusCode, Option<Value>), AzureError>,
    ) -> Response {
        // A managed HSM answers a request without a token without a body.
        let retry_after = outcome.as_ref().err().and_then(|error| error.retry_after);
        let silent = vault.is_some_and(|vault| names::is_managed_hsm(&vault.name))
            && !parts.headers.contains_key(AUTHORIZATION);
        let (mut response, challenge) = match outcome {
            Ok((status, Some(body))) => (json(status, &body), false),
            Ok((status, None)) => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = status;
                (response, false)
            }
            Err(error) if error.challenge && silent => {
                (with_body(error.status, Body::empty()), true)
            }
            Err(error) => (json(error.status, &error.body()), error.challenge),
        };
        let headers = response.headers_mut();
        for (name, value) in [
            ("cache-control", "no-cache"),
            ("pragma", "no-cache"),
            ("expires", "-1"),
            ("x-ms-keyvault-service-version", SERVICE_VERSION),
            ("x-ms-keyvault-network-info", NETWORK_INFO),
            ("x-content-type-options", "nosniff"),
            (
                "strict-transport-security",
                "max-age=31536000;includeSubDomains",
            ),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let mut put = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        if let Some(vault) = vault {
            put("x-ms-keyvault-region", &vault.location);
        }
        put("x-ms-request-id", request_id);
        if let Some(seconds) = retry_after {
            put(RETRY_AFTER.as_str(), &seconds.to_string());
        }
        if challenge {
            let (authority, resource) = (
                authority(parts),
                vault.map_or("", |vault| names::resource(&vault.name)),
            );
            put(
                WWW_AUTHENTICATE.as_str(),
                &auth::challenge(&authority, &self.identity.directory.tenant, resource),
            );
        }
        if let Some(id) = parts.headers.get("x-ms-client-request-id") {
            headers.insert("x-ms-client-request-id", id.clone());
        }
        response
    }
}

/// Reports whether a request is an SDK's first one, which it sends without token and body to learn
/// where to get a token. Carrying it out would reject a request that was not sent yet.
fn is_challenge_probe(parts: &Parts, body: &Body, operation: Operation) -> bool {
    !parts.headers.contains_key(AUTHORIZATION) && body.is_end_stream() && operation.has_body()
}

/// Where to get tokens: Microsoft's login host if the request used Microsoft's names, else this
/// server.
fn authority(parts: &Parts) -> String {
    let host = host::host(parts);
    if names::vault_at(host::without_port(&host)).is_some() {
        "https://login.microsoftonline.com".to_owned()
    } else {
        format!("https://{host}")
    }
}

pub(super) fn json(status: StatusCode, body: &Value) -> Response {
    with_body(status, Body::from(body.to_string()))
}

fn with_body(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    );
    response
}
