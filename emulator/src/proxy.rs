//! A proxy for the vendors' own host names: `CONNECT kmslab.vault.azure.net:443` is answered by the emulator itself, over TLS with
//! a certificate of its CA, so that unmodified programs reach it with no entry in the hosts file. Every other name is refused.
//!
//! Plain HTTP to the instance metadata service's address comes in absolute form, and is answered, too.

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::hosts;
use crate::server::{self, Served};

/// Names that are answered, as a certificate has them: `*` is one label.
pub(crate) const NAMES: &[&str] = &[
    "*.vault.azure.net",
    "login.microsoftonline.com",
    "login.windows.net",
    "login.microsoft.com",
    "sts.windows.net",
    "management.azure.com",
    "graph.microsoft.com",
    "cloudkms.googleapis.com",
    "iam.googleapis.com",
    "oauth2.googleapis.com",
    "www.googleapis.com",
    "accounts.google.com",
];
/// What is asked in clear: the metadata services of Azure's and Google's machines.
const METADATA: &[&str] = &["169.254.169.254", "metadata.google.internal", "metadata"];

/// What the proxy's port serves.
pub(crate) fn router(fronts: Served, tls: TlsAcceptor) -> Router {
    Router::new().fallback(move |request: Request<Body>| {
        let (fronts, tls) = (fronts.clone(), tls.clone());
        async move { handle(request, fronts, tls).await }
    })
}

async fn handle(request: Request<Body>, fronts: Served, tls: TlsAcceptor) -> Response {
    let host = match hosts::named(request.uri(), request.headers()) {
        Ok(host) => host,
        Err(reason) => return text(StatusCode::BAD_REQUEST, format!("bad request: {reason}\n")),
    };
    if request.method() != Method::CONNECT {
        return match request.uri().host() {
            Some(_) if METADATA.contains(&host.as_str()) => {
                fronts.router.oneshot(request).await.unwrap_or_else(|never| match never {})
            }
            Some(_) => refused(&host),
            None => text(
                StatusCode::BAD_REQUEST,
                "this is the emulator's proxy: set HTTPS_PROXY to its address\n".to_owned(),
            ),
        };
    }
    if !answered(&host) || request.uri().port_u16() != Some(443) {
        return refused(&host);
    }
    tokio::spawn(async move {
        match hyper::upgrade::on(request).await {
            Ok(stream) => server::over_tls(TokioIo::new(stream), tls, fronts).await,
            Err(error) => tracing::debug!(%error, "a client of the proxy went away"),
        }
    });
    Response::new(Body::empty())
}

/// Whether a name is one of ours.
fn answered(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    NAMES.iter().any(|name| match name.strip_prefix('*') {
        Some(suffix) => host.strip_suffix(suffix).is_some_and(|label| !label.is_empty() && !label.contains('.')),
        None => *name == host,
    })
}

fn refused(host: &str) -> Response {
    tracing::debug!(host, "the proxy answers for the vendors' KMS names only");
    text(StatusCode::FORBIDDEN, format!("the emulator's proxy does not answer for {host}\n"))
}

fn text(status: StatusCode, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_vendors_names_are_answered() {
        for host in ["abc.vault.azure.net", "ABC.Vault.Azure.Net", "login.microsoftonline.com"] {
            assert!(answered(host), "{host}");
        }
        for host in ["vault.azure.net", "a.b.vault.azure.net", "abc.vault.azure.net.evil.example", "example.com", ""] {
            assert!(!answered(host), "{host}");
        }
    }
}
