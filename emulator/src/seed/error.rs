//! Why a seed cannot be used.

use std::path::PathBuf;

use crate::nearest::nearest;

/// Why a seed cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The file could not be read.
    #[error("cannot read the seed file {}: {source}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is not YAML, or has unknown fields or wrong types.
    #[error("the seed file {} is not valid: {reason}", path.display())]
    Parse {
        /// Path of the file.
        path: PathBuf,
        /// Line, column and what is wrong.
        reason: String,
    },
    /// The keys of before the reset cannot be removed.
    #[error("reset: {0}")]
    Reset(kmslab_keycore::KeyError),
    /// The emulator rejected an operation for a key of the seed.
    #[error("seed: {path} ({what}): {operation} was refused with {code}: {message}")]
    Refused {
        /// Place of the key in the file, such as `keys[0]`.
        path: String,
        /// Its first alias, or its description.
        what: String,
        /// The operation.
        operation: &'static str,
        /// The vendor's error code.
        code: String,
        /// The vendor's error message.
        message: String,
    },
    /// A value cannot be used.
    #[error("seed: {path}: {reason}")]
    Invalid {
        /// Place of the value in the file, such as `keys[0].versions[1].material`.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A value of a file cannot be used.
    #[error("{}:{line}:{column}: {source}", path.display())]
    InFile {
        /// Path of the file.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// Column, from 1.
        column: u64,
        /// What is wrong.
        source: Box<SeedError>,
    },
    /// A key cannot be written out.
    #[error("cannot export: {0}")]
    Export(String),
    /// The emulator stopped meanwhile.
    #[error("seed: the emulator stopped before the seed was applied")]
    Stopped,
}

impl SeedError {
    /// Place of the value in the file.
    pub(crate) fn place(&self) -> Option<&str> {
        match self {
            Self::Refused { path, .. } | Self::Invalid { path, .. } => Some(path),
            _ => None,
        }
    }

    /// A name that is none of the known ones.
    pub(crate) fn unknown(path: &str, what: &str, given: &str, known: &[&str]) -> Self {
        let nearest = nearest(given, known).map(|name| format!(" (did you mean {name}?)"));
        let reason = format!(
            "there is no {what} {given}{}; there are {}",
            nearest.unwrap_or_default(),
            known.join(", ")
        );
        Self::invalid(path, reason)
    }

    pub(crate) fn invalid(path: &str, reason: String) -> Self {
        Self::Invalid {
            path: path.to_owned(),
            reason,
        }
    }
}
