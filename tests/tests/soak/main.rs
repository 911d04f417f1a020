//! What holds for one request holds for hundreds of thousands: no panic, no 5xx, no loss, no memory
//! growth. Each test runs with small numbers in the tier `base`; `just soak` runs it with the
//! numbers in its name.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and a long one says what it measured"
)]

mod connections;
mod databases;
mod encrypts;
mod grpc;
mod http;
mod program;
mod requests;
