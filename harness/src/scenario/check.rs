//! Failed checks: expected and actual result.

/// A failed check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}; saw {seen}")]
pub struct FailedCheck {
    /// The expected result.
    pub expected: String,
    /// The actual result.
    pub seen: String,
}

/// Creates the error of a failed check.
pub fn failed_check(expected: impl Into<String>, seen: impl Into<String>) -> anyhow::Error {
    FailedCheck {
        expected: expected.into(),
        seen: seen.into(),
    }
    .into()
}

/// Fails with both texts unless `holds`.
pub fn expect(
    holds: bool,
    expected: impl FnOnce() -> String,
    seen: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    if holds {
        Ok(())
    } else {
        Err(failed_check(expected(), seen()))
    }
}
