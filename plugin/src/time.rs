//! The only way the plugin reads a clock or sleeps, so that a virtual clock can stand in for the
//! real one.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A monotonic clock, and sleepers on it.
pub trait Timer: Send + Sync + fmt::Debug {
    /// Time since an arbitrary origin; never goes back.
    fn now(&self) -> Duration;
    /// A new sleeper, for one task that works, waits, works, waits.
    fn ticker(&self) -> Box<dyn Ticker>;
}

/// One task's sleep. Between two waits its owner is busy: a virtual clock that woke it does not
/// move on until the owner waits again or drops the ticker.
pub trait Ticker: Send {
    /// Ends when `duration` has passed. Dropping the future ends the wait early; the owner then
    /// counts as busy.
    fn wait(&mut self, duration: Duration) -> BoxFuture<'_, ()>;
}

/// The real clock.
#[derive(Debug)]
pub struct TokioTimer {
    origin: tokio::time::Instant,
}

impl TokioTimer {
    /// A clock whose origin is now.
    pub fn new() -> Self {
        Self {
            origin: tokio::time::Instant::now(),
        }
    }
}

impl Default for TokioTimer {
    fn default() -> Self {
        Self::new()
    }
}

impl Timer for TokioTimer {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn ticker(&self) -> Box<dyn Ticker> {
        Box::new(TokioTicker)
    }
}

struct TokioTicker;

impl Ticker for TokioTicker {
    fn wait(&mut self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}
