//! Clocks: the system clock, a manual clock for tests, and the lab clock.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// A source of the current time.
pub trait Clock: Send + Sync + Debug {
    /// Returns the current time.
    fn now(&self) -> Timestamp;
}

/// The system clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that everybody else is given"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Why a clock was not moved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClockError {
    /// The requested time is before the current time.
    #[error("the clock is at {now} and never goes back; {requested} is earlier")]
    Backwards {
        /// The time that the clock shows.
        now: Timestamp,
        /// The time that was requested.
        requested: Timestamp,
    },
    /// The result would be after the year 9999.
    #[error("the clock cannot show a time after the year 9999")]
    OutOfRange,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn checked_later(now: Timestamp, by: Duration) -> Result<Timestamp, ClockError> {
    let by = SignedDuration::try_from(by).map_err(|_| ClockError::OutOfRange)?;
    now.checked_add(by).map_err(|_| ClockError::OutOfRange)
}

/// A clock that changes only when it is set or advanced. Clones share their time.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Mutex<Timestamp>>);

impl ManualClock {
    /// Creates a clock that shows `now`.
    pub fn at(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(now)))
    }

    /// Advances the clock and returns the new time.
    pub fn advance(&self, by: Duration) -> Result<Timestamp, ClockError> {
        let mut now = lock(&self.0);
        *now = checked_later(*now, by)?;
        Ok(*now)
    }

    /// Sets the clock; the time must not be before the current one.
    pub fn set(&self, requested: Timestamp) -> Result<(), ClockError> {
        let mut now = lock(&self.0);
        if requested < *now {
            return Err(ClockError::Backwards {
                now: *now,
                requested,
            });
        }
        *now = requested;
        Ok(())
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *lock(&self.0)
    }
}

/// A base clock plus an offset that only grows. Keys live by this clock: it runs by itself and can
/// be advanced.
#[derive(Debug)]
pub struct LabClock {
    base: Arc<dyn Clock>,
    offset: Mutex<SignedDuration>,
}

impl LabClock {
    /// Creates a lab clock with offset zero.
    pub fn new(base: Arc<dyn Clock>) -> Self {
        Self {
            base,
            offset: Mutex::new(SignedDuration::ZERO),
        }
    }

    /// Creates a lab clock that shows `start` now, which may be before or after the time of its
    /// base.
    pub fn starting_at(base: Arc<dyn Clock>, start: Timestamp) -> Self {
        let offset = start.duration_since(base.now());
        Self {
            base,
            offset: Mutex::new(offset),
        }
    }

    /// Advances the clock and returns the new time.
    pub fn advance(&self, by: Duration) -> Result<Timestamp, ClockError> {
        let mut offset = lock(&self.offset);
        let now = with_offset(self.base.now(), *offset);
        let then = checked_later(now, by)?;
        *offset += then.duration_since(now);
        Ok(then)
    }

    /// Sets the clock; the time must not be before the current one.
    pub fn set(&self, requested: Timestamp) -> Result<(), ClockError> {
        let mut offset = lock(&self.offset);
        let now = with_offset(self.base.now(), *offset);
        if requested < now {
            return Err(ClockError::Backwards { now, requested });
        }
        *offset += requested.duration_since(now);
        Ok(())
    }
}

fn with_offset(base: Timestamp, offset: SignedDuration) -> Timestamp {
    base.checked_add(offset).unwrap_or(Timestamp::MAX)
}

impl Clock for LabClock {
    fn now(&self) -> Timestamp {
        with_offset(self.base.now(), *lock(&self.offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lab_clock_follows_its_base_and_never_goes_back() {
        let base = ManualClock::at(Timestamp::UNIX_EPOCH);
        let lab = LabClock::new(Arc::new(base.clone()));
        lab.advance(Duration::from_secs(100)).unwrap();
        base.advance(Duration::from_secs(5)).unwrap();
        assert_eq!(lab.now().as_second(), 105);
        assert_eq!(base.now().as_second(), 5);
        let back = lab.set(Timestamp::from_second(104).unwrap());
        assert!(matches!(back, Err(ClockError::Backwards { .. })));
        lab.set(Timestamp::from_second(200).unwrap()).unwrap();
        assert_eq!(lab.now().as_second(), 200);
        assert_eq!(lab.advance(Duration::MAX), Err(ClockError::OutOfRange));
    }

    #[test]
    fn lab_clock_starts_at_a_given_time() {
        let start = Timestamp::from_second(1_000_000).unwrap();
        let lab = LabClock::starting_at(Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH)), start);
        assert_eq!(lab.now(), start);
    }
}
