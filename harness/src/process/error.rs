//! Why a process did not start or did not stay.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

/// Why a process did not start or did not stay.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The file is missing or not executable.
    #[error("cannot start {name}: {} is not an executable file", path.display())]
    NotExecutable {
        /// The program's name in the lab.
        name: String,
        /// What was to be run.
        path: PathBuf,
    },
    /// The log file can't be opened.
    #[error("cannot start {name}: cannot write its log {}: {source}", log.display())]
    Log {
        /// The program's name in the lab.
        name: String,
        /// The log file.
        log: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The system refused to make a process.
    #[error("cannot start {name} through {}: {source} (the variable {} names the kmslab binary)", through.display(), super::BINARY_VARIABLE)]
    Spawn {
        /// The program's name in the lab.
        name: String,
        /// The kmslab binary, or what was taken for it.
        through: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ended on its own.
    #[error("{name} ended with {status}; its log {} ends with:\n{tail}\ncommand: {command}", log.display())]
    Ended {
        /// The program's name in the lab.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// The command line, to be tried by hand.
        command: String,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// The system refused a signal or a file of the lab.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
}

impl ProcessError {
    /// Wraps an error of the system with what was tried.
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
