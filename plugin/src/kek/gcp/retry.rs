//! Which answers of the cloud are followed by another attempt.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use google_cloud_gax::error::Error;
use google_cloud_gax::error::rpc::Code;
use google_cloud_gax::exponential_backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use google_cloud_gax::retry_policy::{Aip194Strict, RetryPolicy};
use google_cloud_gax::retry_result::RetryResult;
use google_cloud_gax::retry_state::RetryState;

use crate::kek::context::{BACKOFF, MAX_ATTEMPTS};

/// The pauses before further attempts.
pub(super) fn backoff() -> ExponentialBackoff {
    ExponentialBackoffBuilder::new()
        .with_initial_delay(BACKOFF.0)
        .with_maximum_delay(BACKOFF.1)
        .clamp()
}

/// Repeats what passes with time, and counts the repetitions, which the SDK exposes nowhere else.
///
/// AIP-194 repeats UNAVAILABLE only. Cloud KMS' quota is a number of requests a minute, and Encrypt
/// and Decrypt change nothing, so that RESOURCE_EXHAUSTED, faults of the service and timeouts are
/// worth another attempt too, as the AWS and Azure SDKs do it.
#[derive(Debug)]
pub(super) struct Retries {
    /// Incremented for each repetition.
    pub(super) counter: Arc<AtomicU64>,
}

impl RetryPolicy for Retries {
    fn on_error(&self, state: &RetryState, error: Error) -> RetryResult {
        let decision = if state.idempotent && passes(&error) {
            RetryResult::Continue(error)
        } else {
            Aip194Strict.on_error(state, error)
        };
        let decision = match decision {
            RetryResult::Continue(error) if state.attempt_count >= MAX_ATTEMPTS => {
                RetryResult::Exhausted(error)
            }
            decision => decision,
        };
        if decision.is_continue() {
            self.counter.fetch_add(1, Ordering::Relaxed);
        }
        decision
    }
}

fn passes(error: &Error) -> bool {
    if error.is_timeout() {
        return true;
    }
    if let Some(status) = error.status() {
        return matches!(
            status.code,
            Code::ResourceExhausted
                | Code::Internal
                | Code::Unknown
                | Code::Aborted
                | Code::DeadlineExceeded
        );
    }
    matches!(error.http_status_code(), Some(429 | 500..=599))
}

#[cfg(test)]
mod tests {
    use google_cloud_gax::error::rpc::Status;

    use super::*;

    fn decide(code: Code, state: &RetryState) -> (RetryResult, u64) {
        let retries = Retries {
            counter: Arc::default(),
        };
        let error = Error::service(Status::default().set_code(code));
        let decision = retries.on_error(state, error);
        (decision, retries.counter.load(Ordering::Relaxed))
    }

    #[test]
    fn what_passes_with_time_is_tried_again() {
        let first = RetryState::new(true).set_attempt_count(1_u32);
        for code in [
            Code::ResourceExhausted,
            Code::Unavailable,
            Code::Internal,
            Code::DeadlineExceeded,
        ] {
            let (decision, counted) = decide(code, &first);
            assert!(decision.is_continue(), "{code:?}");
            assert_eq!(counted, 1, "{code:?}");
        }
        for code in [
            Code::PermissionDenied,
            Code::FailedPrecondition,
            Code::NotFound,
            Code::InvalidArgument,
        ] {
            let (decision, counted) = decide(code, &first);
            assert!(decision.is_permanent(), "{code:?}");
            assert_eq!(counted, 0, "{code:?}");
        }
    }

    #[test]
    fn attempts_are_limited() {
        let last = RetryState::new(true).set_attempt_count(MAX_ATTEMPTS);
        let (decision, counted) = decide(Code::ResourceExhausted, &last);
        assert!(decision.is_exhausted());
        assert_eq!(counted, 0);
    }

    #[test]
    fn requests_that_change_something_are_not_repeated() {
        let change = RetryState::new(false).set_attempt_count(1_u32);
        let (decision, _) = decide(Code::Internal, &change);
        assert!(decision.is_permanent());
    }
}
