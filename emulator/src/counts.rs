//! Request counts by operation, caller and outcome, including rejected requests.

use std::borrow::Cow;
use std::hash::RandomState;
use std::sync::{Mutex, PoisonError};

use hashbrown::{Equivalent, HashMap};
use kmslab_emulator_api::{RequestCount, RequestCounts};

/// Maximum number of rows. Requests beyond them are counted for the caller `other`, so that
/// unauthenticated callers cannot exhaust memory.
const MAX_ROWS: usize = 4096;
/// Maximum length of a label in bytes: an access key id has at most 128, an email address fewer.
const MAX_LABEL_LEN: usize = 128;
/// The outcome of a successful request.
pub(crate) const OK: &str = "OK";
/// The outcome of a request whose client left before the response.
pub(crate) const CANCELLED: &str = "cancelled";
/// The outcome of a request whose connection a fault reset.
pub(crate) const RESET: &str = "reset";
/// The outcome of a request that a fault left without a response.
pub(crate) const HANG: &str = "hang";
/// Operation of requests that name none of the emulator's, and caller of requests that name none.
pub(crate) const UNKNOWN: &str = "unknown";

#[derive(Debug, Default)]
pub(crate) struct Counter(Mutex<HashMap<Row, u64, RandomState>>);

/// Labels of a row.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Row {
    cloud: &'static str,
    operation: String,
    caller: String,
    code: String,
}

/// A row to look up. Fields are in the order of [`Row`], so that both have the same hash.
#[derive(Debug, Hash)]
struct RowRef<'a> {
    cloud: &'static str,
    operation: &'a str,
    caller: &'a str,
    code: &'a str,
}

impl Equivalent<Row> for RowRef<'_> {
    fn equivalent(&self, row: &Row) -> bool {
        self.operation == row.operation
            && self.caller == row.caller
            && self.code == row.code
            && self.cloud == row.cloud
    }
}

impl RowRef<'_> {
    fn to_row(&self) -> Row {
        Row {
            cloud: self.cloud,
            operation: self.operation.to_owned(),
            caller: self.caller.to_owned(),
            code: self.code.to_owned(),
        }
    }
}

impl Counter {
    pub(crate) fn count(&self, cloud: &'static str, operation: &str, caller: &str, code: &str) {
        let (operation, caller, code) = (
            truncate_label(operation),
            truncate_label(caller),
            truncate_label(code),
        );
        let mut row = RowRef {
            cloud,
            operation: &operation,
            caller: &caller,
            code: &code,
        };
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = rows.get_mut(&row) {
            *count += 1;
            return;
        }
        if rows.len() >= MAX_ROWS {
            row.caller = "other";
        }
        *rows.entry(row.to_row()).or_default() += 1;
    }

    /// Removes all counts.
    pub(crate) fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// All counts, sorted by label.
    pub(crate) fn snapshot(&self) -> RequestCounts {
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sorted: Vec<(&Row, &u64)> = rows.iter().collect();
        sorted.sort_unstable();
        let rows = sorted.into_iter().map(|(row, count)| RequestCount {
            cloud: row.cloud.to_owned(),
            operation: row.operation.clone(),
            caller: row.caller.clone(),
            code: row.code.clone(),
            count: *count,
        });
        let rows: Vec<RequestCount> = rows.collect();
        RequestCounts {
            total: rows.iter().map(|row| row.count).sum(),
            rows,
        }
    }
}

/// Truncates a label; parts of it come from the request.
fn truncate_label(label: &str) -> Cow<'_, str> {
    if label.len() <= MAX_LABEL_LEN {
        return label.into();
    }
    format!("{}…", &label[..label.floor_char_boundary(MAX_LABEL_LEN)]).into()
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
