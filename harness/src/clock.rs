//! The virtual clock of the embedded cluster: emulator, plugin and model share it, and it moves
//! only when a scenario says so.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kmslab_keycore::Clock;
use kmslab_plugin::time::{BoxFuture, Ticker, Timer};
use tokio::sync::{Notify, oneshot};

/// A clock that stands still until [`VirtualClock::advance`].
///
/// Tasks that sleep on it hold a [`Ticker`]. A ticker whose owner is not waiting counts as busy,
/// from its making on, and time does not move while one is: so what a task does at a deadline is
/// done before the next deadline comes, and a run repeats.
pub struct VirtualClock {
    base: Timestamp,
    shared: Arc<Shared>,
    /// Held through one `advance`, so that two callers don't interleave.
    moving: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    now: Duration,
    next_id: u64,
    tickers: BTreeMap<u64, Ticking>,
}

enum Ticking {
    Busy,
    Waiting {
        until: Duration,
        wake: oneshot::Sender<()>,
    },
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl VirtualClock {
    /// A clock that shows `base`.
    pub fn at(base: Timestamp) -> Arc<Self> {
        Arc::new(Self {
            base,
            shared: Arc::default(),
            moving: tokio::sync::Mutex::default(),
        })
    }

    /// Time passed since the clock was made.
    pub fn elapsed(&self) -> Duration {
        self.shared.lock().now
    }

    /// Moves on by `time`: wakes the sleepers in the order of their deadlines, each at its
    /// deadline, and lets each finish what it does before the next. Must not be called by a task
    /// that holds a ticker, which would wait for itself.
    pub async fn advance(&self, time: Duration) {
        let _moving = self.moving.lock().await;
        let target = self.elapsed() + time;
        loop {
            self.quiet().await;
            let mut state = self.shared.lock();
            match state.earliest().filter(|(_, until)| *until <= target) {
                Some((id, until)) => {
                    state.now = state.now.max(until);
                    if let Some(Ticking::Waiting { wake, .. }) =
                        state.tickers.insert(id, Ticking::Busy)
                    {
                        // An owner that has just dropped its wait hears nothing; it is busy all the
                        // same.
                        let _ = wake.send(());
                    }
                }
                None => {
                    state.now = target;
                    return;
                }
            }
        }
    }

    /// Ends when no ticker's owner is busy.
    pub async fn quiet(&self) {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !self
                .shared
                .lock()
                .tickers
                .values()
                .any(|t| matches!(t, Ticking::Busy))
            {
                return;
            }
            changed.await;
        }
    }
}

impl State {
    fn earliest(&self) -> Option<(u64, Duration)> {
        self.tickers
            .iter()
            .filter_map(|(id, ticking)| match ticking {
                Ticking::Waiting { until, .. } => Some((*id, *until)),
                Ticking::Busy => None,
            })
            .min_by_key(|(id, until)| (*until, *id))
    }
}

impl fmt::Debug for VirtualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtualClock")
            .field("now", &Clock::now(self))
            .finish_non_exhaustive()
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.elapsed()).unwrap_or(SignedDuration::MAX);
        self.base.checked_add(passed).unwrap_or(Timestamp::MAX)
    }
}

impl Timer for VirtualClock {
    fn now(&self) -> Duration {
        self.elapsed()
    }

    fn ticker(&self) -> Box<dyn Ticker> {
        let mut state = self.shared.lock();
        let id = state.next_id;
        state.next_id += 1;
        state.tickers.insert(id, Ticking::Busy);
        Box::new(VirtualTicker {
            id,
            shared: Arc::clone(&self.shared),
        })
    }
}

struct VirtualTicker {
    id: u64,
    shared: Arc<Shared>,
}

impl VirtualTicker {
    fn set_waiting(&self, duration: Duration) -> Option<oneshot::Receiver<()>> {
        let (wake, woken) = oneshot::channel();
        let mut state = self.shared.lock();
        if duration.is_zero() {
            return None;
        }
        let until = state.now.saturating_add(duration);
        state
            .tickers
            .insert(self.id, Ticking::Waiting { until, wake });
        drop(state);
        self.shared.changed.notify_waiters();
        Some(woken)
    }
}

/// Makes the ticker busy again when a wait ends, woken or dropped.
struct BusyAgain<'a>(&'a VirtualTicker);

impl Drop for BusyAgain<'_> {
    fn drop(&mut self) {
        self.0
            .shared
            .lock()
            .tickers
            .insert(self.0.id, Ticking::Busy);
    }
}

impl Ticker for VirtualTicker {
    fn wait(&mut self, duration: Duration) -> BoxFuture<'_, ()> {
        // Registered here, not at the first poll: the owner counts as waiting as soon as it says
        // so.
        let woken = self.set_waiting(duration);
        let busy_again = BusyAgain(self);
        Box::pin(async move {
            let _busy_again = busy_again;
            if let Some(woken) = woken {
                let _ = woken.await;
            }
        })
    }
}

impl Drop for VirtualTicker {
    fn drop(&mut self) {
        self.shared.lock().tickers.remove(&self.id);
        self.shared.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Arc<VirtualClock> {
        VirtualClock::at(Timestamp::UNIX_EPOCH)
    }

    /// A task that waits `step` again and again, and notes the time of each waking.
    fn note_wakings(
        clock: &Arc<VirtualClock>,
        step: u64,
        log: &Arc<Mutex<Vec<(u64, u64)>>>,
    ) -> tokio::task::JoinHandle<()> {
        let (clock, log) = (Arc::clone(clock), Arc::clone(log));
        let mut ticker = clock.ticker();
        tokio::spawn(async move {
            loop {
                ticker.wait(Duration::from_secs(step)).await;
                tokio::task::yield_now().await;
                log.lock().unwrap().push((clock.elapsed().as_secs(), step));
            }
        })
    }

    #[tokio::test]
    async fn sleepers_wake_in_the_order_of_their_deadlines() {
        let clock = clock();
        let log = Arc::default();
        let tasks = [note_wakings(&clock, 3, &log), note_wakings(&clock, 2, &log)];
        clock.advance(Duration::from_secs(6)).await;
        clock.quiet().await;
        assert_eq!(
            *log.lock().unwrap(),
            [(2, 2), (3, 3), (4, 2), (6, 3), (6, 2)]
        );
        assert_eq!(Clock::now(&*clock), Timestamp::from_second(6).unwrap());
        for task in tasks {
            task.abort();
        }
    }

    #[tokio::test]
    async fn a_dropped_ticker_holds_nobody_up() {
        let clock = clock();
        let ticker = clock.ticker();
        drop(ticker);
        clock.advance(Duration::from_secs(1)).await;
        let mut ticker = clock.ticker();
        drop(ticker.wait(Duration::from_secs(1)));
        drop(ticker);
        clock.advance(Duration::from_secs(1)).await;
        assert_eq!(clock.elapsed(), Duration::from_secs(2));
    }

    #[tokio::test]
    async fn time_stands_still_while_an_owner_is_busy() {
        let clock = clock();
        let mut ticker = clock.ticker();
        let advance = clock.advance(Duration::from_secs(5));
        tokio::pin!(advance);
        assert!(futures::poll!(advance.as_mut()).is_pending());
        assert_eq!(clock.elapsed(), Duration::ZERO);
        let wait = ticker.wait(Duration::from_secs(9));
        advance.await;
        assert_eq!(clock.elapsed(), Duration::from_secs(5));
        drop(wait);
    }
}
