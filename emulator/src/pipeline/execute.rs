//! Running operations: off the async worker where they take long, and without letting a panic end
//! the connection.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Failure;

/// Where an operation runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cost {
    /// On the async worker: the operation takes microseconds.
    Inline,
    /// On a blocking thread: the operation may use RSA, which takes up to seconds.
    Blocking,
}

/// Runs `work`.
pub(super) async fn execute<T: Send + 'static>(
    cost: Cost,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    match cost {
        Cost::Inline => Some(work()),
        Cost::Blocking => tokio::task::spawn_blocking(work).await.ok(),
    }
}

/// Runs `work`. A panic is a bug of the emulator: the caller gets the vendor's internal error, and
/// the process keeps running.
pub(super) fn contain_panic<T, E: Failure>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        tracing::error!("a request made the emulator panic; the panic message is above");
        Err(E::panicked())
    })
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::http::body::BodyError;

    #[derive(Debug, PartialEq)]
    struct Panicked;

    impl Failure for Panicked {
        fn unread(_: BodyError, _: usize) -> Self {
            Self
        }

        fn panicked() -> Self {
            Self
        }

        fn code(&self) -> Cow<'_, str> {
            "Panicked".into()
        }
    }

    #[tokio::test]
    async fn panic_becomes_an_error_of_the_request() {
        for cost in [Cost::Inline, Cost::Blocking] {
            let work = || contain_panic::<(), Panicked>(|| panic!("a bug"));
            assert_eq!(execute(cost, work).await, Some(Err(Panicked)));
            assert_eq!(execute(cost, || 1).await, Some(1));
        }
    }
}
