//! A check that did not hold: what was expected, and what was seen.

/// What a failed check says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}; saw {seen}")]
pub struct Unmet {
    /// What should have been.
    pub expected: String,
    /// What was.
    pub seen: String,
}

/// A failed check.
pub fn unmet(expected: impl Into<String>, seen: impl Into<String>) -> anyhow::Error {
    Unmet {
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
        Err(unmet(expected(), seen()))
    }
}
