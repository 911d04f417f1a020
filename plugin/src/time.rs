//! Clock and timers of the plugin, which a virtual clock can replace.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

/// A boxed future that is `Send`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A monotonic clock with timers.
pub trait Timer: Send + Sync + fmt::Debug {
    /// Time since an arbitrary origin; never decreases.
    fn now(&self) -> Duration;
    /// Creates a timer for one task.
    fn ticker(&self) -> Box<dyn Ticker>;
}

/// The timer of one task. Between two waits its owner is busy: a virtual clock does not advance
/// until the owner waits again or drops the ticker.
pub trait Ticker: Send {
    /// Resolves when `duration` has passed. Dropping the future ends the wait early.
    fn wait(&mut self, duration: Duration) -> BoxFuture<'_, ()>;
}

/// The system's monotonic clock.
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
