//! The HTTP side of Resource Manager and Graph.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::WWW_AUTHENTICATE;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use kmslab_emulator_api::Cloud;

use super::super::Azure;
use super::super::auth::{Principal, caller_without_verification};
use super::super::identity::{ARM_RESOURCES, GRAPH_RESOURCES, InvalidToken};
use super::super::service::{MAX_BODY_BYTES, json};
use super::{ArmError, ManagementResponse, Request};
use crate::http::bearer::bearer_token;
use crate::http::body::BodyError;
use crate::pipeline::{Call, Exchange, Failure, Labels};

/// The control planes besides the vaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ControlPlane {
    ResourceManager,
    Graph,
}

/// A request to a control plane.
#[derive(Debug)]
pub(crate) struct ManagementExchange {
    azure: Arc<Azure>,
    plane: ControlPlane,
    /// Set once the caller is authenticated.
    caller: Option<Principal>,
}

impl ManagementExchange {
    pub(crate) fn new(azure: Arc<Azure>, plane: ControlPlane) -> Self {
        Self {
            azure,
            plane,
            caller: None,
        }
    }

    fn authenticate(&self, parts: &Parts) -> Result<Principal, ArmError> {
        let identity = &self.azure.identity;
        let resources = match self.plane {
            ControlPlane::ResourceManager => ARM_RESOURCES,
            ControlPlane::Graph => GRAPH_RESOURCES,
        };
        if identity.auth.is_off() {
            return Ok(caller_without_verification(identity, parts, resources));
        }
        let token = bearer_token(&parts.headers).ok_or_else(ArmError::no_token)?;
        match identity.verify(token, resources) {
            Ok(claims) => Ok(claims.into()),
            Err(InvalidToken::Expired | InvalidToken::NotYetValid) => {
                Err(ArmError::expired_token())
            }
            Err(
                InvalidToken::Signature(_) | InvalidToken::Issuer(_) | InvalidToken::Audience(_),
            ) => Err(ArmError::invalid_token()),
        }
    }
}

/// An authenticated request.
pub(crate) struct AuthenticatedRequest {
    azure: Arc<Azure>,
    plane: ControlPlane,
    caller: Principal,
    parts: Arc<Parts>,
    body: Bytes,
}

impl Call for AuthenticatedRequest {
    const CLOUD: Cloud = Cloud::Azure;
    type Output = ManagementResponse;
    type Error = ArmError;

    fn run(&mut self) -> Result<ManagementResponse, ArmError> {
        let (azure, parts) = (&self.azure, &self.parts);
        let inner = Request {
            method: &parts.method,
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            body: &self.body,
            who: &self.caller,
        };
        match self.plane {
            ControlPlane::ResourceManager => azure.manage(inner),
            ControlPlane::Graph => azure.graph(inner),
        }
    }
}

impl Exchange for ManagementExchange {
    const MAX_BODY_BYTES: usize = MAX_BODY_BYTES;
    type Call = AuthenticatedRequest;

    fn admit(&mut self, parts: &Parts, _: &Body, labels: &mut Labels) -> Result<(), ArmError> {
        labels.operation = match self.plane {
            ControlPlane::ResourceManager => "ResourceManager".into(),
            ControlPlane::Graph => "Graph".into(),
        };
        let caller = self.authenticate(parts)?;
        labels.caller = caller.client_id.clone().into();
        self.caller = Some(caller);
        Ok(())
    }

    fn accept(
        &mut self,
        parts: &Arc<Parts>,
        body: Bytes,
        _: &mut Labels,
    ) -> Result<AuthenticatedRequest, ArmError> {
        Ok(AuthenticatedRequest {
            azure: Arc::clone(&self.azure),
            plane: self.plane,
            caller: self.caller.take().ok_or_else(ArmError::no_token)?,
            parts: Arc::clone(parts),
            body,
        })
    }

    fn encode(
        &self,
        _: &Parts,
        request_id: &str,
        outcome: Result<ManagementResponse, ArmError>,
    ) -> Response {
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
        if let Ok(id) = HeaderValue::from_str(request_id) {
            headers.insert("x-ms-request-id", id.clone());
            headers.insert("x-ms-correlation-request-id", id);
        }
        if status == StatusCode::UNAUTHORIZED {
            let tenant = &self.azure.identity.directory.tenant;
            let challenge =
                format!("Bearer authorization_uri=\"https://login.windows.net/{tenant}\"");
            if let Ok(challenge) = HeaderValue::from_str(&challenge) {
                headers.insert(WWW_AUTHENTICATE, challenge);
            }
        }
        response
    }
}

impl Failure for ArmError {
    fn unread(unread: BodyError, limit: usize) -> Self {
        match unread {
            BodyError::TooLarge => Self::too_large(limit),
            BodyError::Broken => Self::bad_request("The request body ended too early."),
        }
    }

    fn panicked() -> Self {
        Self::internal()
    }

    fn code(&self) -> Cow<'_, str> {
        self.code.into()
    }
}
