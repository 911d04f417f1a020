//! Faults: requests that the emulator answers as a cloud does on a bad day.

mod duration;
mod effect;
mod moment;
mod selection;
mod table;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use effect::{Effect, ResetAt, Wrong};
pub use moment::Moment;
pub use selection::Fault;
pub use table::{FaultFile, FaultStatus, FaultTable, FaultsAdded, FaultsRemoved};

/// A cloud of the emulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cloud {
    /// AWS KMS, with STS and IAM.
    Aws,
    /// Azure Key Vault, with Entra ID, Resource Manager and Graph.
    Azure,
    /// Google Cloud KMS, with IAM and OAuth.
    Gcp,
}

impl Cloud {
    /// All clouds.
    pub const ALL: [Self; 3] = [Self::Aws, Self::Azure, Self::Gcp];

    /// `aws`, `azure` or `gcp`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Azure => "azure",
            Self::Gcp => "gcp",
        }
    }
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Cloud {
    type Err = InvalidFault;

    fn from_str(text: &str) -> Result<Self, InvalidFault> {
        Self::ALL
            .into_iter()
            .find(|cloud| cloud.as_str() == text)
            .ok_or_else(|| {
                InvalidFault::new(
                    "cloud",
                    format!("'{text}' is not a cloud; there are aws, azure and gcp"),
                )
            })
    }
}

/// Why a fault is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidFault {
    field: &'static str,
    reason: String,
}

impl InvalidFault {
    /// An error about the field `field` of a fault.
    pub fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self {
            field,
            reason: reason.into(),
        }
    }
}

impl fmt::Display for InvalidFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

impl std::error::Error for InvalidFault {}
