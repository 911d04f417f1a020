//! Request counts, including rejected requests.

use serde::{Deserialize, Serialize};

/// The number of requests with the same operation, caller and outcome.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RequestCount {
    /// `aws`, `azure` or `gcp`.
    pub cloud: String,
    /// Operation, such as `Encrypt`; `unknown` if the request names none of the emulator's.
    pub operation: String,
    /// Access key id, application or service account that the request states; `unknown` if none.
    pub caller: String,
    /// `OK`, or the vendor's error code.
    pub code: String,
    /// Number of requests.
    pub count: u64,
}

/// The request counts of an emulator: the response of `GET /requests`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestCounts {
    /// Number of all requests.
    pub total: u64,
    /// Counts by cloud, operation, caller and outcome, in that order.
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

    /// Number of requests of `caller`, successful or not.
    pub fn caller(&self, caller: &str) -> u64 {
        self.sum(|row| row.caller == caller)
    }

    fn sum(&self, keep: impl Fn(&RequestCount) -> bool) -> u64 {
        let kept = self.rows.iter().filter(|row| keep(row));
        kept.map(|row| row.count).sum()
    }
}
