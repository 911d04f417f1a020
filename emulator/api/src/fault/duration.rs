//! Durations with a unit, in text.

use std::time::Duration;

use jiff::SignedDuration;
use jiff::fmt::friendly::{Spacing, SpanPrinter};

use super::InvalidFault;

/// The longest duration. No client waits longer.
const MAX: SignedDuration = SignedDuration::from_hours(1);

/// Parses `250ms`, `2s` or `1m30s`, at most an hour.
pub(super) fn parse_duration(field: &'static str, text: &str) -> Result<Duration, InvalidFault> {
    let invalid = |reason: &str| InvalidFault::new(field, format!("'{text}' {reason}"));
    let duration: SignedDuration = text
        .parse()
        .map_err(|_| invalid("is not a duration, which has a unit: 250ms, 2s, 1m30s"))?;
    if duration > MAX {
        return Err(invalid("is too long; a duration is at most 1h"));
    }
    duration.try_into().map_err(|_| invalid("is negative"))
}

/// The text form, which [`parse_duration`] reads.
pub(super) fn format_duration(duration: Duration) -> String {
    let printer = SpanPrinter::new().spacing(Spacing::None);
    printer.unsigned_duration_to_string(&duration)
}
