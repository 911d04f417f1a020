//! Files of faults, in YAML or JSON.

use std::path::{Path, PathBuf};

use kmslab_emulator_api::FaultFile;
use kmslab_program::file;

use crate::pipeline::faults::AddFaultError;
use crate::pipeline::faults::catalog::{Catalog, validate};
use crate::{aws, azure, gcp};

/// Why a file of faults cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FaultFileError {
    /// The file could not be read.
    #[error("cannot read the fault file {}: {source}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is not YAML, or has unknown fields or wrong values.
    #[error("the fault file {} is not valid: {reason}", path.display())]
    Parse {
        /// Path of the file.
        path: PathBuf,
        /// Line, column and what is wrong.
        reason: String,
    },
    /// A fault cannot be used.
    #[error("the fault file {}: fault {number}: {source}", path.display())]
    Fault {
        /// Path of the file.
        path: PathBuf,
        /// Position of the fault in the file, from 1.
        number: usize,
        /// What is wrong.
        source: AddFaultError,
    },
}

/// What faults may name, of all clouds.
pub(crate) fn catalogs() -> Vec<Catalog> {
    vec![
        aws::catalog::catalog(),
        azure::catalog::catalog(),
        gcp::catalog::catalog(),
    ]
}

/// Reads a file of faults: `faults:`, a list of them with the fields of
/// [`Fault`](kmslab_emulator_api::Fault), and optionally `seed:`.
pub fn read_faults(path: &Path) -> Result<FaultFile, FaultFileError> {
    let unreadable = |source| FaultFileError::Read {
        path: path.to_owned(),
        source,
    };
    let text = file::read_text(path, file::MAX_CONFIGURATION_BYTES).map_err(unreadable)?;
    let file: FaultFile = serde_saphyr::from_str(&text).map_err(|error| FaultFileError::Parse {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    let catalogs = catalogs();
    for (index, fault) in file.faults.iter().enumerate() {
        validate(fault, &catalogs).map_err(|source| FaultFileError::Fault {
            path: path.to_owned(),
            number: index + 1,
            source: source.into(),
        })?;
    }
    Ok(file)
}
