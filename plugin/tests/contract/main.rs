//! The plugin over a real unix socket, with a scripted key behind it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod answers;
mod binary;
mod cloud;
mod lifecycle;
mod older_services;
mod socket_file;
mod support;
mod trouble;
