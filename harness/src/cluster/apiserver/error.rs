//! Why a cluster of real processes did not start.

use std::io;
use std::path::{Path, PathBuf};

use super::diagnose::Cause;
use crate::etcd::client::EtcdError;
use crate::process::ProcessError;

/// Why a cluster of real processes did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No API server was asked for.
    #[error("a cluster needs at least 1 API server, 0 were asked for")]
    NoServers,
    /// A process did not start, or ended.
    #[error("{source}{}", hint(cause.as_ref()))]
    Process {
        /// What happened.
        #[source]
        source: Box<ProcessError>,
        /// What its log says about it, where that is known.
        cause: Option<Cause>,
    },
    /// It runs, but is not ready.
    #[error("{name} is not {what} after {seconds} s: {last}{}\nits log {} ends with:\n{tail}", hint(cause.as_ref()), log.display())]
    NotReady {
        /// The program's name in the lab.
        name: String,
        /// What was waited for.
        what: &'static str,
        /// How long.
        seconds: u64,
        /// What was last seen.
        last: String,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
        /// What its log says about it, where that is known.
        cause: Option<Cause>,
    },
    /// A file of the cluster can't be written or read.
    #[error("{what} {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{what} is not usable: {why}")]
    Invalid {
        /// The file.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// Certificates can't be made.
    #[error("cannot make the cluster's certificates: {0}")]
    Certificates(#[from] rcgen::Error),
    /// No port to be had.
    #[error("no free port on 127.0.0.1: {0}")]
    Port(io::Error),
    /// The HTTP client can't be set up.
    #[error("cannot set up a client for {url}: {source}")]
    Client {
        /// The API server.
        url: String,
        /// Why not.
        source: reqwest::Error,
    },
    /// etcd does not answer.
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

    /// Whether the port was taken by another process between choice and use.
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
