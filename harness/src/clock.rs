//! The virtual clock of the embedded cluster, shared by emulator, plugin and model. It moves only
//! when a scenario advances it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kmslab_keycore::Clock;
use kmslab_plugin::time::{BoxFuture, Ticker, Timer};
use tokio::sync::{Notify, oneshot};

/// A clock that changes only by [`VirtualClock::advance`].
///
/// Tasks that sleep on it hold a [`Ticker`]. From its creation on, a ticker counts as busy unless
/// its owner waits, and time does not advance while one is busy. So a task finishes its work at a
/// deadline before the next deadline comes, and runs are repeatable.
pub struct VirtualClock {
    base: Timestamp,
    shared: Arc<Shared>,
    /// Held during one `advance`, so that two callers do not interleave.
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
    /// Creates a clock that shows `base`.
    pub fn starting_at(base: Timestamp) -> Arc<Self> {
        Arc::new(Self {
            base,
            shared: Arc::default(),
            moving: tokio::sync::Mutex::default(),
        })
    }

    /// Time since the clock was created.
    pub fn elapsed(&self) -> Duration {
        self.shared.lock().now
    }

    /// Advances by `time`: wakes the sleepers in the order of their deadlines, each at its
    /// deadline, and waits for each before the next. A task that holds a ticker must not call it:
    /// it would wait for itself.
    pub async fn advance(&self, time: Duration) {
        let _moving = self.moving.lock().await;
        let target = self.elapsed() + time;
        loop {
            self.wait_until_idle().await;
            let mut state = self.shared.lock();
            match state.earliest().filter(|(_, until)| *until <= target) {
                Some((id, until)) => {
                    state.now = state.now.max(until);
                    if let Some(Ticking::Waiting { wake, .. }) =
                        state.tickers.insert(id, Ticking::Busy)
                    {
                        // The owner may have dropped its wait; it is busy all the same.
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

    /// Returns when no ticker's owner is busy.
    pub async fn wait_until_idle(&self) {
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

/// Marks the ticker as busy when a wait ends, woken or dropped.
struct BusyGuard<'a>(&'a VirtualTicker);

impl Drop for BusyGuard<'_> {
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
        // Registered here, not at the first poll: the owner waits from this call on.
        let woken = self.set_waiting(duration);
        let busy_again = BusyGuard(self);
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
        VirtualClock::starting_at(Timestamp::UNIX_EPOCH)
    }

    /// A task that waits `step` repeatedly and records when it wakes.
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
    async fn sleepers_wake_in_deadline_order() {
        let clock = clock();
        let log = Arc::default();
        let tasks = [note_wakings(&clock, 3, &log), note_wakings(&clock, 2, &log)];
        clock.advance(Duration::from_secs(6)).await;
        clock.wait_until_idle().await;
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
    async fn dropped_ticker_does_not_block_time() {
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
    async fn time_does_not_advance_while_an_owner_is_busy() {
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
