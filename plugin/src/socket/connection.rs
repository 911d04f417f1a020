//! Accepted connections that close at once when the plugin is killed, as those of a killed process
//! do.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::Stream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use crate::unsupported::{ConnectionInspector, UnsupportedServices};

/// A listener that can be closed while the server polls it.
#[derive(Debug, Clone)]
pub(crate) struct CloseableListener(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// `None` once closed.
    listener: Option<UnixListener>,
    waker: Option<Waker>,
}

impl CloseableListener {
    pub(crate) fn new(listener: UnixListener) -> Self {
        Self(Arc::new(Mutex::new(State {
            listener: Some(listener),
            waker: None,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts new connections from another listener; existing ones stay.
    pub(crate) fn replace(&self, listener: UnixListener) {
        let mut state = self.state();
        // A closed listener stays closed.
        if state.listener.is_some() {
            state.listener = Some(listener);
            if let Some(waker) = state.waker.take() {
                waker.wake();
            }
        }
    }

    /// From here on connections are refused.
    pub(crate) fn close(&self) {
        let closed = std::mem::take(&mut *self.state());
        drop(closed.listener);
        if let Some(waker) = closed.waker {
            waker.wake();
        }
    }
}

/// The stream of accepted connections. It ends when the listener is closed.
#[derive(Debug)]
pub(crate) struct ConnectionStream {
    listener: CloseableListener,
    killed: CancellationToken,
    unsupported: UnsupportedServices,
}

impl ConnectionStream {
    pub(crate) fn new(
        listener: CloseableListener,
        killed: CancellationToken,
        unsupported: UnsupportedServices,
    ) -> Self {
        Self {
            listener,
            killed,
            unsupported,
        }
    }
}

impl Stream for ConnectionStream {
    type Item = io::Result<Connection>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.listener.state();
        let Some(listener) = &state.listener else {
            return Poll::Ready(None);
        };
        match listener.poll_accept(cx) {
            Poll::Ready(accepted) => Poll::Ready(Some(accepted.map(|(stream, _)| Connection {
                stream,
                watch: ConnectionInspector::new(self.unsupported.clone()),
                killed: Box::pin(self.killed.clone().cancelled_owned()),
            }))),
            Poll::Pending => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

pub(crate) struct Connection {
    stream: UnixStream,
    watch: ConnectionInspector,
    killed: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Connection {
    fn alive(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.killed.as_mut().poll(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.alive(cx)?;
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.watch.inspect(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.alive(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
