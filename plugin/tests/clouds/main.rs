//! The plugin with the emulator, through each vendor's own SDK and with authenticated callers.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod aws;
mod azure;
mod gcp;
mod gcp_credentials;
mod late_credentials;
mod retries;
mod support;
