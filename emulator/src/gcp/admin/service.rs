//! The HTTP side of the IAM API.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use kmslab_emulator_api::Cloud;
use serde_json::Value;

use super::super::auth::{self, Caller};
use super::super::identity;
use super::super::{Gcp, GcpError, transcode};
use super::{Request, operation};
use crate::pipeline::{Call, Exchange, Labels};

/// A service account has a few hundred bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// A request to the IAM API.
#[derive(Debug)]
pub(crate) struct AdminExchange {
    gcp: Arc<Gcp>,
    /// Set once the caller is authenticated.
    caller: Option<Caller>,
}

impl AdminExchange {
    pub(crate) fn new(gcp: Arc<Gcp>) -> Self {
        Self { gcp, caller: None }
    }
}

/// An authenticated request.
pub(crate) struct AuthenticatedRequest {
    gcp: Arc<Gcp>,
    caller: Caller,
    parts: Arc<Parts>,
    body: Bytes,
}

impl Call for AuthenticatedRequest {
    const CLOUD: Cloud = Cloud::Gcp;
    type Output = Value;
    type Error = GcpError;

    fn run(&mut self) -> Result<Value, GcpError> {
        self.gcp.administer(Request {
            method: &self.parts.method,
            path: self.parts.uri.path(),
            body: &self.body,
            caller: &self.caller,
        })
    }
}

impl Exchange for AdminExchange {
    const MAX_BODY_BYTES: usize = MAX_BODY_BYTES;
    type Call = AuthenticatedRequest;

    fn admit(&mut self, parts: &Parts, _: &Body, labels: &mut Labels) -> Result<(), GcpError> {
        let operation = operation(&parts.method, parts.uri.path());
        labels.operation = operation.into();
        let caller = auth::authenticate(
            &self.gcp.identity,
            &parts.headers,
            &format!("google.iam.admin.v1.IAM.{operation}"),
            identity::IAM,
        )?;
        labels.caller = caller.email.clone().into();
        self.caller = Some(caller);
        Ok(())
    }

    fn accept(
        &mut self,
        parts: &Arc<Parts>,
        body: Bytes,
        _: &mut Labels,
    ) -> Result<AuthenticatedRequest, GcpError> {
        let caller = self.caller.take();
        Ok(AuthenticatedRequest {
            gcp: Arc::clone(&self.gcp),
            caller: caller.ok_or_else(|| GcpError::internal("the caller is not known"))?,
            parts: Arc::clone(parts),
            body,
        })
    }

    fn encode(&self, _: &Parts, _: &str, outcome: Result<Value, GcpError>) -> Response {
        match outcome {
            Ok(body) => transcode::response(StatusCode::OK, &body),
            Err(error) => transcode::error_response(&error),
        }
    }
}
