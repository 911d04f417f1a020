//! Routing: host and path decide which front end answers a request.
//!
//! Vendors' host names decide if the client uses them, through the proxy or a hosts file. On any
//! other name `POST /` is AWS, gRPC and `/v1/projects/` are Google, the identity platforms have
//! paths of their own, and a first path segment before `keys` is a vault.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::HeaderValue;
use http::header::HOST;
use http::request::Parts;
use kmslab_emulator_api::KeyTable;
use kmslab_keycore::{DueChanges, KeyError};

use crate::aws::{self, service::AwsService};
use crate::azure::{self, Azure};
use crate::gcp::{self, Gcp};
use crate::http::connection::Cut;
use crate::http::drain::{self, SharedBody};
use crate::http::host::{self, Hosts, Target};
use crate::pipeline::Pipeline;

/// The front ends and what they share.
#[derive(Debug, Clone)]
pub(crate) struct Services {
    pub(crate) aws: Arc<AwsService>,
    pub(crate) azure: Arc<Azure>,
    pub(crate) gcp: Arc<Gcp>,
    /// The gRPC services of Google.
    pub(crate) grpc: Router,
    pub(crate) pipeline: Pipeline,
}

impl Services {
    /// Lists all keys of all clouds with their versions, without key material.
    pub(crate) fn key_table(&self) -> KeyTable {
        let mut rows = self.aws.aws.key_table();
        rows.extend(self.azure.key_table());
        rows.extend(self.gcp.key_table());
        KeyTable { rows }
    }

    /// Applies what is due by the lab clock to all keys, for as long as `should_continue` returns
    /// true.
    pub(crate) fn apply_due_while(&self, should_continue: &dyn Fn() -> bool) -> DueChanges {
        let mut done = self.aws.aws.core.apply_due_while(should_continue);
        done += self.azure.core.apply_due_while(should_continue);
        done += self.gcp.core.apply_due_while(should_continue);
        done
    }

    /// Ends running rotations and starts no more.
    pub(crate) fn stop(&self) {
        self.aws.aws.core.stop();
        self.azure.core.stop();
        self.gcp.core.stop();
    }

    /// Removes all keys, callers and request counts.
    pub(crate) fn reset(&self) -> Result<(), KeyError> {
        self.aws.aws.core.reset()?;
        self.azure.core.reset()?;
        self.azure.reset();
        self.gcp.core.reset()?;
        self.gcp.reset();
        self.pipeline.counter.clear();
        self.pipeline.faults.reset();
        self.pipeline.audit.reset();
        Ok(())
    }
}

/// A router that passes every request to one handler, so that unknown paths get a vendor's error as
/// well.
pub(crate) fn router(services: Services, hosts: Arc<Hosts>) -> Router {
    let front = Front { services, hosts };
    Router::new().fallback(handle).with_state(front)
}

#[derive(Clone)]
struct Front {
    services: Services,
    hosts: Arc<Hosts>,
}

async fn handle(State(front): State<Front>, request: http::Request<Body>) -> Response {
    let Front { services, hosts } = front;
    let (mut parts, body) = request.into_parts();
    let waits = drain::expects_continue(&parts.headers);
    let body = SharedBody::new(body);
    // Here and not as a layer: a layer costs two boxed futures a request.
    let refusal = host::forbidden(&hosts, &parts.uri, &parts.headers);
    // HTTP/2 has it in the URI; signatures cover it as this header.
    if let Some(authority) = parts
        .uri
        .authority()
        .filter(|_| !parts.headers.contains_key(HOST))
        && let Ok(value) = HeaderValue::from_str(authority.as_str())
    {
        parts.headers.insert(HOST, value);
    }
    let mut response = match refusal {
        Some(refusal) => refusal.into_response(),
        None => respond(services, parts, body.reader()).await,
    };
    let response = match response.extensions_mut().remove::<Cut>() {
        Some(cut) => cut.apply(response).await,
        None => response,
    };
    if !waits {
        body.drain().await;
    }
    response
}

async fn respond(services: Services, parts: Parts, body: Body) -> Response {
    let Services {
        aws,
        azure,
        gcp,
        grpc,
        pipeline,
    } = services;
    match destination(&parts) {
        Destination::Aws(route) => route.serve(aws, &pipeline, parts, body).await,
        Destination::Azure(route) => route.serve(azure, &pipeline, parts, body).await,
        Destination::Gcp(route) => route.serve(gcp, grpc, &pipeline, parts, body).await,
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Destination {
    Aws(aws::route::Route),
    Azure(azure::route::Route),
    Gcp(gcp::route::Route),
}

/// Asks each front end whether a request is its own. Host names come before paths.
fn destination(parts: &Parts) -> Destination {
    let target = Target::new(parts);
    let aws = |route: Option<aws::route::Route>| route.map(Destination::Aws);
    let azure = |route: Option<azure::route::Route>| route.map(Destination::Azure);
    let google = |route: Option<gcp::route::Route>| route.map(Destination::Gcp);
    google(gcp::route::Route::by_host(&target))
        .or_else(|| azure(azure::route::Route::by_host(&target)))
        .or_else(|| aws(aws::route::Route::by_path(&target)))
        .or_else(|| google(gcp::route::Route::by_path(&target)))
        .or_else(|| azure(azure::route::Route::by_path(&target)))
        .unwrap_or_else(|| Destination::Aws(aws::route::Route::of(&target)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::azure::service::VaultRequest;

    fn of(host: &str, path: &str, target: bool) -> String {
        let mut request = http::Request::builder().uri(path).header(HOST, host);
        if target {
            request = request.header("x-amz-target", "TrentService.ListKeys");
        }
        match destination(&request.body(()).unwrap().into_parts().0) {
            Destination::Aws(route) => format!("aws {route:?}"),
            Destination::Azure(azure::route::Route::Vault(VaultRequest { vault, path })) => {
                format!("{vault} {path}")
            }
            Destination::Azure(azure::route::Route::Identity) => "identity".into(),
            Destination::Azure(azure::route::Route::Management(plane)) => format!("{plane:?}"),
            Destination::Gcp(gcp::route::Route::Kms) => "gcp".into(),
            Destination::Gcp(gcp::route::Route::Admin) => "gcp admin".into(),
            Destination::Gcp(gcp::route::Route::Identity) => "gcp identity".into(),
        }
    }

    #[test]
    fn host_and_path_select_the_front_end() {
        for (host, path, wanted) in [
            ("localhost:7600", "/", "aws Json"),
            ("localhost:7600", "/unknown/path", "aws Json"),
            ("kms.us-east-1.amazonaws.com", "/", "aws Json"),
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
            ("localhost:7643", "/abc/secrets/s", "aws Json"),
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
        assert_eq!(of("localhost", "/abc/keys/k", true), "aws Json");
        let ping = http::Request::get("/")
            .header(HOST, "127.0.0.1:7600")
            .header("metadata-flavor", "Google");
        assert_eq!(
            destination(&ping.body(()).unwrap().into_parts().0),
            Destination::Gcp(gcp::route::Route::Identity)
        );
    }
}
