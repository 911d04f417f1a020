//! A Kubernetes KMS v2 plugin: a gRPC service on a unix socket that encrypts with a key in a cloud.
//!
//! | module | content |
//! |---|---|
//! | `socket` | the socket's file: bound, checked and removed |
//! | `service` | Status, Encrypt and Decrypt, independent of the cloud |
//! | `unsupported` | responses to calls of other services, such as KMS v1 |
//! | `monitor` | the current key version and its health, updated by a background probe |
//! | [`kek`] | the trait of a key in a cloud, and one module per cloud |
//! | [`time`] | the clock, which a virtual one can replace |
//! | `server` | [`Plugin`] and [`RunningPlugin`] |
//! | `health`, `metrics` | the HTTP port |
//! | `notify` | notifications of a service manager |
//! | [`args`], `run` | the command line |
//!
//! kube-apiserver must be 1.32 or newer: older ones send the socket's path as `:authority`, which
//! Rust's HTTP/2 implementation rejects.

pub mod args;
mod error;
mod health;
pub mod kek;
mod metrics;
mod monitor;
mod notify;
mod run;
mod server;
mod service;
mod socket;
pub mod time;
mod unsupported;

pub use kmslab_kmsv2::label::{ANNOTATION, Label, LabelError, key_id, parse_annotation};
pub use run::run;
pub use server::{Counts, Plugin, RunningPlugin, StartError};
pub use socket::{Access, MAX_PATH_LEN, SocketError};
