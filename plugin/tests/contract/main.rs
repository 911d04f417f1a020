//! The plugin over a unix socket with a scripted key.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod answers;
mod binary;
mod cloud;
mod failures;
mod lifecycle;
mod older_services;
mod socket_file;
mod support;
