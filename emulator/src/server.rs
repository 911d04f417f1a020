//! Accepts connections and serves a router on them, in clear or over TLS. The loop owns its connections: when it is dropped, they
//! close, which `axum::serve` does not do.

use std::io;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// A client that opens a connection and says nothing holds it no longer than this.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long requests under way may take once the emulator stops.
const DRAIN: Duration = Duration::from_secs(5);
/// Out of file descriptors: others may close some meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop`, then lets requests under way finish.
pub(crate) async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, router: Router, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    // Answers are small; without this they wait for the client's delayed ACK.
                    let _ = stream.set_nodelay(true);
                    connections.spawn(connection(stream, tls.clone(), router.clone(), stop.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("requests still under way after {DRAIN:?} are cut off");
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, router: Router, stop: CancellationToken) {
    match tls {
        None => ended(http(stream, router, stop).await),
        Some(acceptor) => over_tls(stream, acceptor, router, stop).await,
    }
}

/// Serves on a stream that begins with a client's handshake.
pub(crate) async fn over_tls<S>(stream: S, acceptor: TlsAcceptor, router: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match accept(stream, acceptor, &stop).await {
        Ok(stream) => ended(http(stream, router, stop).await),
        Err(error) => tracing::debug!(%error, "TLS handshake failed; does the client trust our CA?"),
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn ended(served: Result<(), BoxError>) {
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended");
    }
}

async fn accept<S>(
    stream: S,
    acceptor: TlsAcceptor,
    stop: &CancellationToken,
) -> io::Result<tokio_rustls::server::TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    tokio::select! {
        () = stop.cancelled() => Err(io::Error::other("the emulator stops")),
        accepted = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)) => accepted?,
    }
}

/// HTTP/1.1 and HTTP/2, which gRPC needs: the first bytes tell.
async fn http<S>(stream: S, router: Router, stop: CancellationToken) -> Result<(), BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
    let builder = auto::Builder::new(TokioExecutor::new());
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        done = serving.as_mut() => return done,
        () = stop.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    serving.await
}
