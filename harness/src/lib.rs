//! Kubernetes encryption at rest with a cloud KMS, in one command: emulator, plugin, API server,
//! etcd.
//!
//! The modules in the order in which a run uses them: find the programs, start the processes, build
//! an environment, run scenarios in it, read etcd, report.

pub mod assets;
pub mod cli;
pub mod clock;
pub mod cloud;
pub mod cluster;
pub mod engine;
pub mod environment;
pub mod exit;
pub mod inspect;
pub mod lab;
pub mod metrics_client;
mod printable;
pub mod report;
pub mod runtime_dir;
pub mod scenario;
pub mod scenarios;
pub mod service;
pub mod tls;

pub use kmslab_etcd_inspect as etcd;
pub use kmslab_process as process;
pub use kmslab_process::platform;
