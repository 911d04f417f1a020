//! AWS KMS, Azure Key Vault and Google Cloud KMS in one small process, faithful enough for the
//! vendors' own SDKs and CLIs: real cryptography, verified signatures and tokens, and a clock that
//! can be advanced.
//!
//! This is a test double. It keeps keys in memory; never use it for secrets that matter.
//!
//! ```
//! use std::time::Duration;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let emulator = kmslab_emulator::Emulator::builder().start().await?;
//! println!("export AWS_ENDPOINT_URL_KMS={}", emulator.endpoint_url());
//! emulator.clock().advance(Duration::from_hours(365 * 24)).await?;
//! emulator.reset().await?;
//! emulator.stop().await;
//! # Ok(()) }
//! ```
//!
//! `tests/examples` of this crate has a test with each vendor's SDK. With the feature
//! `testcontainers` the module `testcontainers` runs the emulator in a container.

mod admin;
mod announce;
mod audit_export;
mod auth;
mod aws;
mod azure;
mod builder;
pub mod command;
#[cfg(test)]
mod counting_store;
mod counts;
mod emulator;
mod fault_file;
mod gcp;
mod http;
mod ids;
mod nearest;
mod oauth;
mod pipeline;
mod private_file;
mod proxy;
mod router;
pub mod seed;
mod server;
mod state;
#[cfg(feature = "testcontainers")]
pub mod testcontainers;
mod tls;
pub mod variables;
pub mod well_known;

pub use audit_export::{AuditFormat, UnknownAuditFormat, export_audit};
pub use auth::Auth;
pub use aws::auth::CredentialError;
pub use builder::{EmulatorBuilder, StartError};
pub use emulator::{Emulator, EmulatorClock};
pub use fault_file::{FaultFileError, read_faults};
pub use gcp::identity::KeyFile;
pub use kmslab_emulator_api as api;
pub use kmslab_keycore::{Clock, ClockError, Entropy, LabClock};
pub use pipeline::faults::AddFaultError;
pub use seed::SeedFile;
pub use tls::TlsError;

/// Parts for tests in this workspace. Not part of the API.
#[doc(hidden)]
pub mod internal {
    pub use crate::aws::auth::{Authenticator, Credential, Credentials};
    pub use crate::aws::sigv4;
}
