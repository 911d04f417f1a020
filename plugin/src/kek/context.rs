//! Context of calls to the cloud that their errors include.

use std::time::Duration;

use super::KekError;

/// Maximum attempts of one request, within the call's timeout. Of every second request failing,
/// four attempts fail together once in sixteen.
pub(super) const MAX_ATTEMPTS: u32 = 4;
/// Pause before another attempt, minimum and maximum: kube-apiserver waits 3 s, less than the SDKs'
/// defaults of up to 20 s.
pub(super) const BACKOFF: (Duration, Duration) =
    (Duration::from_millis(50), Duration::from_millis(400));

/// Context of the calls of one key.
#[derive(Debug)]
pub(super) struct CallContext {
    /// The key as configured.
    pub(super) key: String,
    pub(super) endpoint: String,
    /// Timeout of a call.
    pub(super) timeout: Duration,
}

/// The kind of call that failed; the same response can mean different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallKind {
    Sealing,
    Opening,
}

impl CallContext {
    /// No response within the timeout.
    pub(super) fn timeout_error(&self) -> KekError {
        KekError::no_answer_within(self.timeout, self.endpoint.clone())
    }
}
