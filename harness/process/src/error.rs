//! Errors of child processes.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

/// Why a process did not start or did not keep running.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The file is missing or not executable.
    #[error("cannot start {name}: {} is not an executable file", path.display())]
    NotExecutable {
        /// Name of the program in the lab.
        name: String,
        /// Path of the program.
        path: PathBuf,
    },
    /// The log file cannot be opened.
    #[error("cannot start {name}: cannot write its log {}: {source}", log.display())]
    Log {
        /// Name of the program in the lab.
        name: String,
        /// Path of the log file.
        log: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The process cannot be spawned.
    #[error("cannot start {name} through {}: {source} (the variable {} names the kmslab binary)", through.display(), super::BINARY_VARIABLE)]
    Spawn {
        /// Name of the program in the lab.
        name: String,
        /// Path of the spawning kmslab binary.
        through: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The process exited by itself.
    #[error("{name} ended with {status}; its log {} ends with:\n{tail}\ncommand: {command}", log.display())]
    Ended {
        /// Name of the program in the lab.
        name: String,
        /// Its exit status.
        status: ExitStatus,
        /// The command line, to try by hand.
        command: String,
        /// Path of its log.
        log: PathBuf,
        /// Last lines of the log.
        tail: String,
    },
    /// A signal or file operation failed.
    #[error("{what}: {source}")]
    Io {
        /// The operation.
        what: String,
        /// The system's error.
        source: io::Error,
    },
}

impl ProcessError {
    /// Wraps a system error with the operation that failed.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
