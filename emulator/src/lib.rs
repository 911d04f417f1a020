//! AWS KMS, Azure Key Vault and Google Cloud KMS in one small process, faithful enough for the
//! vendors' own SDKs and CLIs: real cryptography, verified signatures and tokens, and a clock that
//! can be advanced.
//!
//! This is a test double. It keeps keys in memory; never use it for secrets that matter.
//!
//! ```no_run
//! # async fn example() -> Result<(), kmslab_emulator::StartError> {
//! let emulator = kmslab_emulator::Emulator::builder().start().await?;
//! println!("export AWS_ENDPOINT_URL_KMS=http://{}", emulator.http_addr());
//! # Ok(()) }
//! ```
//!
//! With the feature `testcontainers` the module `testcontainers` runs the emulator in a container.

mod admin;
mod announce;
pub mod args;
mod auth;
pub mod aws;
pub mod azure;
mod builder;
mod counts;
pub mod gcp;
mod http;
mod ids;
mod oauth;
mod pipeline;
mod private_file;
mod proxy;
mod router;
mod running;
pub mod seed;
mod server;
#[cfg(feature = "testcontainers")]
pub mod testcontainers;
mod tls;
pub mod variables;

pub use auth::Auth;
pub use builder::{Emulator, EmulatorBuilder, StartError};
pub use kmslab_emulator_api::{
    Endpoints, KeyRow, KeyTable, RequestCount, RequestCounts, VersionRow,
};
pub use running::RunningEmulator;
pub use seed::SeedFile;
