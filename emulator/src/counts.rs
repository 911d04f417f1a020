//! Request counts by operation, caller and outcome, including rejected requests.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use kmslab_emulator_api::{RequestCount, RequestCounts};

/// Maximum number of rows. Requests beyond them are counted for the caller `other`, so that
/// unauthenticated callers cannot exhaust memory.
const MAX_ROWS: usize = 4096;
/// Maximum length of a label in bytes: an access key id has at most 128, an email address fewer.
const MAX_LABEL_LEN: usize = 128;
/// The outcome of a successful request.
pub(crate) const OK: &str = "OK";
/// Operation of requests that name none of the emulator's, and caller of requests that name none.
pub(crate) const UNKNOWN: &str = "unknown";

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
            cloud: (*cloud).to_owned(),
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
