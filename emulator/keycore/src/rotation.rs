//! Rotation schedules: computes what is due from a policy and a time. Pure functions.

use std::collections::VecDeque;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::{Deserialize, Serialize};

/// Dates that one call computes before the schedule restarts: a period of one day over 8,000 years
/// has millions.
const MAX_DATES: usize = 10_000;
const DAY: i64 = 86_400;

/// A calendar period: months, days and seconds, each of which may be zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Period {
    months: u32,
    days: u32,
    seconds: u64,
}

impl Period {
    /// A period of `days` days of 24 hours.
    pub fn days(days: u32) -> Self {
        Self {
            days,
            ..Self::default()
        }
    }

    /// A period of `seconds` seconds.
    pub fn seconds(seconds: u64) -> Self {
        Self {
            seconds,
            ..Self::default()
        }
    }

    /// The length in seconds; `None` if the period has months, whose length varies.
    pub fn as_seconds(self) -> Option<i64> {
        let seconds = i64::try_from(self.seconds).ok()?;
        if self.months == 0 {
            seconds.checked_add(i64::from(self.days) * DAY)
        } else {
            None
        }
    }

    /// Converts a span; `None` if it is negative or has fractions of a second.
    pub fn from_span(span: Span) -> Option<Self> {
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

    /// Converts to a span; `None` if the period is too long for one.
    fn to_span(self) -> Option<Span> {
        let span = Span::new()
            .try_months(self.months)
            .ok()?
            .try_days(self.days)
            .ok()?;
        span.try_seconds(i64::try_from(self.seconds).ok()?).ok()
    }

    /// The number of days, if the period consists of days only.
    pub fn as_days(self) -> Option<u32> {
        (Self::days(self.days) == self).then_some(self.days)
    }

    /// The time one period after `from`, in UTC; `None` if that is out of range.
    pub fn after(self, from: Timestamp) -> Option<Timestamp> {
        let civil: DateTime = TimeZone::UTC.to_datetime(from);
        let at = civil.checked_add(self.to_span()?).ok()?;
        TimeZone::UTC.to_timestamp(at).ok()
    }

    /// The time one period before `from`, in UTC; `None` if that is out of range.
    pub fn before(self, from: Timestamp) -> Option<Timestamp> {
        let civil: DateTime = TimeZone::UTC.to_datetime(from);
        let at = civil.checked_sub(self.to_span()?).ok()?;
        TimeZone::UTC.to_timestamp(at).ok()
    }
}

/// What the next rotation is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trigger {
    /// At fixed intervals, independent of versions made in between.
    Every(Period),
    /// A period after the newest version was created.
    AfterCreation(Period),
    /// A period before the newest version expires; never, if it does not expire.
    BeforeExpiry(Period),
}

/// A key's rotation policy and its state.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rotation {
    /// `None` if automatic rotation is off.
    pub trigger: Option<Trigger>,
    /// How long versions made by a rotation are valid; `None` means for ever.
    pub lifetime: Option<Period>,
    /// When the next rotation is due.
    pub next: Option<Timestamp>,
    /// Number of on-demand rotations so far; automatic rotations do not count.
    pub on_demand_used: u32,
}

impl Rotation {
    /// Sets the trigger. Dates of [`Trigger::Every`] start at `first`, by default one period from
    /// `now`; the others are counted from the newest version, created at `made` and expiring at
    /// `expires`.
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
            Some(Trigger::Every(period)) => first.or_else(|| at_least_a_day_later(period, now)),
            _ => None,
        };
        self.version_created(made, expires);
    }

    /// Updates the schedule for a new version.
    pub(crate) fn version_created(&mut self, made: Timestamp, expires: Option<Timestamp>) {
        match self.trigger {
            Some(Trigger::AfterCreation(period)) => self.next = at_least_a_day_later(period, made),
            Some(Trigger::BeforeExpiry(period)) => {
                // Never on the day it was created: such a policy would rotate without end.
                self.next = expires
                    .and_then(|at| period.before(at))
                    .filter(|at| *at > made);
            }
            Some(Trigger::Every(_)) | None => {}
        }
    }

    /// When a version that a rotation creates at `at` expires.
    pub(crate) fn expiry_of_version_created(&self, at: Timestamp) -> Option<Timestamp> {
        self.lifetime.and_then(|lifetime| lifetime.after(at))
    }

    /// Takes the dates that are due at `now`, oldest first, and moves `next` past `now`. If there
    /// are more than `most`, the oldest are skipped; the second value is how many.
    pub(crate) fn take_due(&mut self, now: Timestamp, most: usize) -> (Vec<Timestamp>, usize) {
        let (mut due, mut skipped) = (VecDeque::new(), 0);
        while let Some(next) = self.next.filter(|next| *next <= now) {
            if due.len() >= most {
                due.pop_front();
                skipped += 1;
            }
            due.push_back(next);
            self.restart(next);
            if skipped >= MAX_DATES {
                self.restart(now);
            }
        }
        (due.into(), skipped)
    }

    /// Replaces all dates that passed while the schedule was paused by one, now.
    pub(crate) fn catch_up(&mut self, now: Timestamp) {
        self.next = self.next.map(|next| next.max(now));
    }

    /// Continues the schedule as if a rotation happened at `at`.
    pub(crate) fn restart(&mut self, at: Timestamp) {
        self.next = None;
        if let Some(Trigger::Every(period)) = self.trigger {
            self.next = at_least_a_day_later(period, at);
        }
        self.version_created(at, self.expiry_of_version_created(at));
    }
}

/// At least a day later: a period of zero would always be due.
fn at_least_a_day_later(period: Period, from: Timestamp) -> Option<Timestamp> {
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
    fn jump_over_three_periods_makes_three_rotations_due() {
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
    fn version_created_between_rotations_moves_only_triggers_counted_from_it() {
        let mut by_date = scheduled(Trigger::Every(Period::days(90)), None, None);
        by_date.version_created(day(10), None);
        assert_eq!(by_date.next, Some(day(90)));
        let mut by_age = scheduled(Trigger::AfterCreation(Period::days(90)), None, None);
        by_age.version_created(day(10), None);
        assert_eq!(by_age.next, Some(day(100)));
    }

    #[test]
    fn before_expiry_trigger_follows_each_versions_expiry() {
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
        // A lifetime shorter than the lead time would rotate without end.
        let mut short = scheduled(
            Trigger::BeforeExpiry(Period::days(30)),
            Some(Period::days(28)),
            Some(day(100)),
        );
        assert_eq!(short.take_due(day(500), 9), (vec![day(70)], 0));
        assert_eq!(short.next, None);
    }

    #[test]
    fn periods_in_months_follow_the_calendar() {
        let month = Period::from_span(Span::new().months(1)).unwrap();
        let january: Timestamp = "2026-01-31T00:00:00Z".parse().unwrap();
        assert_eq!(month.after(january), "2026-02-28T00:00:00Z".parse().ok());
        assert_eq!(month.as_days(), None);
        assert_eq!(Period::days(90).as_days(), Some(90));
        assert_eq!(Period::from_span(Span::new().days(-1)), None);
    }

    #[test]
    fn due_dates_end_at_the_last_timestamp() {
        let mut rotation = scheduled(Trigger::Every(Period::days(0)), None, None);
        let (due, skipped) = rotation.take_due(Timestamp::MAX, 7);
        assert_eq!((due.len(), skipped), (7, MAX_DATES));
        assert_eq!(rotation.next, None);
    }

    #[test]
    fn too_many_due_dates_keep_the_newest() {
        let mut rotation = scheduled(Trigger::Every(Period::days(90)), None, None);
        assert_eq!(
            rotation.take_due(day(460), 2),
            (vec![day(360), day(450)], 3)
        );
        assert_eq!(rotation.next, Some(day(540)));
    }
}
