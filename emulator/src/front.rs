//! One port for every cloud: which front a request is for, from its host and path.
//!
//! Vendors' host names say it, where a client comes by them (through the proxy, or a hosts file).
//! On any other name `POST /` is AWS, gRPC and `/v1/projects/` are Google's, paths of the identity
//! platforms are theirs, and a first segment before `keys` is a vault.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::HeaderValue;
use http::header::HOST;
use http::request::Parts;

use crate::aws::service::{self as aws, AwsService};
use crate::azure::Azure;
use crate::azure::identity::Identity;
use crate::azure::names::vault_at;
use crate::azure::service::{InVault, Plane};
use crate::counts::Counter;
use crate::drain::{self, SharedBody};
use crate::gcp::Gcp;
use crate::gcp::identity::Identity as GcpIdentity;
use crate::gcp::service as gcp;
use crate::keytable::KeyRow;

/// The hosts of Microsoft's identity platform.
const LOGIN: &[&str] = &[
    "login.microsoftonline.com",
    "login.windows.net",
    "login.microsoft.com",
    "sts.windows.net",
];
/// Azure Resource Manager.
const MANAGEMENT: &str = "management.azure.com";
/// Microsoft Graph.
const GRAPH: &str = "graph.microsoft.com";
/// The instance metadata service, of Azure's machines and of Google's.
const METADATA: &str = "169.254.169.254";
/// Cloud KMS.
const CLOUD_KMS: &str = "cloudkms.googleapis.com";
/// Google's IAM API.
const IAM: &str = "iam.googleapis.com";
/// Google's token endpoints, and its metadata server.
const GOOGLE: &[&str] = &[
    "oauth2.googleapis.com",
    "www.googleapis.com",
    "accounts.google.com",
    "metadata.google.internal",
    "metadata",
];

/// What every front needs.
#[derive(Debug, Clone)]
pub(crate) struct Fronts {
    pub(crate) aws: Arc<AwsService>,
    pub(crate) azure: Arc<Azure>,
    pub(crate) gcp: Arc<Gcp>,
    /// Cloud KMS over gRPC.
    pub(crate) grpc: Router,
    pub(crate) counter: Arc<Counter>,
}

impl Fronts {
    /// Every key of every cloud, with its versions. No material.
    pub(crate) fn key_table(&self) -> Vec<KeyRow> {
        let mut rows = self.aws.aws.key_table();
        rows.extend(self.azure.key_table());
        rows.extend(self.gcp.key_table());
        rows
    }
}

/// Every method and path goes to the same handler: what no front knows gets a vendor's error, too.
pub(crate) fn router(fronts: Fronts) -> Router {
    Router::new().fallback(handle).with_state(fronts)
}

async fn handle(State(fronts): State<Fronts>, request: http::Request<Body>) -> Response {
    let (mut parts, body) = request.into_parts();
    let waits = drain::waits(&parts.headers);
    let body = SharedBody::new(body);
    // HTTP/2 has it in the URI; whoever signed the request signed it as this header.
    if let Some(authority) = parts
        .uri
        .authority()
        .filter(|_| !parts.headers.contains_key(HOST))
        && let Ok(value) = HeaderValue::from_str(authority.as_str())
    {
        parts.headers.insert(HOST, value);
    }
    let response = answer(fronts, parts, body.reader()).await;
    if !waits {
        body.drain().await;
    }
    response
}

async fn answer(fronts: Fronts, parts: Parts, body: Body) -> Response {
    let counter = &*fronts.counter;
    match front(&parts) {
        Front::Aws => aws::answer(&fronts.aws, parts, body).await,
        Front::Identity => {
            let base = format!("https://{}", host(&parts));
            fronts
                .azure
                .serve_identity(counter, base, parts, body)
                .await
        }
        Front::Management(what) => {
            fronts
                .azure
                .serve_management(counter, what, parts, body)
                .await
        }
        Front::GcpAdmin => gcp::serve_admin(Arc::clone(&fronts.gcp), counter, parts, body).await,
        Front::Gcp => gcp::serve(fronts.grpc.clone(), parts, body).await,
        Front::GcpIdentity => gcp::serve_identity(&fronts.gcp.identity, counter, parts, body).await,
        Front::Vault(at) => fronts.azure.serve_vault(counter, at, parts, body).await,
    }
}

enum Front {
    Aws,
    Identity,
    Management(Plane),
    Vault(InVault),
    Gcp,
    GcpAdmin,
    GcpIdentity,
}

fn front(parts: &Parts) -> Front {
    let (host, path) = (host(parts), parts.uri.path());
    let name = name(&host);
    // Google's clients first look whether there is a metadata server, at its root.
    let flavored = parts.headers.contains_key("metadata-flavor");
    if GOOGLE.contains(&name) || (flavored && (name == METADATA || path == "/")) {
        return Front::GcpIdentity;
    }
    if LOGIN.contains(&name) || name == METADATA {
        return Front::Identity;
    }
    match name {
        CLOUD_KMS => return Front::Gcp,
        IAM => return Front::GcpAdmin,
        MANAGEMENT => return Front::Management(Plane::ResourceManager),
        GRAPH => return Front::Management(Plane::Graph),
        _ => {}
    }
    if let Some(vault) = vault_at(name) {
        return Front::Vault(InVault {
            vault: vault.to_owned(),
            path: path.to_owned(),
        });
    }
    if parts.headers.contains_key("x-amz-target") || path == "/" {
        return Front::Aws;
    }
    if gcp::is_of_iam(path) {
        return Front::GcpAdmin;
    }
    if gcp::is_grpc(parts) || path.starts_with("/v1/projects/") {
        return Front::Gcp;
    }
    if GcpIdentity::has(&parts.method, path) {
        return Front::GcpIdentity;
    }
    if Identity::has(path) {
        return Front::Identity;
    }
    match path.trim_start_matches('/').split_once('/') {
        Some((vault, rest)) if InVault::has(rest) => Front::Vault(InVault {
            vault: vault.to_owned(),
            path: format!("/{rest}"),
        }),
        _ => Front::Aws,
    }
}

/// The host that a request is for, in lower case, with the port where it has one.
pub(crate) fn host(parts: &Parts) -> String {
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    let header = || {
        parts
            .headers
            .get(HOST)
            .and_then(|value| value.to_str().ok())
    };
    authority
        .or_else(header)
        .unwrap_or_default()
        .to_ascii_lowercase()
}

/// A host without its port.
pub(crate) fn name(host: &str) -> &str {
    host.rsplit_once(':').map_or(host, |(name, _)| name)
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
            Front::Gcp => "gcp".into(),
            Front::GcpAdmin => "gcp admin".into(),
            Front::GcpIdentity => "gcp identity".into(),
        }
    }

    #[test]
    fn host_and_path_say_whose_request_it_is() {
        for (host, path, wanted) in [
            ("localhost:7600", "/", "aws"),
            ("localhost:7600", "/unknown/path", "aws"),
            ("kms.us-east-1.amazonaws.com", "/", "aws"),
            (
                "abc.vault.azure.net",
                "/keys/k/?api-version=7.6",
                "abc /keys/k/",
            ),
            (
                "abc.managedhsm.azure.net",
                "/keys/k/?api-version=7.6",
                "abc.managedhsm /keys/k/",
            ),
            ("ABC.vault.azure.net:443", "//keys", "abc //keys"),
            (
                "localhost:7643",
                "/abc/keys/k//wrapkey",
                "abc /keys/k//wrapkey",
            ),
            ("localhost:7643", "/abc/deletedkeys", "abc /deletedkeys"),
            ("localhost:7643", "/abc/secrets/s", "aws"),
            ("login.microsoftonline.com", "/anything", "identity"),
            ("localhost:7643", "/t/oauth2/v2.0/token", "identity"),
            (
                "localhost:7643",
                "/common/discovery/instance?x=y",
                "identity",
            ),
            ("management.azure.com", "/subscriptions", "ResourceManager"),
            ("graph.microsoft.com", "/v1.0/me", "Graph"),
            (
                "169.254.169.254",
                "/metadata/identity/oauth2/token",
                "identity",
            ),
            (
                "localhost:7643",
                "/metadata/identity/oauth2/token",
                "identity",
            ),
            (
                "cloudkms.googleapis.com",
                "/google.cloud.kms.v1.KeyManagementService/Encrypt",
                "gcp",
            ),
            ("127.0.0.1", "/v1/projects/p/locations/l/keyRings", "gcp"),
            (
                "127.0.0.1",
                "/v1/projects/p/serviceAccounts/a/keys",
                "gcp admin",
            ),
            (
                "iam.googleapis.com",
                "/v1/projects/p/serviceAccounts",
                "gcp admin",
            ),
            ("oauth2.googleapis.com", "/token", "gcp identity"),
            (
                "localhost:7600",
                "/computeMetadata/v1/project/project-id",
                "gcp identity",
            ),
            ("metadata.google.internal", "/", "gcp identity"),
        ] {
            assert_eq!(of(host, path, false), wanted, "{host} {path}");
        }
        assert_eq!(of("localhost", "/abc/keys/k", true), "aws");
        let ping = http::Request::get("/")
            .header(HOST, "127.0.0.1:7600")
            .header("metadata-flavor", "Google");
        assert!(matches!(
            front(&ping.body(()).unwrap().into_parts().0),
            Front::GcpIdentity
        ));
    }
}
