//! Which requests are those of AWS.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::request::Parts;

use super::query::{QueryExchange, is_query};
use super::service::{AwsService, JsonExchange};
use crate::http::host::Target;
use crate::pipeline::Pipeline;

/// The protocols of AWS. Requests on no other vendor's host and path are answered in the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// The JSON protocol of KMS.
    Json,
    /// The Query protocol of STS and IAM.
    Query,
}

impl Route {
    /// The protocol of a request on a host that is no other vendor's.
    pub(crate) fn by_path(target: &Target<'_>) -> Option<Self> {
        (target.has_header("x-amz-target") || target.path() == "/").then(|| Self::of(target))
    }

    /// The protocol of any request.
    pub(crate) fn of(target: &Target<'_>) -> Self {
        match is_query(target.parts()) {
            true => Self::Query,
            false => Self::Json,
        }
    }

    /// Answers a request.
    pub(crate) async fn serve(
        self,
        service: Arc<AwsService>,
        pipeline: &Pipeline,
        parts: Parts,
        body: Body,
    ) -> Response {
        match self {
            Self::Json => {
                let exchange = JsonExchange::new(service);
                pipeline.serve(exchange, parts, body).await
            }
            Self::Query => {
                let exchange = QueryExchange;
                pipeline.serve(exchange, parts, body).await
            }
        }
    }
}
