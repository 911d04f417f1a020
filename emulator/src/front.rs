//! One port for every cloud: which front a request is for, from its host and path.
//!
//! Vendors' host names say it, where a client comes by them (through the proxy, or a hosts file). On any other name `POST /` is AWS,
//! paths of Microsoft's identity platform are its, and a first segment before `keys` is a vault.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::header::HOST;
use http::request::Parts;

use crate::aws::service::{self as aws, AwsService};
use crate::azure::Azure;
use crate::azure::identity::Identity;
use crate::azure::names::VAULT_SUFFIX;
use crate::azure::service::{InVault, Plane};
use crate::keytable::KeyRow;

/// The hosts of Microsoft's identity platform.
const LOGIN: &[&str] = &["login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net"];
/// Azure Resource Manager.
const MANAGEMENT: &str = "management.azure.com";
/// Microsoft Graph.
const GRAPH: &str = "graph.microsoft.com";
/// The instance metadata service.
const METADATA: &str = "169.254.169.254";

/// What every front needs.
#[derive(Debug, Clone)]
pub(crate) struct Fronts {
    pub(crate) aws: Arc<AwsService>,
    pub(crate) azure: Arc<Azure>,
}

impl Fronts {
    /// Every key of every cloud, with its versions. No material.
    pub(crate) fn key_table(&self) -> Vec<KeyRow> {
        let mut rows = self.aws.aws.key_table();
        rows.extend(self.azure.key_table());
        rows
    }
}

/// Every method and path goes to the same handler: what no front knows gets a vendor's error, too.
pub(crate) fn router(fronts: Fronts) -> Router {
    Router::new().fallback(handle).with_state(fronts)
}

async fn handle(State(fronts): State<Fronts>, request: http::Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let counter = &fronts.aws.counter;
    match front(&parts) {
        Front::Aws => aws::answer(&fronts.aws, parts, body).await,
        Front::Identity => {
            let base = format!("https://{}", host(&parts));
            fronts.azure.serve_identity(counter, base, parts, body).await
        }
        Front::Management(what) => fronts.azure.serve_management(counter, what, parts, body).await,
        Front::Vault(at) => fronts.azure.serve_vault(counter, at, parts, body).await,
    }
}

enum Front {
    Aws,
    Identity,
    Management(Plane),
    Vault(InVault),
}

fn front(parts: &Parts) -> Front {
    let (host, path) = (host(parts), parts.uri.path());
    let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
    if LOGIN.contains(&name) || name == METADATA {
        return Front::Identity;
    }
    match name {
        MANAGEMENT => return Front::Management(Plane::ResourceManager),
        GRAPH => return Front::Management(Plane::Graph),
        _ => {}
    }
    if let Some(vault) = name.strip_suffix(VAULT_SUFFIX) {
        return Front::Vault(InVault { vault: vault.to_owned(), path: path.to_owned() });
    }
    if parts.headers.contains_key("x-amz-target") || path == "/" {
        return Front::Aws;
    }
    if Identity::has(path) {
        return Front::Identity;
    }
    match path.trim_start_matches('/').split_once('/') {
        Some((vault, rest)) if InVault::has(rest) => {
            Front::Vault(InVault { vault: vault.to_owned(), path: format!("/{rest}") })
        }
        _ => Front::Aws,
    }
}

/// The host that a request is for, in lower case, with the port where it has one.
pub(crate) fn host(parts: &Parts) -> String {
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    let header = || parts.headers.get(HOST).and_then(|value| value.to_str().ok());
    authority.or_else(header).unwrap_or_default().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(host: &str, path: &str, target: bool) -> String {
        let mut request = http::Request::builder().uri(path).header(HOST, host);
        if target {
            request = request.header("x-amz-target", "TrentService.ListKeys");
        }
        match front(&request.body(()).unwrap().into_parts().0) {
            Front::Aws => "aws".into(),
            Front::Identity => "identity".into(),
            Front::Management(what) => format!("{what:?}"),
            Front::Vault(InVault { vault, path }) => format!("{vault} {path}"),
        }
    }

    #[test]
    fn host_and_path_say_whose_request_it_is() {
        for (host, path, wanted) in [
            ("localhost:7600", "/", "aws"),
            ("localhost:7600", "/unknown/path", "aws"),
            ("kms.us-east-1.amazonaws.com", "/", "aws"),
            ("abc.vault.azure.net", "/keys/k/?api-version=7.6", "abc /keys/k/"),
            ("ABC.vault.azure.net:443", "//keys", "abc //keys"),
            ("localhost:7643", "/abc/keys/k//wrapkey", "abc /keys/k//wrapkey"),
            ("localhost:7643", "/abc/deletedkeys", "abc /deletedkeys"),
            ("localhost:7643", "/abc/secrets/s", "aws"),
            ("login.microsoftonline.com", "/anything", "identity"),
            ("localhost:7643", "/t/oauth2/v2.0/token", "identity"),
            ("localhost:7643", "/common/discovery/instance?x=y", "identity"),
            ("management.azure.com", "/subscriptions", "ResourceManager"),
            ("graph.microsoft.com", "/v1.0/me", "Graph"),
            ("169.254.169.254", "/metadata/identity/oauth2/token", "identity"),
            ("localhost:7643", "/metadata/identity/oauth2/token", "identity"),
        ] {
            assert_eq!(of(host, path, false), wanted, "{host} {path}");
        }
        assert_eq!(of("localhost", "/abc/keys/k", true), "aws");
    }
}
