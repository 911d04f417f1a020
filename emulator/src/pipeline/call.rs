//! Accepted requests.

use std::borrow::Cow;

use kmslab_emulator_api::{Cloud, Wrong};
use kmslab_keycore::VersionUse;

use super::audit::Audited;
use super::faults::{Rejection, Subject};
use super::{Cost, Failure, Labels};
use crate::counts::OK;

/// An authenticated and parsed request, with all that running it needs.
pub(crate) trait Call: Send + 'static {
    /// Cloud in the request counts.
    const CLOUD: Cloud;
    /// The result.
    type Output: Send + 'static;
    /// The error.
    type Error: Failure + Send + 'static;

    /// Where the call runs.
    fn cost(&self) -> Cost {
        Cost::Blocking
    }

    /// Runs the operation.
    fn run(&mut self) -> Result<Self::Output, Self::Error>;

    /// What the audit trail has of the call. `uses` are the versions whose material it used; there
    /// is no outcome if it did not run.
    fn audited(
        &self,
        _uses: &[VersionUse],
        _outcome: Option<Result<&Self::Output, &Self::Error>>,
    ) -> Audited {
        Audited::default()
    }

    /// The key and the version that the call uses, for faults that select by them.
    fn subject(&self) -> Option<Subject> {
        None
    }

    /// The response to a call that a fault rejects; `None` if calls of this kind cannot be rejected
    /// so.
    fn rejected(&self, _rejection: Rejection<'_>) -> Option<Result<Self::Output, Self::Error>> {
        None
    }

    /// Makes a response wrong. Returns whether it changed.
    fn corrupt(_output: &mut Self::Output, _wrong: Wrong) -> bool {
        false
    }

    /// Outcome of a finished call in the request counts. May set labels that are known only now.
    fn code(_output: &Self::Output, _labels: &mut Labels) -> Cow<'static, str> {
        OK.into()
    }
}
