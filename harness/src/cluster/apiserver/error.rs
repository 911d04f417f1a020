//! Errors of starting a cluster of real processes.

use std::io;
use std::path::{Path, PathBuf};

use super::diagnose::Cause;
use crate::etcd::client::EtcdError;
use crate::process::ProcessError;

/// Why a cluster of real processes did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The number of API servers is zero.
    #[error("a cluster needs at least 1 API server, 0 were asked for")]
    NoServers,
    /// A process did not start, or exited.
    #[error("{source}{}", hint(cause.as_ref()))]
    Process {
        /// The error.
        #[source]
        source: Box<ProcessError>,
        /// The cause in its log, if recognised.
        cause: Option<Cause>,
    },
    /// A process runs, but is not ready.
    #[error("{name} is not {what} after {seconds} s: {last}{}\nits log {} ends with:\n{tail}", hint(cause.as_ref()), log.display())]
    NotReady {
        /// Name of the process in the lab.
        name: String,
        /// The awaited condition.
        what: &'static str,
        /// How long it was awaited, in seconds.
        seconds: u64,
        /// The last result.
        last: String,
        /// Path of its log.
        log: PathBuf,
        /// Last lines of the log.
        tail: String,
        /// The cause in its log, if recognised.
        cause: Option<Cause>,
    },
    /// A file of the cluster cannot be written or read.
    #[error("{what} {}: {source}", path.display())]
    File {
        /// The operation that failed.
        what: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file has invalid content.
    #[error("{what} is not usable: {why}")]
    Invalid {
        /// The file.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// Certificates cannot be generated.
    #[error("cannot make the cluster's certificates: {0}")]
    Certificates(#[from] rcgen::Error),
    /// No free port was found.
    #[error("no free port on 127.0.0.1: {0}")]
    Port(io::Error),
    /// The HTTP client cannot be built.
    #[error("cannot set up a client for {url}: {source}")]
    Client {
        /// URL of the API server.
        url: String,
        /// The error.
        source: reqwest::Error,
    },
    /// etcd does not respond.
    #[error(transparent)]
    Etcd(Box<EtcdError>),
}

impl StartError {
    pub(super) fn etcd(error: EtcdError) -> Self {
        Self::Etcd(Box::new(error))
    }

    pub(super) fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { what, path, source }
    }

    /// Whether another process took the port after it was chosen.
    pub(super) fn is_port_taken(&self) -> bool {
        matches!(
            self,
            Self::Process {
                cause: Some(Cause::PortTaken),
                ..
            }
        )
    }
}

impl From<ProcessError> for StartError {
    fn from(source: ProcessError) -> Self {
        let cause = match &source {
            ProcessError::Ended { tail, .. } => Cause::find(tail),
            _ => None,
        };
        Self::Process {
            source: Box::new(source),
            cause,
        }
    }
}

fn hint(cause: Option<&Cause>) -> String {
    cause
        .map(|cause| format!("\ncause: {cause}"))
        .unwrap_or_default()
}
