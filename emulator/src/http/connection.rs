//! A client's connection, as the requests on it see it: faults reset or close it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// A connection, in the extensions of its requests.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connection(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// The client's address.
    peer: Option<SocketAddr>,
    ended: CancellationToken,
    reset: AtomicBool,
}

impl Connection {
    /// A connection from a client at this address.
    pub(crate) fn from(peer: SocketAddr) -> Self {
        Self(Arc::new(State {
            peer: Some(peer),
            ..State::default()
        }))
    }

    /// The client's address, if it is known.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.0.peer
    }

    /// Ends the connection by a TCP reset. The returned future never completes: it is dropped with
    /// the connection.
    pub(crate) async fn reset(&self) -> ! {
        self.0.reset.store(true, Ordering::Release);
        self.close().await
    }

    /// Ends the connection without finishing the requests on it. The returned future never
    /// completes.
    pub(crate) async fn close(&self) -> ! {
        self.0.ended.cancel();
        std::future::pending().await
    }

    /// Completes when the connection must be dropped.
    pub(crate) async fn ended(&self) {
        self.0.ended.cancelled().await;
    }

    /// A TCP stream that is reset when it is dropped, if a request asked for it.
    pub(crate) fn stream(&self, tcp: TcpStream) -> ResettableStream {
        ResettableStream {
            tcp,
            connection: self.clone(),
        }
    }
}

/// See [`Connection::stream`].
#[derive(Debug)]
pub(crate) struct ResettableStream {
    tcp: TcpStream,
    connection: Connection,
}

impl Drop for ResettableStream {
    fn drop(&mut self) {
        if self.connection.0.reset.load(Ordering::Acquire)
            && let Err(error) = self.tcp.set_zero_linger()
        {
            tracing::warn!(%error, "a fault cannot reset a connection and closes it");
        }
    }
}

impl AsyncRead for ResettableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(context, buffer)
    }
}

impl AsyncWrite for ResettableStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

/// Resets a connection in the middle of a response, in whose extensions it is.
#[derive(Debug, Clone)]
pub(crate) struct Cut(Connection);

impl Cut {
    pub(crate) fn new(connection: Connection) -> Self {
        Self(connection)
    }

    /// Replaces the body by its first half, after which the connection is reset.
    pub(crate) async fn apply(self, response: Response) -> Response {
        let (parts, body) = response.into_parts();
        let length = body.size_hint().exact();
        // Responses of the emulator are in memory and small.
        let mut whole = match body.collect().await {
            Ok(whole) => whole.to_bytes(),
            Err(_) => Bytes::new(),
        };
        whole.truncate(whole.len() / 2);
        let body = Half {
            bytes: Some(whole).filter(|bytes| !bytes.is_empty()),
            length,
            connection: self.0,
        };
        Response::from_parts(parts, Body::new(body))
    }
}

struct Half {
    bytes: Option<Bytes>,
    /// Length of the whole body, which the head states.
    length: Option<u64>,
    connection: Connection,
}

impl HttpBody for Half {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.bytes.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None => {
                // The connection is dropped in its next turn, after it has written the first half.
                self.connection.0.reset.store(true, Ordering::Release);
                self.connection.0.ended.cancel();
                Poll::Pending
            }
        }
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.length
            .map(hyper::body::SizeHint::with_exact)
            .unwrap_or_default()
    }
}
