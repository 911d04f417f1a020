//! AWS KMS, Azure Key Vault and Google Cloud KMS in one small process, faithful enough for the
//! vendor's own SDKs and CLI: real keys, verified signatures and tokens, a clock that can be moved.
//! A test double; it keeps keys in memory and must never hold a secret that matters.
//!
//! ```no_run
//! # async fn example() -> Result<(), kmslab_emulator::StartError> {
//! let emulator = kmslab_emulator::Emulator::builder().start().await?;
//! println!("export AWS_ENDPOINT_URL_KMS=http://{}", emulator.http_addr());
//! # Ok(()) }
//! ```
//!
//! With the feature `testcontainers` the module of that name starts it in a container, for tests in
//! any Rust project.

mod admin;
mod announce;
pub mod args;
mod auth;
pub mod aws;
pub mod azure;
mod builder;
mod counts;
mod drain;
mod front;
pub mod gcp;
mod hosts;
mod http_body;
mod keytable;
mod oauth;
mod private_file;
mod proxy;
mod running;
pub mod seed;
mod server;
#[cfg(feature = "testcontainers")]
pub mod testcontainers;
mod tls;
pub mod variables;

pub use auth::Auth;
pub use builder::{Emulator, EmulatorBuilder, StartError};
pub use counts::{RequestCount, RequestCounts};
pub use keytable::{KeyRow, VersionRow};
pub use running::RunningEmulator;
pub use seed::SeedFile;
