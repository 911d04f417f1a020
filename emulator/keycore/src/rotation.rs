//! The rotation schedule: what is due, from a policy and the time. Pure.

use jiff::{SignedDuration, Timestamp};

/// Most rotations that one settling makes up for; a clock that jumps 100 years over a 90-day period is owed 405.
const MOST_AT_ONCE: usize = 1000;

/// A key's rotation policy and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rotation {
    /// Days between two automatic rotations; `None` where they are off.
    pub every_days: Option<u32>,
    /// When the next one is due.
    pub next: Option<Timestamp>,
    /// How often somebody rotated on demand; automatic rotations don't count.
    pub on_demand_used: u32,
}

impl Rotation {
    /// Switches automatic rotation on, the first one a whole period from `now`, or off.
    pub fn schedule(&mut self, days: Option<u32>, now: Timestamp) {
        self.every_days = days;
        self.next = days.and_then(|days| after_days(now, days));
    }

    /// Takes the dates that are due at `now`, oldest first, and moves `next` past it.
    pub fn take_due(&mut self, now: Timestamp) -> Vec<Timestamp> {
        let mut due = Vec::new();
        let Some(days) = self.every_days else { return due };
        while let Some(next) = self.next.filter(|next| *next <= now) {
            if due.len() < MOST_AT_ONCE {
                due.push(next);
                self.next = after_days(next, days);
            } else {
                self.next = after_days(now, days);
            }
        }
        due
    }
}

fn after_days(from: Timestamp, days: u32) -> Option<Timestamp> {
    from.checked_add(SignedDuration::from_hours(i64::from(days.max(1)) * 24)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(n: i64) -> Timestamp {
        Timestamp::from_second(n * 86_400).unwrap()
    }

    #[test]
    fn a_jump_over_three_periods_is_owed_three_rotations() {
        let mut rotation = Rotation::default();
        rotation.schedule(Some(90), day(0));
        assert_eq!(rotation.take_due(day(89)), []);
        assert_eq!(rotation.take_due(day(275)), [day(90), day(180), day(270)]);
        assert_eq!(rotation.next, Some(day(360)));
        rotation.schedule(None, day(276));
        assert_eq!(rotation.take_due(day(4000)), []);
    }

    #[test]
    fn a_jump_over_everything_ends() {
        let mut rotation = Rotation::default();
        rotation.schedule(Some(0), day(0));
        assert_eq!(rotation.take_due(Timestamp::MAX).len(), MOST_AT_ONCE);
        assert_eq!(rotation.next, None);
    }
}
