//! Where a cloud's calls go and for what: what their errors are told with.

use std::time::Duration;

use super::KekError;

/// Of one key.
#[derive(Debug)]
pub(super) struct Origin {
    /// As configured.
    pub(super) key: String,
    pub(super) endpoint: String,
    /// The deadline of one call.
    pub(super) timeout: Duration,
}

/// What kind of call failed, where the same answer means another thing for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    Sealing,
    Opening,
}

impl Origin {
    /// No answer within the call's own deadline.
    pub(super) fn too_late(&self) -> KekError {
        KekError::Unreachable {
            endpoint: self.endpoint.clone(),
            detail: format!("nothing within {:?}", self.timeout),
        }
    }
}
