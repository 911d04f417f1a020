//! Accepted connections that end at once when the plugin is killed, as those of a killed process
//! do.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::Stream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use crate::unserved::{Unserved, Watch};

/// The listener, which can be closed from outside while the server polls it.
#[derive(Debug, Clone)]
pub(crate) struct Door(Arc<Mutex<(Option<UnixListener>, Option<Waker>)>>);

impl Door {
    pub(crate) fn new(listener: UnixListener) -> Self {
        Self(Arc::new(Mutex::new((Some(listener), None))))
    }

    /// New connections come through this listener instead; those that there are stay.
    pub(crate) fn replace(&self, listener: UnixListener) {
        let mut door = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A closed door stays closed.
        if door.0.is_some() {
            door.0 = Some(listener);
            if let Some(waker) = door.1.take() {
                waker.wake();
            }
        }
    }

    /// From here on connecting to the path is refused.
    pub(crate) fn close(&self) {
        let (listener, waker) =
            std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        drop(listener);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The stream of connections that the server takes; ends when the door is closed.
#[derive(Debug)]
pub(crate) struct Incoming {
    door: Door,
    killed: CancellationToken,
    unserved: Unserved,
}

impl Incoming {
    pub(crate) fn new(door: Door, killed: CancellationToken, unserved: Unserved) -> Self {
        Self {
            door,
            killed,
            unserved,
        }
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut door = self.door.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(listener) = &door.0 else {
            return Poll::Ready(None);
        };
        match listener.poll_accept(cx) {
            Poll::Ready(accepted) => Poll::Ready(Some(accepted.map(|(stream, _)| Connection {
                stream,
                watch: Watch::new(self.unserved.clone()),
                killed: Box::pin(self.killed.clone().cancelled_owned()),
            }))),
            Poll::Pending => {
                door.1 = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

pub(crate) struct Connection {
    stream: UnixStream,
    watch: Watch,
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
        self.watch.see(&buf.filled()[before..]);
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
