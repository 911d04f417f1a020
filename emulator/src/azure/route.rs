//! Which requests are Azure's.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::request::Parts;

use super::Azure;
use super::identity::service::IdentityExchange;
use super::identity::{Identity, LOGIN_HOSTS};
use super::management::service::{ControlPlane, ManagementExchange};
use super::names::vault_at;
use super::service::{VaultExchange, VaultRequest};
use crate::http::host::{METADATA_HOST, Target};
use crate::pipeline::Pipeline;

/// Host of Azure Resource Manager.
const MANAGEMENT_HOST: &str = "management.azure.com";
/// Host of Microsoft Graph.
const GRAPH_HOST: &str = "graph.microsoft.com";

/// A service of Azure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// The identity platform and the instance metadata service.
    Identity,
    /// A control plane.
    Management(ControlPlane),
    /// A vault.
    Vault(VaultRequest),
}

impl Route {
    /// The service that a host of Microsoft's names.
    pub(crate) fn by_host(target: &Target<'_>) -> Option<Self> {
        let name = target.name();
        if LOGIN_HOSTS.contains(&name) || name == METADATA_HOST {
            return Some(Self::Identity);
        }
        match name {
            MANAGEMENT_HOST => Some(Self::Management(ControlPlane::ResourceManager)),
            GRAPH_HOST => Some(Self::Management(ControlPlane::Graph)),
            _ => Some(Self::Vault(VaultRequest {
                vault: vault_at(name)?.to_owned(),
                path: target.path().to_owned(),
            })),
        }
    }

    /// The service that a path on any other host names. A vault's name comes before its paths.
    pub(crate) fn by_path(target: &Target<'_>) -> Option<Self> {
        let path = target.path();
        if Identity::is_identity_path(path) {
            return Some(Self::Identity);
        }
        let (vault, rest) = path.trim_start_matches('/').split_once('/')?;
        VaultRequest::has(rest).then(|| {
            Self::Vault(VaultRequest {
                vault: vault.to_owned(),
                path: format!("/{rest}"),
            })
        })
    }

    /// Answers a request.
    pub(crate) async fn serve(
        self,
        azure: Arc<Azure>,
        pipeline: &Pipeline,
        parts: Parts,
        body: Body,
    ) -> Response {
        match self {
            Self::Identity => {
                let exchange = IdentityExchange::new(azure);
                pipeline.serve(exchange, parts, body).await
            }
            Self::Management(plane) => {
                let exchange = ManagementExchange::new(azure, plane);
                pipeline.serve(exchange, parts, body).await
            }
            Self::Vault(at) => {
                let exchange = VaultExchange::new(azure, at);
                pipeline.serve(exchange, parts, body).await
            }
        }
    }
}
