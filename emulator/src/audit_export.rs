//! Audit events in the vendors' own shapes.

use std::fmt;
use std::str::FromStr;

use kmslab_emulator_api::AuditEvent;
use serde_json::Value;

use crate::counts::{CANCELLED, HANG, RESET};
use crate::{aws, azure, gcp};

/// The shape of a vendor's audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditFormat {
    /// Records of AWS CloudTrail.
    CloudTrail,
    /// `AuditEvent` records of Key Vault's diagnostic logs.
    Azure,
    /// Log entries of Google's Cloud Audit Logs.
    Google,
}

impl AuditFormat {
    /// All formats.
    pub const ALL: [Self; 3] = [Self::CloudTrail, Self::Azure, Self::Google];

    /// `cloudtrail`, `azure` or `google`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CloudTrail => "cloudtrail",
            Self::Azure => "azure",
            Self::Google => "google",
        }
    }
}

impl fmt::Display for AuditFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// There is no format of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no audit format '{0}'; there are cloudtrail, azure and google")]
pub struct UnknownAuditFormat(String);

impl FromStr for AuditFormat {
    type Err = UnknownAuditFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|format| format.as_str() == text);
        found.ok_or_else(|| UnknownAuditFormat(text.to_owned()))
    }
}

/// An event in a vendor's shape; `None` if it is of another cloud, or one that the vendor's log does
/// not have: requests for tokens, those that were rejected before they were authorized, and those
/// that a fault or their client ended without a response.
pub fn export_audit(event: &AuditEvent, format: AuditFormat) -> Option<Value> {
    if [CANCELLED, HANG, RESET].contains(&event.code.as_str()) {
        return None;
    }
    match format {
        AuditFormat::CloudTrail => aws::audit_export::cloudtrail(event),
        AuditFormat::Azure => azure::audit_export::diagnostic(event),
        AuditFormat::Google => gcp::audit_export::log_entry(event),
    }
}
