//! Accepts connections and serves a router on them, over plain TCP or TLS. The loop owns its
//! connections and closes them when it is dropped, which `axum::serve` does not do.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::http::connection::Connection;

/// A bound listener and its address, with the port resolved.
pub(crate) type BoundListener = (TcpListener, SocketAddr);

/// Timeouts of connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadlines {
    /// Until the first byte, and until the TLS handshake is complete.
    pub(crate) handshake: Duration,
    /// Until a request's headers are complete, from the end of the previous request.
    pub(crate) headers: Duration,
    /// Without any data from the client. Longer than any request takes, including an RSA rotation.
    pub(crate) idle: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            headers: Duration::from_secs(60),
            idle: Duration::from_secs(300),
        }
    }
}

/// Maximum time for running requests after the emulator is stopped.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause when file descriptors run out; other connections may close meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What is served on every connection.
#[derive(Clone)]
pub(crate) struct ServedRouter {
    pub(crate) router: Router,
    pub(crate) deadlines: Deadlines,
    pub(crate) stop: CancellationToken,
}

/// Serves until `served.stop` is cancelled, then finishes running requests. A connection is
/// accepted when `room` has a free slot.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    served: ServedRouter,
    room: Arc<Semaphore>,
) {
    let stop = served.stop.clone();
    let mut connections = JoinSet::new();
    let accept = async || {
        // Fails only if the semaphore is closed, which never happens.
        let place = Arc::clone(&room).acquire_owned().await.ok();
        listener.accept().await.map(|(stream, _)| (stream, place))
    };
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept() => match accepted {
                Ok((stream, place)) => {
                    // Responses are small; without this they wait for the client's delayed ACK.
                    let _ = stream.set_nodelay(true);
                    let serving = connection(stream, tls.clone(), served.clone());
                    connections.spawn(async move {
                        serving.await;
                        drop(place);
                    });
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
    if tokio::time::timeout(SHUTDOWN_TIMEOUT, drained)
        .await
        .is_err()
    {
        tracing::warn!("requests still under way after {SHUTDOWN_TIMEOUT:?} are cut off");
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, served: ServedRouter) {
    let mut first = [0];
    let speaks = tokio::time::timeout(served.deadlines.handshake, stream.peek(&mut first));
    if !matches!(
        served.stop.run_until_cancelled(speaks).await,
        Some(Ok(Ok(1)))
    ) {
        return;
    }
    let client = match stream.peer_addr() {
        Ok(peer) => Connection::from(peer),
        Err(_) => Connection::default(),
    };
    let stream = client.stream(stream);
    match tls {
        None => log_end(http(stream, client, served).await),
        Some(acceptor) => over_tls(stream, client, acceptor, served).await,
    }
}

/// Serves on a stream that starts with a TLS handshake. `client` is the connection below it.
pub(crate) async fn over_tls<S>(
    stream: S,
    client: Connection,
    acceptor: TlsAcceptor,
    served: ServedRouter,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match accept(stream, acceptor, &served).await {
        Ok(stream) => log_end(http(stream, client, served).await),
        Err(error) => {
            tracing::debug!(%error, "TLS handshake failed; does the client trust our CA?")
        }
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn log_end(served: Result<(), BoxError>) {
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended");
    }
}

async fn accept<S>(
    stream: S,
    acceptor: TlsAcceptor,
    served: &ServedRouter,
) -> io::Result<tokio_rustls::server::TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    tokio::select! {
        () = served.stop.cancelled() => Err(io::Error::other("the emulator stops")),
        accepted = tokio::time::timeout(served.deadlines.handshake, acceptor.accept(stream)) => accepted?,
    }
}

/// Detects HTTP/1.1 or HTTP/2, which gRPC needs, by the first bytes.
async fn http<S>(stream: S, client: Connection, served: ServedRouter) -> Result<(), BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let ServedRouter {
        router,
        deadlines,
        stop,
    } = served;
    let service = TowerToHyperService::new(router);
    let service = service_fn(|mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(client.clone());
        service.call(request)
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(deadlines.headers);
    let mut stream = TimeoutStream::new(stream);
    stream.set_read_timeout(Some(deadlines.idle));
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(Box::pin(stream)), service);
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        // In this order, so that what is ready is written before a request ends the connection.
        biased;
        done = serving.as_mut() => return done,
        () = client.ended() => return Ok(()),
        () = stop.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        biased;
        done = serving => done,
        () = client.ended() => Ok(()),
    }
}

/// File descriptors that are not for client connections: listeners, files, and the admin port's
/// connections.
const RESERVED_DESCRIPTORS: u64 = 64;
/// Maximum number of connections of the admin port.
pub(crate) const ADMIN_CONNECTIONS: usize = 24;
/// Maximum number of connections if the system sets no limit.
const MAX_CONNECTIONS: u64 = 100_000;

/// Connection slots of all ports but the admin port, which stays reachable when all slots are
/// taken.
pub(crate) fn connection_slots() -> Arc<Semaphore> {
    #[cfg(unix)]
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    #[cfg(not(unix))]
    let limit = None;
    let places = limit
        .unwrap_or(MAX_CONNECTIONS)
        .saturating_sub(RESERVED_DESCRIPTORS)
        .clamp(8, MAX_CONNECTIONS);
    Arc::new(Semaphore::new(
        usize::try_from(places).unwrap_or(usize::MAX),
    ))
}

#[cfg(test)]
mod tests {
    use axum::routing::post;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const SHORT: Duration = Duration::from_millis(100);
    /// For timeouts that a test does not exercise.
    const NEVER: Duration = Duration::from_secs(3600);

    /// What a client receives after sending `sent`, until the connection closes.
    async fn until_the_end(deadlines: Deadlines, sent: &[u8]) -> String {
        let (address, _room) = serving(deadlines, 8).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let mut answer = Vec::new();
        // A reset closes the connection as well.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn serving(
        deadlines: Deadlines,
        places: usize,
    ) -> (std::net::SocketAddr, Arc<Semaphore>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let room = Arc::new(Semaphore::new(places));
        let router = Router::new().route("/", post(async |body: String| body));
        let served = ServedRouter {
            router,
            deadlines,
            stop: CancellationToken::new(),
        };
        tokio::spawn(serve(listener, None, served, Arc::clone(&room)));
        (address, room)
    }

    fn never() -> Deadlines {
        Deadlines {
            handshake: NEVER,
            headers: NEVER,
            idle: NEVER,
        }
    }

    #[tokio::test]
    async fn idle_and_partial_requests_are_disconnected() {
        let first_byte = Deadlines {
            handshake: SHORT,
            ..never()
        };
        assert_eq!(until_the_end(first_byte, b"").await, "");
        let headers = Deadlines {
            headers: SHORT,
            ..never()
        };
        until_the_end(headers, b"POST / HTTP/1.1\r\nhost: localhost\r\nx-am").await;
        let silence = Deadlines {
            idle: SHORT,
            ..never()
        };
        until_the_end(
            silence,
            b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{",
        )
        .await;
        until_the_end(silence, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        // Between two requests.
        let request = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\nhi";
        let answer = until_the_end(headers, request).await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("hi"),
            "{answer}"
        );
    }

    #[tokio::test]
    async fn connection_waits_for_a_free_slot() {
        let (address, room) = serving(never(), 1).await;
        let first = TcpStream::connect(address).await.unwrap();
        while room.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let mut second = TcpStream::connect(address).await.unwrap();
        second
            .write_all(b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi")
            .await
            .unwrap();
        let mut answer = String::new();
        let early = tokio::time::timeout(SHORT, second.read_to_string(&mut answer)).await;
        assert!(
            early.is_err(),
            "it was served beside the one that holds the only place"
        );
        drop(first);
        second.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("hi"), "{answer}");
    }
}
