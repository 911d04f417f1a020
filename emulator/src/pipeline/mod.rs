//! The steps of every request, whatever its cloud: authenticate, read the body, authorize, run the
//! operation, count it and encode the response. What applies to all requests attaches here.

mod execute;

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;

pub(crate) use execute::Cost;
use execute::{contain_panic, execute};

use crate::counts::{Counter, OK, UNKNOWN};
use crate::http::body::{self, BodyError};

/// Labels of a request in the request counts.
#[derive(Debug, Clone)]
pub(crate) struct Labels {
    pub(crate) operation: Cow<'static, str>,
    pub(crate) caller: Cow<'static, str>,
}

impl Default for Labels {
    fn default() -> Self {
        Self {
            operation: UNKNOWN.into(),
            caller: UNKNOWN.into(),
        }
    }
}

/// An error that the pipeline can create and count.
pub(crate) trait Failure: Sized {
    /// The error of a body that could not be read. `limit` is the maximum length in bytes.
    fn unread(error: BodyError, limit: usize) -> Self;

    /// The error of an operation that panicked, which is a bug of the emulator.
    fn panicked() -> Self;

    /// Error code in the request counts.
    fn code(&self) -> Cow<'_, str>;
}

/// A request and the front end that answers it.
pub(crate) trait Exchange: Send + 'static {
    /// Cloud in the request counts.
    const CLOUD: &'static str;
    /// Maximum length of a body in bytes.
    const MAX_BODY_BYTES: usize;
    /// An accepted request, with all that running it needs.
    type Request: Send + 'static;
    /// The result of a request.
    type Output: Send + 'static;
    /// The error of a request.
    type Error: Failure + Send + 'static;

    /// Checks what can be checked before the body is read: clients may send a request without one,
    /// to learn where to get a token.
    fn admit(&mut self, parts: &Parts, body: &Body, labels: &mut Labels)
    -> Result<(), Self::Error>;

    /// Completes authentication and authorization with the body, and parses it.
    fn accept(
        &mut self,
        parts: &Arc<Parts>,
        body: Bytes,
        labels: &mut Labels,
    ) -> Result<Self::Request, Self::Error>;

    /// Where the request runs.
    fn cost(&self, _request: &Self::Request) -> Cost {
        Cost::Blocking
    }

    /// Runs the operation.
    fn run(request: Self::Request) -> Result<Self::Output, Self::Error>;

    /// Outcome of a finished request in the request counts. May set labels that are known only now.
    fn code(_output: &Self::Output, _labels: &mut Labels) -> Cow<'static, str> {
        OK.into()
    }

    /// Encodes the response in the vendor's protocol.
    fn encode(&self, parts: &Parts, outcome: Result<Self::Output, Self::Error>) -> Response;
}

/// What all requests have in common.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pipeline {
    pub(crate) counter: Arc<Counter>,
}

impl Pipeline {
    /// Answers a request.
    pub(crate) async fn serve<X: Exchange>(
        &self,
        mut exchange: X,
        parts: Parts,
        body: Body,
    ) -> Response {
        let parts = Arc::new(parts);
        let mut labels = Labels::default();
        let outcome = outcome(&mut exchange, &parts, body, &mut labels).await;
        let code = match &outcome {
            Ok(output) => X::code(output, &mut labels),
            Err(error) => error.code(),
        };
        self.count(X::CLOUD, &labels, &code);
        exchange.encode(&parts, outcome)
    }

    /// Runs a call whose message another layer has decoded. `accepted` is the call, or why it was
    /// rejected.
    pub(crate) async fn call<T, E>(
        &self,
        cloud: &'static str,
        labels: Labels,
        cost: Cost,
        accepted: Result<impl FnOnce() -> Result<T, E> + Send + 'static, E>,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: Failure + Send + 'static,
    {
        let outcome = match accepted {
            Ok(work) => execute(cost, work).await,
            Err(error) => Err(error),
        };
        let code = outcome
            .as_ref()
            .map_or_else(|error| error.code(), |_| OK.into());
        self.count(cloud, &labels, &code);
        outcome
    }

    fn count(&self, cloud: &'static str, labels: &Labels, code: &str) {
        self.counter
            .count(cloud, &labels.operation, &labels.caller, code);
    }
}

async fn outcome<X: Exchange>(
    exchange: &mut X,
    parts: &Arc<Parts>,
    body: Body,
    labels: &mut Labels,
) -> Result<X::Output, X::Error> {
    contain_panic(|| exchange.admit(parts, &body, labels))?;
    let body = body::read(body, X::MAX_BODY_BYTES)
        .await
        .map_err(|error| X::Error::unread(error, X::MAX_BODY_BYTES))?;
    let request = contain_panic(|| exchange.accept(parts, body, labels))?;
    execute(exchange.cost(&request), move || X::run(request)).await
}
