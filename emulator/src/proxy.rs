//! A proxy for the vendors' own host names: `CONNECT kmslab.vault.azure.net:443` is answered by the
//! emulator itself, over TLS with a certificate of its CA, so that unmodified programs reach it
//! with no entry in the hosts file. Every other name is refused.
//!
//! Plain HTTP to the instance metadata service's address comes in absolute form, and is answered,
//! too.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::hosts;
use crate::server::{self, Served};

/// Names that are answered, as a certificate has them: `*` is one label.
pub(crate) const NAMES: &[&str] = &[
    "*.vault.azure.net",
    "*.managedhsm.azure.net",
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
pub(crate) fn router(fronts: Served, tls: TlsAcceptor, room: Arc<Semaphore>) -> Router {
    Router::new().fallback(move |request: Request<Body>| {
        let (fronts, tls, room) = (fronts.clone(), tls.clone(), Arc::clone(&room));
        async move { handle(request, fronts, tls, room).await }
    })
}

async fn handle(
    request: Request<Body>,
    fronts: Served,
    tls: TlsAcceptor,
    room: Arc<Semaphore>,
) -> Response {
    let host = match hosts::named(request.uri(), request.headers()) {
        Ok(host) => host,
        Err(reason) => return text(StatusCode::BAD_REQUEST, format!("bad request: {reason}\n")),
    };
    if request.method() != Method::CONNECT {
        return match request.uri().host() {
            Some(_) if METADATA.contains(&host.as_str()) => fronts
                .router
                .oneshot(request)
                .await
                .unwrap_or_else(|never| match never {}),
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
            Ok(stream) => {
                // The connection that it was has given its place back. Who waits longest gets the
                // next one, so there is never more than a listener's worth without.
                let _place = room.acquire_owned().await;
                server::over_tls(TokioIo::new(stream), tls, fronts).await;
            }
            Err(error) => tracing::debug!(%error, "a client of the proxy went away"),
        }
    });
    Response::new(Body::empty())
}

/// Whether a name is one of ours.
fn answered(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    NAMES.iter().any(|name| match name.strip_prefix('*') {
        Some(suffix) => host
            .strip_suffix(suffix)
            .is_some_and(|label| !label.is_empty() && !label.contains('.')),
        None => *name == host,
    })
}

fn refused(host: &str) -> Response {
    tracing::debug!(host, "the proxy answers for the vendors' KMS names only");
    text(
        StatusCode::FORBIDDEN,
        format!("the emulator's proxy does not answer for {host}\n"),
    )
}

fn text(status: StatusCode, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use kmslab_keycore::{Clock as _, SystemClock};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::server::Deadlines;
    use crate::tls::Tls;

    #[tokio::test]
    async fn a_proxied_connection_has_a_place_until_it_ends() {
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let tls = Tls::new(None, localhost, &[], NAMES, SystemClock.now()).unwrap();
        let served = |router| Served {
            router,
            deadlines: Deadlines::default(),
            stop: CancellationToken::new(),
        };
        let (room, fronts) = (
            Arc::new(Semaphore::new(4)),
            Router::new().fallback(async || "ok"),
        );
        let router = router(served(fronts), tls.acceptor.clone(), Arc::clone(&room));
        let listener = tokio::net::TcpListener::bind((localhost, 0)).await.unwrap();
        let proxy = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(server::serve(
            listener,
            None,
            served(router),
            Arc::clone(&room),
        ));

        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let ca = reqwest::Certificate::from_pem(tls.ca_pem.as_bytes()).unwrap();
        let proxy = reqwest::Proxy::all(proxy).unwrap();
        let client = reqwest::Client::builder()
            .tls_certs_only([ca])
            .proxy(proxy)
            .build()
            .unwrap();
        let ask = async || {
            client
                .get("https://a.vault.azure.net/")
                .send()
                .await
                .unwrap()
                .text()
                .await
                .unwrap()
        };
        assert_eq!(ask().await, "ok");
        // One is the listener's, for whoever comes next; that of the request for the tunnel comes
        // back.
        while room.available_permits() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(ask().await, "ok");
        assert_eq!(
            room.available_permits(),
            2,
            "the client keeps its connection"
        );
        drop(client);
        while room.available_permits() < 3 {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn only_the_vendors_names_are_answered() {
        for host in [
            "abc.vault.azure.net",
            "ABC.Vault.Azure.Net",
            "login.microsoftonline.com",
        ] {
            assert!(answered(host), "{host}");
        }
        for host in [
            "vault.azure.net",
            "a.b.vault.azure.net",
            "abc.vault.azure.net.evil.example",
            "example.com",
            "",
        ] {
            assert!(!answered(host), "{host}");
        }
    }
}
