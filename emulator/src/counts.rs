//! Request counts by operation, caller and outcome, including rejected requests.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

/// Maximum number of rows. Requests beyond them are counted for the caller `other`, so that
/// unauthenticated callers cannot exhaust memory.
const MAX_ROWS: usize = 4096;
/// Maximum length of a label in bytes: an access key id has at most 128, an email address fewer.
const MAX_LABEL_LEN: usize = 128;
/// The outcome of a successful request.
pub(crate) const OK: &str = "OK";
/// Operation of requests that name none of the emulator's, and caller of requests that name none.
pub(crate) const UNKNOWN: &str = "unknown";

/// A row of [`RequestCounts`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RequestCount {
    /// `aws`, `azure` or `gcp`.
    pub cloud: &'static str,
    /// Operation, such as `Encrypt`; `unknown` if the request names none of the emulator's.
    pub operation: String,
    /// Access key id, application or service account that the request states; `unknown` if none.
    pub caller: String,
    /// `OK`, or the vendor's error code.
    pub code: String,
    /// Number of requests.
    pub count: u64,
}

/// A snapshot of the request counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RequestCounts {
    /// Number of all requests.
    pub total: u64,
    /// Counts by operation, caller and outcome, in that order.
    pub rows: Vec<RequestCount>,
}

impl RequestCounts {
    /// Number of requests for `operation`.
    pub fn operation(&self, operation: &str) -> u64 {
        self.sum(|row| row.operation == operation)
    }

    /// Number of requests for `operation` with outcome `code` (`OK` if successful).
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
        let mut key = (
            cloud,
            truncate_label(operation),
            truncate_label(caller),
            truncate_label(code),
        );
        if rows.len() >= MAX_ROWS && !rows.contains_key(&key) {
            key.2 = "other".to_owned();
        }
        *rows.entry(key).or_default() += 1;
    }

    /// Removes all counts.
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

/// Truncates a label; parts of it come from the request.
fn truncate_label(label: &str) -> String {
    match label
        .char_indices()
        .find(|(at, c)| at + c.len_utf8() > MAX_LABEL_LEN)
    {
        Some((end, _)) => format!("{}…", &label[..end]),
        None => label.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_count_is_bounded() {
        let counter = Counter::default();
        for caller in 0..2 * MAX_ROWS {
            counter.count(
                "azure",
                "IdentityToken",
                &format!("{caller}{}", "é".repeat(1_000)),
                "unauthorized_client",
            );
        }
        let counts = counter.snapshot();
        assert_eq!(
            (counts.rows.len(), counts.total),
            (MAX_ROWS + 1, 2 * MAX_ROWS as u64)
        );
        assert!(
            counts
                .rows
                .iter()
                .all(|row| row.caller.len() <= MAX_LABEL_LEN + "…".len())
        );
        assert_eq!(
            counts
                .rows
                .iter()
                .find(|row| row.caller == "other")
                .unwrap()
                .count,
            MAX_ROWS as u64
        );
        counter.clear();
        assert_eq!(counter.snapshot(), RequestCounts::default());
    }

    #[test]
    fn real_labels_are_not_truncated() {
        for label in [
            "",
            "test",
            &"x".repeat(MAX_LABEL_LEN),
            &"é".repeat(MAX_LABEL_LEN / 2),
        ] {
            assert_eq!(truncate_label(label), *label);
        }
    }
}
