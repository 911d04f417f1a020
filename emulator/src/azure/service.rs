//! The HTTP side of the Azure front ends: bounded bodies, the service's headers, and contained
//! panics.

use std::sync::Arc;

use axum::body::{Body, HttpBody as _};
use axum::response::Response;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use serde_json::Value;

use super::identity::{ARM_RESOURCES, GRAPH_RESOURCES, InvalidToken, Request};
use super::management::{self, ArmError};
use super::names;
use super::operation::Operation;
use super::vaults::Vault;
use super::wire::Input;
use super::{Azure, AzureError, RequestContext, auth};
use crate::counts::{Counter, OK, UNKNOWN};
use crate::http::bearer::bearer_token;
use crate::http::body::{self as http_body, BodyError};
use crate::http::host;

/// Well above the largest body of the service, a backup.
const MAX_BODY_BYTES: usize = 1024 * 1024;
const CLOUD: &str = "azure";
const SERVICE_VERSION: &str = "1.9.1720.1";
const NETWORK_INFO: &str = "conn_type=Ipv4;addr=127.0.0.1;act_addr_fam=InterNetwork;";

/// The control planes besides the vaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ControlPlane {
    ResourceManager,
    Graph,
}

/// A request to a vault: the vault's name and the path inside the vault.
#[derive(Debug, Clone)]
pub(crate) struct VaultRequest {
    pub(crate) vault: String,
    pub(crate) path: String,
}

impl VaultRequest {
    /// Reports whether a path is one of a vault.
    pub(crate) fn has(path: &str) -> bool {
        super::Call::is_vault_path(path)
    }
}

impl Azure {
    /// Answers a request to a vault.
    pub(crate) async fn serve_vault(
        self: Arc<Self>,
        counter: &Counter,
        at: VaultRequest,
        parts: Parts,
        body: Body,
    ) -> Response {
        let Some(vault) = self.vaults.get(&at.vault) else {
            counter.count(CLOUD, UNKNOWN, UNKNOWN, "VaultNotFound");
            return self.answer(&parts, None, Err(AzureError::no_vault(&at.vault)));
        };
        let refused = |who: &str, error: AzureError| {
            counter.count(
                CLOUD,
                self.claimed_operation(&parts, &at.path),
                who,
                error.inner.unwrap_or(error.code),
            );
            self.answer(&parts, Some(&vault), Err(error))
        };
        if self.identity.auth.is_off() && is_challenge_probe(&parts, &body, &at.path) {
            return refused(UNKNOWN, AzureError::no_token());
        }
        // Before the body is read: clients send their first request without one, to learn where to
        // get a token.
        let who = match auth::authenticate(&self.identity, &parts, names::resource(&vault.name)) {
            Ok(who) => who,
            Err(error) => return refused(UNKNOWN, error),
        };
        let (call, version) = match self.authorize(&vault, &who, &parts, &at.path) {
            Ok(admitted) => admitted,
            Err(error) => return refused(&who.client_id, error),
        };
        let operation = call.operation;
        let outcome = match read(body).await {
            Ok(body) => {
                // Off the async worker, since RSA is slow.
                let (azure, vault, query) = (
                    Arc::clone(&self),
                    Arc::clone(&vault),
                    parts.uri.query().unwrap_or_default().to_owned(),
                );
                let ran = tokio::task::spawn_blocking(move || {
                    let input = Input::parse(&body)?;
                    azure.run(&RequestContext {
                        vault: &vault,
                        call: &call,
                        input: &input,
                        query: &query,
                        version,
                    })
                });
                ran.await.unwrap_or_else(|_| {
                    Err(AzureError::internal("a request made the emulator panic"))
                })
            }
            Err(error) => Err(error),
        };
        let code = outcome
            .as_ref()
            .map_or_else(|error| error.inner.unwrap_or(error.code), |_| OK);
        counter.count(CLOUD, operation.name(), &who.client_id, code);
        let empty = operation == Operation::Purge;
        let outcome = outcome.map(|body| {
            if empty {
                (StatusCode::NO_CONTENT, None)
            } else {
                (StatusCode::OK, Some(body))
            }
        });
        self.answer(&parts, Some(&vault), outcome)
    }

    /// The operation that an unauthenticated request states, for the request counts.
    fn claimed_operation(&self, parts: &Parts, path: &str) -> &'static str {
        super::Call::parse(&parts.method, path).map_or(UNKNOWN, |call| call.operation.name())
    }

    /// Answers a request to the identity platform.
    pub(crate) async fn serve_identity(
        self: Arc<Self>,
        counter: &Counter,
        base: String,
        parts: Parts,
        body: Body,
    ) -> Response {
        let body = match read(body).await {
            Ok(body) => body,
            Err(error) => {
                counter.count(CLOUD, UNKNOWN, UNKNOWN, error.code);
                return self.answer(&parts, None, Err(error));
            }
        };
        let request = Request {
            method: &parts.method,
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            base: &base,
            metadata: parts
                .headers
                .get("metadata")
                .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true")),
            body: &body,
        };
        let answer = self.identity.respond(request);
        counter.count(
            CLOUD,
            answer.operation,
            answer.caller.as_deref().unwrap_or(UNKNOWN),
            &answer.code,
        );
        let mut response = json(answer.status, &answer.body);
        let headers = response.headers_mut();
        headers.insert(
            "cache-control",
            HeaderValue::from_static("no-store, no-cache"),
        );
        headers.insert("pragma", HeaderValue::from_static("no-cache"));
        if let Ok(id) = HeaderValue::from_str(&self.guid()) {
            headers.insert("x-ms-request-id", id);
        }
        response
    }

    /// Answers a request to Resource Manager or Graph.
    pub(crate) async fn serve_management(
        self: Arc<Self>,
        counter: &Counter,
        what: ControlPlane,
        parts: Parts,
        body: Body,
    ) -> Response {
        let (operation, resources) = match what {
            ControlPlane::ResourceManager => ("ResourceManager", ARM_RESOURCES),
            ControlPlane::Graph => ("Graph", GRAPH_RESOURCES),
        };
        let who = match bearer_token(&parts.headers) {
            _ if self.identity.auth.is_off() => Ok(auth::caller_without_verification(
                &self.identity,
                &parts,
                resources,
            )),
            None => Err(ArmError::no_token()),
            Some(token) => self
                .identity
                .verify(token, resources)
                .map(auth::Principal::from)
                .map_err(|why| match why {
                    InvalidToken::Expired | InvalidToken::NotYetValid => ArmError::expired_token(),
                    _ => ArmError::invalid_token(),
                }),
        };
        let caller = who
            .as_ref()
            .map_or_else(|_| UNKNOWN.to_owned(), |who| who.client_id.clone());
        let outcome = match (who, read(body).await) {
            (Err(error), _) => Err(error),
            (Ok(_), Err(error)) => {
                counter.count(CLOUD, operation, &caller, error.code);
                return self.answer(&parts, None, Err(error));
            }
            (Ok(who), Ok(body)) => {
                let azure = Arc::clone(&self);
                let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
                let query = parts.uri.query().unwrap_or_default().to_owned();
                let ran = tokio::task::spawn_blocking(move || {
                    let request = management::Request {
                        method: &method,
                        path: &path,
                        query: &query,
                        body: &body,
                        who: &who,
                    };
                    match what {
                        ControlPlane::ResourceManager => azure.manage(request),
                        ControlPlane::Graph => azure.graph(request),
                    }
                });
                ran.await.unwrap_or_else(|_| Err(ArmError::internal()))
            }
        };
        counter.count(
            CLOUD,
            operation,
            &caller,
            outcome.as_ref().map_or_else(|error| error.code, |_| OK),
        );
        let (status, body) = match outcome {
            Ok(answer) => (answer.status, answer.body),
            Err(error) => (error.status, error.body()),
        };
        let mut response = json(status, &body);
        if body.is_null() {
            *response.body_mut() = Body::empty();
        }
        let headers = response.headers_mut();
        headers.insert("cache-control", HeaderValue::from_static("no-cache"));
        if let Ok(id) = HeaderValue::from_str(&self.guid()) {
            headers.insert("x-ms-request-id", id.clone());
            headers.insert("x-ms-correlation-request-id", id);
        }
        if status == StatusCode::UNAUTHORIZED {
            let tenant = &self.identity.directory.tenant;
            let challenge =
                format!("Bearer authorization_uri=\"https://login.windows.net/{tenant}\"");
            if let Ok(challenge) = HeaderValue::from_str(&challenge) {
                headers.insert(WWW_AUTHENTICATE, challenge);
            }
        }
        response
    }

    fn answer(
        &self,
        parts: &Parts,
        vault: Option<&Vault>,
        outcome: Result<(StatusCode, Option<Value>), AzureError>,
    ) -> Response {
        // A managed HSM answers a request without a token without a body.
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
        put("x-ms-request-id", &self.guid());
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
fn is_challenge_probe(parts: &Parts, body: &Body, path: &str) -> bool {
    !parts.headers.contains_key(AUTHORIZATION)
        && body.is_end_stream()
        && super::Call::parse(&parts.method, path).is_ok_and(|call| call.operation.has_body())
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

async fn read(body: Body) -> Result<Bytes, AzureError> {
    http_body::read(body, MAX_BODY_BYTES)
        .await
        .map_err(|unread| match unread {
            BodyError::TooLarge => AzureError::too_large(MAX_BODY_BYTES),
            BodyError::Broken => AzureError::bad_parameter("The request body ended too early."),
        })
}

fn json(status: StatusCode, body: &Value) -> Response {
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
