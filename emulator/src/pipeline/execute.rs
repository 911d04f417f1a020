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
pub(super) async fn execute<T, E>(
    cost: Cost,
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: Failure + Send + 'static,
{
    match cost {
        Cost::Inline => contain_panic(work),
        Cost::Blocking => tokio::task::spawn_blocking(move || contain_panic(work))
            .await
            .unwrap_or_else(|_| Err(E::panicked())),
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
            let outcome = execute::<(), Panicked>(cost, || panic!("a bug")).await;
            assert_eq!(outcome, Err(Panicked));
            assert_eq!(execute(cost, || Ok::<_, Panicked>(1)).await, Ok(1));
        }
    }
}
