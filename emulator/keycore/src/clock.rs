//! Clocks: the wall clock, one that tests set, and the lab clock whose offset only grows.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// A source of the current time.
pub trait Clock: Send + Sync + Debug {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
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
    /// Time never goes back.
    #[error("the clock is at {now} and never goes back; {asked} is earlier")]
    Backwards {
        /// What it shows.
        now: Timestamp,
        /// What was asked for.
        asked: Timestamp,
    },
    /// Past the year 9999.
    #[error("the clock cannot show a time after the year 9999")]
    OutOfRange,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn later(now: Timestamp, by: Duration) -> Result<Timestamp, ClockError> {
    let by = SignedDuration::try_from(by).map_err(|_| ClockError::OutOfRange)?;
    now.checked_add(by).map_err(|_| ClockError::OutOfRange)
}

/// A clock that stands still until it is moved. Clones share it.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Mutex<Timestamp>>);

impl ManualClock {
    /// A clock that shows `now`.
    pub fn at(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(now)))
    }

    /// Moves it on; returns what it then shows.
    pub fn advance(&self, by: Duration) -> Result<Timestamp, ClockError> {
        let mut now = lock(&self.0);
        *now = later(*now, by)?;
        Ok(*now)
    }

    /// Sets it to a time that is not before what it shows.
    pub fn set(&self, asked: Timestamp) -> Result<(), ClockError> {
        let mut now = lock(&self.0);
        if asked < *now {
            return Err(ClockError::Backwards { now: *now, asked });
        }
        *now = asked;
        Ok(())
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *lock(&self.0)
    }
}

/// A base clock and an offset that only grows: time goes on by itself, and can be moved on.
#[derive(Debug)]
pub struct LabClock {
    base: Arc<dyn Clock>,
    offset: Mutex<SignedDuration>,
}

impl LabClock {
    /// A lab clock that shows what `base` shows, until it is moved.
    pub fn new(base: Arc<dyn Clock>) -> Self {
        Self {
            base,
            offset: Mutex::new(SignedDuration::ZERO),
        }
    }

    /// A lab clock that shows `start` now, earlier or later than its base.
    pub fn starting_at(base: Arc<dyn Clock>, start: Timestamp) -> Self {
        let offset = start.duration_since(base.now());
        Self {
            base,
            offset: Mutex::new(offset),
        }
    }

    /// Moves it on; returns what it then shows.
    pub fn advance(&self, by: Duration) -> Result<Timestamp, ClockError> {
        let mut offset = lock(&self.offset);
        let now = shown(self.base.now(), *offset);
        let then = later(now, by)?;
        *offset += then.duration_since(now);
        Ok(then)
    }

    /// Sets it to a time that is not before what it shows.
    pub fn set(&self, asked: Timestamp) -> Result<(), ClockError> {
        let mut offset = lock(&self.offset);
        let now = shown(self.base.now(), *offset);
        if asked < now {
            return Err(ClockError::Backwards { now, asked });
        }
        *offset += asked.duration_since(now);
        Ok(())
    }
}

fn shown(base: Timestamp, offset: SignedDuration) -> Timestamp {
    base.checked_add(offset).unwrap_or(Timestamp::MAX)
}

impl Clock for LabClock {
    fn now(&self) -> Timestamp {
        shown(self.base.now(), *lock(&self.offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lab_clock_follows_its_base_and_never_goes_back() {
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
    fn a_lab_clock_starts_where_it_is_told() {
        let start = Timestamp::from_second(1_000_000).unwrap();
        let lab = LabClock::starting_at(Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH)), start);
        assert_eq!(lab.now(), start);
    }
}
