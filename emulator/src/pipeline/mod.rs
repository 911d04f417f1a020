//! The steps of every request, whatever its cloud: authenticate, read the body, authorize, run the
//! operation, count it and encode the response. What applies to all requests attaches here.

pub(crate) mod audit;
mod call;
mod execute;
pub(crate) mod faults;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use http::request::Parts;
use kmslab_emulator_api::Cloud;
use kmslab_keycore::{Entropy, record_uses};

use audit::{Audit, Audited, Ended, Origin};
pub(crate) use call::Call;
pub(crate) use execute::Cost;
use execute::{contain_panic, execute};
use faults::{Applied, Ending, Faults};

use crate::counts::{CANCELLED, Counter, HANG, RESET, UNKNOWN};
use crate::http::body::{self, BodyError};
use crate::http::connection::{Connection, Cut};
use crate::ids::random_uuid;

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
    /// Maximum length of a body in bytes.
    const MAX_BODY_BYTES: usize;
    /// An accepted request.
    type Call: Call;

    /// Checks what can be checked before the body is read: clients may send a request without one,
    /// to learn where to get a token.
    fn admit(
        &mut self,
        parts: &Parts,
        body: &Body,
        labels: &mut Labels,
    ) -> Result<(), ErrorOf<Self>>;

    /// Completes authentication and authorization with the body, and parses it.
    fn accept(
        &mut self,
        parts: &Arc<Parts>,
        body: Bytes,
        labels: &mut Labels,
    ) -> Result<Self::Call, ErrorOf<Self>>;

    /// What the audit trail has of a request that was rejected before it became a call.
    fn audited(&self, _parts: &Parts, _error: &ErrorOf<Self>) -> Audited {
        Audited::default()
    }

    /// Encodes the response in the vendor's protocol.
    fn encode(&self, parts: &Parts, request_id: &str, outcome: OutcomeOf<Self>) -> Response;
}

/// The error of an exchange.
pub(crate) type ErrorOf<X> = <<X as Exchange>::Call as Call>::Error;
/// The outcome of an exchange.
pub(crate) type OutcomeOf<X> = Result<<<X as Exchange>::Call as Call>::Output, ErrorOf<X>>;

/// What all requests have in common.
#[derive(Debug, Clone)]
pub(crate) struct Pipeline {
    pub(crate) counter: Arc<Counter>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) audit: Arc<Audit>,
    /// Source of request ids.
    pub(crate) entropy: Arc<dyn Entropy>,
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
        let connection = parts.extensions.get::<Connection>();
        let origin = self.origin(&parts.headers, connection);
        let request_id = origin.request_id.clone();
        let mut labels = Labels::default();
        let accepted = accept(&mut exchange, &parts, body, &mut labels).await;
        let rejected = match &accepted {
            Err(error) if self.audit.is_on() => exchange.audited(&parts, error),
            _ => Audited::default(),
        };
        let done = self.call(labels, origin, connection, accepted, rejected);
        let Done { outcome, cut } = done.await;
        let mut response = exchange.encode(&parts, &request_id, outcome);
        if let Some(cut) = cut {
            response.extensions_mut().insert(cut);
        }
        response
    }

    /// The origin of a request, with a new request id.
    pub(crate) fn origin(&self, headers: &HeaderMap, connection: Option<&Connection>) -> Origin {
        let is_audited = self.audit.is_on();
        let user_agent = || Origin::user_agent(headers);
        Origin {
            start: is_audited.then(tokio::time::Instant::now),
            // A version 4 UUID, as the services return.
            request_id: random_uuid(self.entropy.as_ref()).to_string(),
            address: connection.and_then(Connection::peer),
            user_agent: is_audited.then(user_agent).flatten(),
        }
    }

    /// Runs a call, for front ends whose messages another layer decodes and encodes. `accepted` is
    /// the call, or why it was rejected; `rejected` is what the audit trail has in that case.
    pub(crate) async fn call<C: Call>(
        &self,
        labels: Labels,
        origin: Origin,
        connection: Option<&Connection>,
        accepted: Result<C, C::Error>,
        rejected: Audited,
    ) -> Done<C> {
        let mut counted = Counted {
            pipeline: self,
            cloud: C::CLOUD,
            labels,
            code: CANCELLED.into(),
            origin,
            audited: rejected,
            applied: Applied::default(),
        };
        let done = match accepted {
            Ok(call) if self.faults.is_armed() => {
                with_faults(&self.faults, call, connection, &mut counted).await
            }
            Ok(call) => run(call, &mut counted).await.into(),
            Err(error) => Err(error).into(),
        };
        counted.code = match &done.outcome {
            Ok(output) => C::code(output, &mut counted.labels),
            Err(error) => error.code().into_owned().into(),
        };
        done
    }
}

/// A finished call.
pub(crate) struct Done<C: Call> {
    pub(crate) outcome: Result<C::Output, C::Error>,
    /// Cuts the response, in its extensions.
    pub(crate) cut: Option<Cut>,
}

impl<C: Call> From<Result<C::Output, C::Error>> for Done<C> {
    fn from(outcome: Result<C::Output, C::Error>) -> Self {
        Self { outcome, cut: None }
    }
}

/// Counts and records a call when it is dropped, so that a call whose client leaves is counted as
/// well.
struct Counted<'a> {
    pipeline: &'a Pipeline,
    cloud: Cloud,
    labels: Labels,
    code: Cow<'static, str>,
    origin: Origin,
    audited: Audited,
    applied: Applied,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let Labels { operation, caller } = &self.labels;
        self.pipeline
            .counter
            .count(self.cloud.as_str(), operation, caller, &self.code);
        self.pipeline.audit.record(Ended {
            cloud: self.cloud,
            labels: &self.labels,
            code: &self.code,
            audited: std::mem::take(&mut self.audited),
            origin: std::mem::take(&mut self.origin),
            faults: std::mem::take(&mut self.applied).into_names(),
        });
    }
}

/// Runs a call where its cost says, and notes its keys.
async fn run<C: Call>(mut call: C, counted: &mut Counted<'_>) -> Result<C::Output, C::Error> {
    let is_audited = counted.pipeline.audit.is_on();
    let ran = execute(call.cost(), move || {
        if !is_audited {
            return (contain_panic(|| call.run()), Audited::default());
        }
        let (outcome, uses) = record_uses(|| contain_panic(|| call.run()));
        let audited =
            contain_panic::<_, C::Error>(|| Ok(call.audited(&uses, Some(outcome.as_ref()))));
        (outcome, audited.unwrap_or_default())
    });
    match ran.await {
        Some((outcome, audited)) => {
            counted.audited = audited;
            outcome
        }
        None => Err(C::Error::panicked()),
    }
}

/// Runs a call as the faults decide.
async fn with_faults<C: Call>(
    faults: &Faults,
    call: C,
    connection: Option<&Connection>,
    counted: &mut Counted<'_>,
) -> Done<C> {
    let mut decision = match contain_panic(|| Ok(faults.decide(&counted.labels, &call, connection)))
    {
        Ok(decision) => decision,
        Err(error) => return Err(error).into(),
    };
    counted.applied = decision.applied;
    if decision.ending.is_some() {
        // There will be no response of the call that could be wrong or cut.
        let unused = decision.wrong.drain(..).map(|(fault, _)| fault);
        for fault in unused.chain(decision.cut.take()) {
            faults.take_back(fault);
            counted.applied.remove(fault);
        }
    }
    // Also if the call runs later: its client may leave before.
    if !counted.applied.is_empty() && counted.pipeline.audit.is_on() {
        let outcome = match &decision.ending {
            Some(Ending::Answered(outcome)) => Some(outcome.as_ref()),
            _ => None,
        };
        let audited = contain_panic::<_, C::Error>(|| Ok(call.audited(&[], outcome)));
        counted.audited = audited.unwrap_or_default();
    }
    if !decision.delay.is_zero() {
        tokio::time::sleep(decision.delay).await;
    }
    match decision.ending {
        None => {}
        Some(Ending::Answered(outcome)) => return outcome.into(),
        Some(Ending::Reset(connection)) => {
            counted.code = RESET.into();
            connection.reset().await
        }
        Some(Ending::Hang {
            timeout,
            removed,
            connection,
        }) => {
            counted.code = HANG.into();
            let timeout = timeout.unwrap_or(Duration::MAX);
            tokio::select! {
                () = removed.cancelled() => counted.code = CANCELLED.into(),
                () = tokio::time::sleep(timeout) => connection.close().await,
            }
        }
    }
    let mut outcome = run(call, counted).await;
    for (fault, wrong) in decision.wrong {
        let changed = outcome
            .as_mut()
            .is_ok_and(|output| C::corrupt(output, wrong));
        if !changed {
            faults.take_back(fault);
            counted.applied.remove(fault);
        }
    }
    let cut = decision.cut.filter(|fault| {
        if outcome.is_err() {
            faults.take_back(*fault);
            counted.applied.remove(*fault);
        }
        outcome.is_ok()
    });
    let cut = cut.and(connection).cloned().map(Cut::new);
    Done { outcome, cut }
}

async fn accept<X: Exchange>(
    exchange: &mut X,
    parts: &Arc<Parts>,
    body: Body,
    labels: &mut Labels,
) -> Result<X::Call, ErrorOf<X>> {
    contain_panic(|| exchange.admit(parts, &body, labels))?;
    let body = body::read(body, X::MAX_BODY_BYTES)
        .await
        .map_err(|error| ErrorOf::<X>::unread(error, X::MAX_BODY_BYTES))?;
    contain_panic(|| exchange.accept(parts, body, labels))
}
