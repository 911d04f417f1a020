//! Bodies that a refusal did not wait for. A client that is still sending its body when the answer
//! comes sees a broken stream: curl 7.88 fails so over HTTP/2. What is small is therefore read to
//! its end before the answer goes out.

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

/// Bytes that are read and dropped: the largest body that any service here takes. Whoever sends
/// more gets the answer while sending.
const MAX_DRAINED: usize = 1024 * 1024;
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether a client waits to be told to send its body, which a refusal must not tell it.
pub(crate) fn waits(headers: &HeaderMap) -> bool {
    headers.contains_key(EXPECT)
}

/// A request's body in two hands: who answers reads it, and what is left can be drained.
#[derive(Clone)]
pub(crate) struct SharedBody(Arc<Mutex<Body>>);

impl SharedBody {
    pub(crate) fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(body)))
    }

    /// The hand that reads.
    pub(crate) fn reader(&self) -> Body {
        Body::new(self.clone())
    }

    /// Reads what is left, if it is small and comes soon.
    pub(crate) async fn drain(self) {
        if self.is_end_stream() {
            return;
        }
        if self.size_hint().lower() > MAX_DRAINED as u64 {
            return;
        }
        // Too long, too late or broken: the answer goes out all the same.
        let _ = tokio::time::timeout(PATIENCE, Limited::new(self, MAX_DRAINED).collect()).await;
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
    async fn a_small_rest_is_read_and_a_large_one_is_left() {
        for (length, left) in [(0, 0), (1000, 0), (MAX_DRAINED + 1, MAX_DRAINED + 1)] {
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
