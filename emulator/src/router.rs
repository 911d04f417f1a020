//! Routing: host and path decide which front end answers a request.
//!
//! Vendors' host names decide if the client uses them, through the proxy or a hosts file. On any
//! other name `POST /` is AWS, gRPC and `/v1/projects/` are Google, the identity platforms have
//! paths of their own, and a first path segment before `keys` is a vault.

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
use crate::azure::service::{ControlPlane, VaultRequest};
use crate::counts::Counter;
use crate::gcp::Gcp;
use crate::gcp::identity::Identity as GcpIdentity;
use crate::gcp::service as gcp;
use crate::http::drain::{self, SharedBody};
use crate::http::host::{host, without_port};
use crate::keytable::KeyRow;

/// Hosts of Microsoft's identity platform.
const LOGIN_HOSTS: &[&str] = &[
    "login.microsoftonline.com",
    "login.windows.net",
    "login.microsoft.com",
    "sts.windows.net",
];
/// Host of Azure Resource Manager.
const MANAGEMENT_HOST: &str = "management.azure.com";
/// Host of Microsoft Graph.
const GRAPH_HOST: &str = "graph.microsoft.com";
/// Address of the instance metadata services of Azure and Google.
const METADATA_HOST: &str = "169.254.169.254";
/// Host of Cloud KMS.
const CLOUD_KMS_HOST: &str = "cloudkms.googleapis.com";
/// Host of Google's IAM API.
const IAM_HOST: &str = "iam.googleapis.com";
/// Hosts of Google's token endpoints and metadata server.
const GOOGLE_HOSTS: &[&str] = &[
    "oauth2.googleapis.com",
    "www.googleapis.com",
    "accounts.google.com",
    "metadata.google.internal",
    "metadata",
];

/// The front ends and what they share.
#[derive(Debug, Clone)]
pub(crate) struct Services {
    pub(crate) aws: Arc<AwsService>,
    pub(crate) azure: Arc<Azure>,
    pub(crate) gcp: Arc<Gcp>,
    /// The gRPC services of Google.
    pub(crate) grpc: Router,
    pub(crate) counter: Arc<Counter>,
}

impl Services {
    /// Lists all keys of all clouds with their versions, without key material.
    pub(crate) fn key_table(&self) -> Vec<KeyRow> {
        let mut rows = self.aws.aws.key_table();
        rows.extend(self.azure.key_table());
        rows.extend(self.gcp.key_table());
        rows
    }
}

/// A router that passes every request to one handler, so that unknown paths get a vendor's error as
/// well.
pub(crate) fn router(services: Services) -> Router {
    Router::new().fallback(handle).with_state(services)
}

async fn handle(State(services): State<Services>, request: http::Request<Body>) -> Response {
    let (mut parts, body) = request.into_parts();
    let waits = drain::expects_continue(&parts.headers);
    let body = SharedBody::new(body);
    // HTTP/2 has it in the URI; signatures cover it as this header.
    if let Some(authority) = parts
        .uri
        .authority()
        .filter(|_| !parts.headers.contains_key(HOST))
        && let Ok(value) = HeaderValue::from_str(authority.as_str())
    {
        parts.headers.insert(HOST, value);
    }
    let response = respond(services, parts, body.reader()).await;
    if !waits {
        body.drain().await;
    }
    response
}

async fn respond(services: Services, parts: Parts, body: Body) -> Response {
    let counter = &*services.counter;
    match destination(&parts) {
        Destination::Aws => aws::answer(&services.aws, parts, body).await,
        Destination::Identity => {
            let base = format!("https://{}", host(&parts));
            services
                .azure
                .serve_identity(counter, base, parts, body)
                .await
        }
        Destination::Management(what) => {
            services
                .azure
                .serve_management(counter, what, parts, body)
                .await
        }
        Destination::GcpAdmin => {
            gcp::serve_admin(Arc::clone(&services.gcp), counter, parts, body).await
        }
        Destination::Gcp => gcp::serve(services.grpc.clone(), parts, body).await,
        Destination::GcpIdentity => {
            gcp::serve_identity(&services.gcp.identity, counter, parts, body).await
        }
        Destination::Vault(at) => services.azure.serve_vault(counter, at, parts, body).await,
    }
}

enum Destination {
    Aws,
    Identity,
    Management(ControlPlane),
    Vault(VaultRequest),
    Gcp,
    GcpAdmin,
    GcpIdentity,
}

fn destination(parts: &Parts) -> Destination {
    let (host, path) = (host(parts), parts.uri.path());
    let name = without_port(&host);
    // Google's clients first check for a metadata server at its root.
    let flavored = parts.headers.contains_key("metadata-flavor");
    if GOOGLE_HOSTS.contains(&name) || (flavored && (name == METADATA_HOST || path == "/")) {
        return Destination::GcpIdentity;
    }
    if LOGIN_HOSTS.contains(&name) || name == METADATA_HOST {
        return Destination::Identity;
    }
    match name {
        CLOUD_KMS_HOST => return Destination::Gcp,
        IAM_HOST => return Destination::GcpAdmin,
        MANAGEMENT_HOST => return Destination::Management(ControlPlane::ResourceManager),
        GRAPH_HOST => return Destination::Management(ControlPlane::Graph),
        _ => {}
    }
    if let Some(vault) = vault_at(name) {
        return Destination::Vault(VaultRequest {
            vault: vault.to_owned(),
            path: path.to_owned(),
        });
    }
    if parts.headers.contains_key("x-amz-target") || path == "/" {
        return Destination::Aws;
    }
    if gcp::is_iam_path(path) {
        return Destination::GcpAdmin;
    }
    if gcp::is_grpc(parts) || path.starts_with("/v1/projects/") {
        return Destination::Gcp;
    }
    if GcpIdentity::is_identity_path(&parts.method, path) {
        return Destination::GcpIdentity;
    }
    if Identity::is_identity_path(path) {
        return Destination::Identity;
    }
    match path.trim_start_matches('/').split_once('/') {
        Some((vault, rest)) if VaultRequest::has(rest) => Destination::Vault(VaultRequest {
            vault: vault.to_owned(),
            path: format!("/{rest}"),
        }),
        _ => Destination::Aws,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(host: &str, path: &str, target: bool) -> String {
        let mut request = http::Request::builder().uri(path).header(HOST, host);
        if target {
            request = request.header("x-amz-target", "TrentService.ListKeys");
        }
        match destination(&request.body(()).unwrap().into_parts().0) {
            Destination::Aws => "aws".into(),
            Destination::Identity => "identity".into(),
            Destination::Management(what) => format!("{what:?}"),
            Destination::Vault(VaultRequest { vault, path }) => format!("{vault} {path}"),
            Destination::Gcp => "gcp".into(),
            Destination::GcpAdmin => "gcp admin".into(),
            Destination::GcpIdentity => "gcp identity".into(),
        }
    }

    #[test]
    fn host_and_path_select_the_front_end() {
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
            destination(&ping.body(()).unwrap().into_parts().0),
            Destination::GcpIdentity
        ));
    }
}
