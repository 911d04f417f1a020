//! Draining of request bodies after an early error response. A client that is still sending its
//! body when the response comes sees a broken stream: curl 7.88 fails that way over HTTP/2. Small
//! bodies are therefore read to the end before the response is sent.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http::header::EXPECT;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// Maximum number of bytes to drain: the largest body that any service accepts. A client that sends
/// more gets the response while sending.
const MAX_DRAINED_BYTES: usize = 1024 * 1024;
/// Maximum time to drain.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether the client waits for 100 Continue, which an error response must not cause.
pub(crate) fn expects_continue(headers: &HeaderMap) -> bool {
    headers.contains_key(EXPECT)
}

/// A request body shared between the handler, which reads it, and [`SharedBody::drain`], which
/// reads the rest.
#[derive(Clone)]
pub(crate) struct SharedBody(Arc<Mutex<Body>>);

impl SharedBody {
    pub(crate) fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(body)))
    }

    /// A body that reads from the shared one.
    pub(crate) fn reader(&self) -> Body {
        Body::new(self.clone())
    }

    /// Reads the rest of the body if it is small and arrives in time.
    pub(crate) async fn drain(self) {
        if self.is_end_stream() {
            return;
        }
        if self.size_hint().lower() > MAX_DRAINED_BYTES as u64 {
            return;
        }
        // Too long, too late or broken: the response is sent anyway.
        let _ = tokio::time::timeout(
            DRAIN_TIMEOUT,
            Limited::new(self, MAX_DRAINED_BYTES).collect(),
        )
        .await;
    }

    fn with<T>(&self, work: impl FnOnce(Pin<&mut Body>) -> T) -> T {
        work(Pin::new(
            &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

impl HttpBody for SharedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.with(|body| body.poll_frame(context))
    }

    fn is_end_stream(&self) -> bool {
        self.with(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.with(|body| body.size_hint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn small_remainder_is_drained_and_large_one_is_not() {
        for (length, left) in [
            (0, 0),
            (1000, 0),
            (MAX_DRAINED_BYTES + 1, MAX_DRAINED_BYTES + 1),
        ] {
            let shared = SharedBody::new(Body::from(vec![7; length]));
            let rest = shared.reader();
            shared.drain().await;
            assert_eq!(
                rest.collect().await.unwrap().to_bytes().len(),
                left,
                "{length}"
            );
        }
    }
}
