//! A time on the lab clock at which a fault begins or ends.

use std::fmt;
use std::str::FromStr;

use jiff::fmt::friendly::{Spacing, SpanPrinter};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::InvalidFault;

/// A time on the lab clock: absolute (`2026-11-29T12:00:00Z`), or after the fault was added
/// (`90s`, `720h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Moment {
    /// A time.
    At(Timestamp),
    /// Time since the fault was added; not negative.
    After(SignedDuration),
}

impl Moment {
    /// The time for a fault that was added at `added`. Durations beyond the last timestamp give
    /// the last.
    pub fn on_clock(self, added: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::After(duration) => added.saturating_add(duration).unwrap_or(Timestamp::MAX),
        }
    }
}

impl FromStr for Moment {
    type Err = InvalidFault;

    fn from_str(text: &str) -> Result<Self, InvalidFault> {
        let invalid =
            |reason: &str| InvalidFault::new("from or until", format!("'{text}' {reason}"));
        if let Ok(time) = text.parse() {
            return Ok(Self::At(time));
        }
        match text.parse::<SignedDuration>() {
            Ok(duration) if duration.is_negative() => Err(invalid("is negative")),
            Ok(duration) => Ok(Self::After(duration)),
            Err(_) => Err(invalid(
                "is neither a time, such as 2026-11-29T12:00:00Z, nor a duration after the fault was added, such as 90s",
            )),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(time) => time.fmt(f),
            Self::After(duration) => {
                // Without a space, so that it is one argument in a shell.
                let printer = SpanPrinter::new().spacing(Spacing::None);
                f.write_str(&printer.duration_to_string(duration))
            }
        }
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        moment.to_string()
    }
}

impl TryFrom<String> for Moment {
    type Error = InvalidFault;

    fn try_from(text: String) -> Result<Self, InvalidFault> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_times_or_durations() {
        let added: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2026-11-29T12:00:00Z", "2026-11-29T12:00:00Z"),
            ("90s", "2026-01-01T00:01:30Z"),
            ("720h", "2026-01-31T00:00:00Z"),
            ("0s", "2026-01-01T00:00:00Z"),
        ] {
            let moment: Moment = text.parse().unwrap();
            assert_eq!(moment.on_clock(added).to_string(), expected);
            assert_eq!(moment.to_string().parse(), Ok(moment), "{text}");
        }
        assert_eq!(
            Moment::After(SignedDuration::MAX).on_clock(added),
            Timestamp::MAX
        );
        for text in ["", "-5s", "tomorrow", "5", "2026-11-29"] {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
    }
}
