//! The plugin against the emulator, with each vendor's own SDK and verified callers in between.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod aws;
mod azure;
mod gcp;
mod gcp_credentials;
mod late_credentials;
mod support;
