//! Labs that stay.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod engine;
mod key;
mod kind;
mod life;
mod support;
