//! A proxy for the vendors' host names. The emulator itself answers `CONNECT
//! kmslab.vault.azure.net:443` over TLS, with a certificate of its CA, so that unmodified programs
//! reach it without a hosts file. All other names are rejected.
//!
//! Plain HTTP requests in absolute form are answered for the metadata services.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::http::connection::Connection;
use crate::http::host;
use crate::server::{self, ServedRouter};

/// Names in the certificate; `*` matches one label.
pub(crate) const CERTIFICATE_NAMES: &[&str] = &[
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
/// Hosts of plain HTTP requests: the metadata services of Azure and Google.
const METADATA_HOSTS: &[&str] = &["169.254.169.254", "metadata.google.internal", "metadata"];

/// The router of the proxy's port.
pub(crate) fn router(services: ServedRouter, tls: TlsAcceptor, room: Arc<Semaphore>) -> Router {
    Router::new().fallback(move |request: Request<Body>| {
        let (services, tls, room) = (services.clone(), tls.clone(), Arc::clone(&room));
        async move { handle(request, services, tls, room).await }
    })
}

async fn handle(
    request: Request<Body>,
    services: ServedRouter,
    tls: TlsAcceptor,
    room: Arc<Semaphore>,
) -> Response {
    let host = match host::requested_host(request.uri(), request.headers()) {
        Ok(host) => host.to_owned(),
        Err(reason) => return text(StatusCode::BAD_REQUEST, format!("bad request: {reason}\n")),
    };
    if request.method() != Method::CONNECT {
        return match request.uri().host() {
            Some(_) if METADATA_HOSTS.contains(&host.as_str()) => services
                .router
                .oneshot(request)
                .await
                .unwrap_or_else(|never| match never {}),
            Some(_) => not_served(&host),
            None => text(
                StatusCode::BAD_REQUEST,
                "this is the emulator's proxy: set HTTPS_PROXY to its address\n".to_owned(),
            ),
        };
    }
    if !is_served(&host) || request.uri().port_u16() != Some(443) {
        return not_served(&host);
    }
    // That of the tunnel, which faults reset.
    let client = request.extensions().get().cloned();
    let client: Connection = client.unwrap_or_default();
    tokio::spawn(async move {
        match hyper::upgrade::on(request).await {
            Ok(stream) => {
                // The connection before the upgrade has released its slot. The longest waiter gets
                // the next one, so that at most one per listener runs without.
                let _place = room.acquire_owned().await;
                server::over_tls(TokioIo::new(stream), client, tls, services).await;
            }
            Err(error) => tracing::debug!(%error, "a client of the proxy went away"),
        }
    });
    Response::new(Body::empty())
}

/// Reports whether a name is served.
fn is_served(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    CERTIFICATE_NAMES
        .iter()
        .any(|name| match name.strip_prefix('*') {
            Some(suffix) => host
                .strip_suffix(suffix)
                .is_some_and(|label| !label.is_empty() && !label.contains('.')),
            None => *name == host,
        })
}

fn not_served(host: &str) -> Response {
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
    async fn proxied_connection_holds_a_slot_until_it_closes() {
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let tls = Tls::new(None, localhost, &[], CERTIFICATE_NAMES, SystemClock.now()).unwrap();
        let served = |router| ServedRouter {
            router,
            deadlines: Deadlines::default(),
            stop: CancellationToken::new(),
        };
        let (room, services) = (
            Arc::new(Semaphore::new(4)),
            Router::new().fallback(async || "ok"),
        );
        let router = router(served(services), tls.acceptor.clone(), Arc::clone(&room));
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
        // One slot belongs to the listener, for the next client; that of the tunnel's request is
        // released.
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
    fn proxy_serves_only_the_vendors_names() {
        for host in [
            "abc.vault.azure.net",
            "ABC.Vault.Azure.Net",
            "login.microsoftonline.com",
        ] {
            assert!(is_served(host), "{host}");
        }
        for host in [
            "vault.azure.net",
            "a.b.vault.azure.net",
            "abc.vault.azure.net.evil.example",
            "example.com",
            "",
        ] {
            assert!(!is_served(host), "{host}");
        }
    }
}
