//! What the kmslab emulator prints when it is ready and answers on its admin port, for programs
//! that run it: the emulator itself, the harness, and tests with a container.
//!
//! With the feature `client`, [`AdminClient`] talks to an admin port.

mod audit;
#[cfg(feature = "client")]
mod client;
mod clock;
mod counts;
mod endpoints;
mod fault;
#[cfg(feature = "client")]
mod follow;
mod keytable;

pub use audit::{
    AuditEvent, AuditPage, AuditQuery, AwsDetail, AzureDetail, Detail, GcpDetail, KeyUse,
};
#[cfg(feature = "client")]
pub use client::{AdminClient, AdminError};
pub use clock::{ClockMoved, Clocks};
pub use counts::{RequestCount, RequestCounts};
pub use endpoints::Endpoints;
pub use fault::{
    Cloud, Effect, Fault, FaultFile, FaultStatus, FaultTable, FaultsAdded, FaultsRemoved,
    InvalidFault, Moment, ResetAt, Wrong,
};
#[cfg(feature = "client")]
pub use follow::{AuditStream, Followed};
pub use keytable::{BlobId, KeyRow, KeyTable, UsedVersion, VersionRow, blob_id};
