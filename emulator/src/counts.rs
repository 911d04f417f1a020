//! How many requests came, by operation, caller and outcome, those that were refused included.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

/// Distinct rows kept; what comes beyond them is counted under caller `other`, so that strangers
/// cannot fill the memory.
const ROWS: usize = 4096;
/// Bytes of a label that are kept: an access key id has 128 at the most, an account's address
/// fewer.
const LONGEST_LABEL: usize = 128;
/// The outcome of a request that was answered.
pub(crate) const OK: &str = "OK";
/// The operation of a request that names none the emulator has, and the caller of one that names
/// nobody.
pub(crate) const UNKNOWN: &str = "unknown";

/// One row of [`RequestCounts`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RequestCount {
    /// `aws`, `azure` or `gcp`.
    pub cloud: &'static str,
    /// For example `Encrypt`; `unknown` for a request that names no operation of the emulator.
    pub operation: String,
    /// The access key id, application or service account that the request claims, `unknown` when it
    /// claims none.
    pub caller: String,
    /// `OK`, or the vendor's error code.
    pub code: String,
    /// Requests.
    pub count: u64,
}

/// A snapshot of what the emulator was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RequestCounts {
    /// All requests.
    pub total: u64,
    /// The same by operation, caller and outcome, in that order.
    pub rows: Vec<RequestCount>,
}

impl RequestCounts {
    /// Requests for `operation`, whatever came of them.
    pub fn operation(&self, operation: &str) -> u64 {
        self.sum(|row| row.operation == operation)
    }

    /// Requests for `operation` with the outcome `code` (`OK` when it was answered).
    pub fn outcome(&self, operation: &str, code: &str) -> u64 {
        self.sum(|row| row.operation == operation && row.code == code)
    }

    fn sum(&self, keep: impl Fn(&RequestCount) -> bool) -> u64 {
        self.rows
            .iter()
            .filter(|row| keep(row))
            .map(|row| row.count)
            .sum()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counter(Mutex<BTreeMap<Row, u64>>);

/// Cloud, operation, caller and code.
type Row = (&'static str, String, String, String);

impl Counter {
    pub(crate) fn count(&self, cloud: &'static str, operation: &str, caller: &str, code: &str) {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (cloud, bounded(operation), bounded(caller), bounded(code));
        if rows.len() >= ROWS && !rows.contains_key(&key) {
            key.2 = "other".to_owned();
        }
        *rows.entry(key).or_default() += 1;
    }

    /// As at the start.
    pub(crate) fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    pub(crate) fn snapshot(&self) -> RequestCounts {
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let row = |((cloud, operation, caller, code), count): (&Row, &u64)| RequestCount {
            cloud,
            operation: operation.clone(),
            caller: caller.clone(),
            code: code.clone(),
            count: *count,
        };
        RequestCounts {
            total: rows.values().sum(),
            rows: rows.iter().map(row).collect(),
        }
    }
}

/// A label, cut off where it is longer than any real one: some of it is as the request says.
fn bounded(label: &str) -> String {
    match label
        .char_indices()
        .find(|(at, c)| at + c.len_utf8() > LONGEST_LABEL)
    {
        Some((end, _)) => format!("{}…", &label[..end]),
        None => label.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_cannot_fill_the_memory() {
        let counter = Counter::default();
        for stranger in 0..2 * ROWS {
            counter.count(
                "azure",
                "IdentityToken",
                &format!("{stranger}{}", "é".repeat(1_000)),
                "unauthorized_client",
            );
        }
        let counts = counter.snapshot();
        assert_eq!(
            (counts.rows.len(), counts.total),
            (ROWS + 1, 2 * ROWS as u64)
        );
        assert!(
            counts
                .rows
                .iter()
                .all(|row| row.caller.len() <= LONGEST_LABEL + "…".len())
        );
        assert_eq!(
            counts
                .rows
                .iter()
                .find(|row| row.caller == "other")
                .unwrap()
                .count,
            ROWS as u64
        );
        counter.clear();
        assert_eq!(counter.snapshot(), RequestCounts::default());
    }

    #[test]
    fn a_real_label_is_kept_whole() {
        for label in [
            "",
            "test",
            &"x".repeat(LONGEST_LABEL),
            &"é".repeat(LONGEST_LABEL / 2),
        ] {
            assert_eq!(bounded(label), *label);
        }
    }
}
