//! A Kubernetes KMS v2 plugin: the unix socket on one side, a key in a cloud on the other.
//!
//! | module | what |
//! |---|---|
//! | `socket` | binds, owns, watches and removes the socket's file |
//! | `service` | Status, Encrypt, Decrypt; knows no cloud |
//! | `unserved` | answers to calls of other services, such as KMS v1 |
//! | `status` | the one current key version, and a prober that keeps it true |
//! | [`kek`] | the trait of a key in a cloud, and one module per cloud |
//! | `key_id` | what kube-apiserver compares, and the annotation that explains it |
//! | [`time`] | the clock, for a virtual one to stand in |
//! | `server` | [`Plugin`] and [`RunningPlugin`]: all of it together |
//! | `health`, `metrics` | the HTTP port |
//! | `notify` | tells a service manager: ready, stopping |
//! | [`args`], `run` | the command line |
//!
//! kube-apiserver must be 1.32 or newer: older ones send the socket's path as `:authority`, which
//! HTTP/2 in Rust refuses.

pub mod args;
mod error;
mod health;
pub mod kek;
mod key_id;
mod metrics;
mod notify;
mod run;
mod server;
mod service;
mod socket;
mod status;
pub mod time;
mod unserved;

pub use key_id::{ANNOTATION, Label, LabelError, key_id, parse_annotation};
pub use run::run;
pub use server::{Counts, Plugin, RunningPlugin, StartError};
pub use socket::{Access, MAX_PATH, SocketError};
