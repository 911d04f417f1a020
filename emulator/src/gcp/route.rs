//! Which requests are Google's.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::request::Parts;

use super::admin::is_admin_path;
use super::admin::service::AdminExchange;
use super::identity::Identity;
use super::identity::service::IdentityExchange;
use super::{Gcp, transcode};
use crate::http::host::{METADATA_HOST, Target};
use crate::pipeline::Pipeline;

/// Host of Cloud KMS.
const CLOUD_KMS_HOST: &str = "cloudkms.googleapis.com";
/// Host of the IAM API.
const IAM_HOST: &str = "iam.googleapis.com";
/// Hosts of the token endpoints and the metadata server.
const IDENTITY_HOSTS: &[&str] = &[
    "oauth2.googleapis.com",
    "www.googleapis.com",
    "accounts.google.com",
    "metadata.google.internal",
    "metadata",
];

/// A service of Google.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// Cloud KMS, by gRPC or REST.
    Kms,
    /// The IAM API for service accounts.
    Admin,
    /// The token endpoint and the metadata server.
    Identity,
}

impl Route {
    /// The service that a host of Google's names.
    pub(crate) fn by_host(target: &Target<'_>) -> Option<Self> {
        let name = target.name();
        // Clients first check for a metadata server at its root.
        let flavored = target.has_header("metadata-flavor");
        if IDENTITY_HOSTS.contains(&name)
            || (flavored && (name == METADATA_HOST || target.path() == "/"))
        {
            return Some(Self::Identity);
        }
        match name {
            CLOUD_KMS_HOST => Some(Self::Kms),
            IAM_HOST => Some(Self::Admin),
            _ => None,
        }
    }

    /// The service that a path on any other host names.
    pub(crate) fn by_path(target: &Target<'_>) -> Option<Self> {
        let path = target.path();
        if is_admin_path(path) {
            Some(Self::Admin)
        } else if is_grpc(target.parts()) || path.starts_with("/v1/projects/") {
            Some(Self::Kms)
        } else if Identity::is_identity_path(&target.parts().method, path) {
            Some(Self::Identity)
        } else {
            None
        }
    }

    /// Answers a request. `grpc` are the gRPC services, which REST is transcoded to.
    pub(crate) async fn serve(
        self,
        gcp: Arc<Gcp>,
        grpc: Router,
        pipeline: &Pipeline,
        parts: Parts,
        body: Body,
    ) -> Response {
        match self {
            Self::Kms if is_grpc(&parts) => {
                let request = http::Request::from_parts(parts, body);
                match tower::ServiceExt::oneshot(grpc, request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            }
            Self::Kms => transcode::serve(grpc, parts, body).await,
            Self::Admin => {
                let exchange = AdminExchange::new(gcp);
                pipeline.serve(exchange, parts, body).await
            }
            Self::Identity => {
                let exchange = IdentityExchange::new(gcp);
                pipeline.serve(exchange, parts, body).await
            }
        }
    }
}

/// Reports whether a request is a gRPC call.
fn is_grpc(parts: &Parts) -> bool {
    parts
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}
