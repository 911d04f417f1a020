//! The rotation schedule: what is due, from a policy and the time. Pure.

use std::collections::VecDeque;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::{Deserialize, Serialize};

/// Dates that are counted before the schedule begins anew: a day's period over 8,000 years has
/// millions.
const MOST_COUNTED: usize = 10_000;
const DAY: i64 = 86_400;

/// A stretch of the calendar: months, days and seconds, each of which may be none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Period {
    months: u32,
    days: u32,
    seconds: u64,
}

impl Period {
    /// Of that many days of 24 hours.
    pub fn days(days: u32) -> Self {
        Self {
            days,
            ..Self::default()
        }
    }

    /// Of that many seconds.
    pub fn seconds(seconds: u64) -> Self {
        Self {
            seconds,
            ..Self::default()
        }
    }

    /// How many seconds it has, where it has no months, whose length varies.
    pub fn whole_seconds(self) -> Option<i64> {
        let seconds = i64::try_from(self.seconds).ok()?;
        if self.months == 0 {
            seconds.checked_add(i64::from(self.days) * DAY)
        } else {
            None
        }
    }

    /// Of a span; `None` where it is negative, or has parts of seconds.
    pub fn of(span: Span) -> Option<Self> {
        let part = |units: i64| u32::try_from(units).ok();
        let years = part(span.get_years().into())?.checked_mul(12)?;
        let weeks = part(span.get_weeks().into())?.checked_mul(7)?;
        let minutes = i64::from(span.get_hours())
            .checked_mul(60)?
            .checked_add(span.get_minutes())?;
        let seconds = minutes.checked_mul(60)?.checked_add(span.get_seconds())?;
        let small = [
            span.get_milliseconds(),
            span.get_microseconds(),
            span.get_nanoseconds(),
        ];
        (small == [0; 3]).then_some(Self {
            months: part(span.get_months().into())?.checked_add(years)?,
            days: part(span.get_days().into())?.checked_add(weeks)?,
            seconds: u64::try_from(seconds).ok()?,
        })
    }

    /// As a span; `None` where it is beyond all calendars.
    fn span(self) -> Option<Span> {
        let span = Span::new()
            .try_months(self.months)
            .ok()?
            .try_days(self.days)
            .ok()?;
        span.try_seconds(i64::try_from(self.seconds).ok()?).ok()
    }

    /// How many days it has, where it is a number of days and nothing else.
    pub fn whole_days(self) -> Option<u32> {
        (Self::days(self.days) == self).then_some(self.days)
    }

    /// The time so much after `from`, in UTC; `None` where that is beyond all calendars.
    pub fn after(self, from: Timestamp) -> Option<Timestamp> {
        let civil: DateTime = TimeZone::UTC.to_datetime(from);
        let at = civil.checked_add(self.span()?).ok()?;
        TimeZone::UTC.to_timestamp(at).ok()
    }

    /// The time so much before `from`.
    pub fn before(self, from: Timestamp) -> Option<Timestamp> {
        let civil: DateTime = TimeZone::UTC.to_datetime(from);
        let at = civil.checked_sub(self.span()?).ok()?;
        TimeZone::UTC.to_timestamp(at).ok()
    }
}

/// What the next rotation is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trigger {
    /// Date by date, whatever else makes versions in between.
    Every(Period),
    /// So much after the newest version was made.
    AfterCreation(Period),
    /// So much before the newest version expires; never, where that does not.
    BeforeExpiry(Period),
}

/// A key's rotation policy and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rotation {
    /// `None` where automatic rotation is off.
    pub trigger: Option<Trigger>,
    /// How long versions that a rotation makes are valid; `None`: for ever.
    pub lifetime: Option<Period>,
    /// When the next one is due.
    pub next: Option<Timestamp>,
    /// How often somebody rotated on demand; automatic rotations don't count.
    pub on_demand_used: u32,
}

impl Rotation {
    /// Switches automatic rotation on or off. Dates of [`Trigger::Every`] begin at `first`, else a
    /// whole period from `now`; the others are counted from the newest version, which was `made`
    /// and `expires` then.
    pub(crate) fn schedule(
        &mut self,
        trigger: Option<Trigger>,
        first: Option<Timestamp>,
        now: Timestamp,
        made: Timestamp,
        expires: Option<Timestamp>,
    ) {
        self.trigger = trigger;
        self.next = match trigger {
            Some(Trigger::Every(period)) => first.or_else(|| later(period, now)),
            _ => None,
        };
        self.made(made, expires);
    }

    /// Takes note of a new version.
    pub(crate) fn made(&mut self, made: Timestamp, expires: Option<Timestamp>) {
        match self.trigger {
            Some(Trigger::AfterCreation(period)) => self.next = later(period, made),
            Some(Trigger::BeforeExpiry(period)) => {
                // Never the day it was made on: such a policy would make versions without end.
                self.next = expires
                    .and_then(|at| period.before(at))
                    .filter(|at| *at > made);
            }
            Some(Trigger::Every(_)) | None => {}
        }
    }

    /// When a version made at `at` by a rotation expires.
    pub(crate) fn expiry(&self, at: Timestamp) -> Option<Timestamp> {
        self.lifetime.and_then(|lifetime| lifetime.after(at))
    }

    /// Takes the dates that are due at `now`, oldest first, and moves `next` past it. Of more than
    /// `most` the oldest are left out; how many were is the second of what it gives.
    pub(crate) fn take_due(&mut self, now: Timestamp, most: usize) -> (Vec<Timestamp>, usize) {
        let (mut due, mut skipped) = (VecDeque::new(), 0);
        while let Some(next) = self.next.filter(|next| *next <= now) {
            if due.len() >= most {
                due.pop_front();
                skipped += 1;
            }
            due.push_back(next);
            self.restart(next);
            if skipped >= MOST_COUNTED {
                self.restart(now);
            }
        }
        (due.into(), skipped)
    }

    /// Of the dates that passed while the schedule stood still, one is left, now.
    pub(crate) fn catch_up(&mut self, now: Timestamp) {
        self.next = self.next.map(|next| next.max(now));
    }

    /// The schedule goes on as if a rotation happened at `at`.
    pub(crate) fn restart(&mut self, at: Timestamp) {
        self.next = None;
        if let Some(Trigger::Every(period)) = self.trigger {
            self.next = later(period, at);
        }
        self.made(at, self.expiry(at));
    }
}

/// At least a day later: a period of nothing would be due for ever.
fn later(period: Period, from: Timestamp) -> Option<Timestamp> {
    let at = period.after(from)?;
    if at.as_second() - from.as_second() >= DAY {
        Some(at)
    } else {
        Period::days(1).after(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(n: i64) -> Timestamp {
        Timestamp::from_second(n * DAY).unwrap()
    }

    fn scheduled(
        trigger: Trigger,
        lifetime: Option<Period>,
        expires: Option<Timestamp>,
    ) -> Rotation {
        let mut rotation = Rotation {
            lifetime,
            ..Rotation::default()
        };
        rotation.schedule(Some(trigger), None, day(0), day(0), expires);
        rotation
    }

    #[test]
    fn a_jump_over_three_periods_is_owed_three_rotations() {
        for trigger in [
            Trigger::Every(Period::days(90)),
            Trigger::AfterCreation(Period::days(90)),
        ] {
            let mut rotation = scheduled(trigger, None, None);
            assert_eq!(rotation.take_due(day(89), 9), (vec![], 0));
            assert_eq!(
                rotation.take_due(day(275), 9),
                (vec![day(90), day(180), day(270)], 0)
            );
            assert_eq!(rotation.next, Some(day(360)));
            rotation.schedule(None, None, day(276), day(270), None);
            assert_eq!(rotation.take_due(day(4000), 9), (vec![], 0));
        }
    }

    #[test]
    fn a_version_made_in_between_moves_only_what_is_counted_from_it() {
        let mut by_date = scheduled(Trigger::Every(Period::days(90)), None, None);
        by_date.made(day(10), None);
        assert_eq!(by_date.next, Some(day(90)));
        let mut by_age = scheduled(Trigger::AfterCreation(Period::days(90)), None, None);
        by_age.made(day(10), None);
        assert_eq!(by_age.next, Some(day(100)));
    }

    #[test]
    fn before_expiry_follows_each_versions_own_end() {
        let year = Period::days(365);
        let mut rotation = scheduled(
            Trigger::BeforeExpiry(Period::days(30)),
            Some(year),
            Some(day(100)),
        );
        assert_eq!(
            rotation.take_due(day(500), 9),
            (vec![day(70), day(70 + 335)], 0)
        );
        assert_eq!(rotation.next, Some(day(70 + 335 * 2)));
        let never = scheduled(Trigger::BeforeExpiry(Period::days(30)), None, None);
        assert_eq!(never.next, None);
        // A life shorter than the lead would rotate without end.
        let mut short = scheduled(
            Trigger::BeforeExpiry(Period::days(30)),
            Some(Period::days(28)),
            Some(day(100)),
        );
        assert_eq!(short.take_due(day(500), 9), (vec![day(70)], 0));
        assert_eq!(short.next, None);
    }

    #[test]
    fn months_are_the_calendars() {
        let month = Period::of(Span::new().months(1)).unwrap();
        let january: Timestamp = "2026-01-31T00:00:00Z".parse().unwrap();
        assert_eq!(month.after(january), "2026-02-28T00:00:00Z".parse().ok());
        assert_eq!(month.whole_days(), None);
        assert_eq!(Period::days(90).whole_days(), Some(90));
        assert_eq!(Period::of(Span::new().days(-1)), None);
    }

    #[test]
    fn a_jump_over_everything_ends() {
        let mut rotation = scheduled(Trigger::Every(Period::days(0)), None, None);
        let (due, skipped) = rotation.take_due(Timestamp::MAX, 7);
        assert_eq!((due.len(), skipped), (7, MOST_COUNTED));
        assert_eq!(rotation.next, None);
    }

    #[test]
    fn of_too_many_dates_the_newest_are_taken() {
        let mut rotation = scheduled(Trigger::Every(Period::days(90)), None, None);
        assert_eq!(
            rotation.take_due(day(460), 2),
            (vec![day(360), day(450)], 3)
        );
        assert_eq!(rotation.next, Some(day(540)));
    }
}
