//! Context of calls to the cloud that their errors include.

use std::time::Duration;

use super::KekError;

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
