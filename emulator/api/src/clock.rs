//! The clocks of an emulator.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Response of `GET /clock`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clocks {
    /// The lab clock, which keys live by.
    pub lab: Timestamp,
    /// The wall clock, which signatures, tokens and certificates are checked against.
    pub wall: Timestamp,
}

/// Response of `POST /clock`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockMoved {
    /// The clocks after the move.
    #[serde(flatten)]
    pub clocks: Clocks,
    /// Number of key versions that were due and are created.
    pub rotated: usize,
    /// Number of keys that were due and are deleted.
    pub deleted: usize,
    /// Number of versions that were due and left out, because one move creates at most the newest
    /// 32 versions of an RSA key and 1000 of another.
    pub skipped: usize,
    /// What to do about skipped versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}
