//! What faults may name of Azure: operations and error codes.

use http::StatusCode;
use kmslab_emulator_api::Cloud;

use super::operation::Operation;
use super::{identity, management};
use crate::pipeline::faults::catalog::Catalog;

/// Codes of Key Vault's errors. SEMANTICS.md lists those that are recorded nowhere.
const CODES: &[(&str, StatusCode)] = &[
    ("BadParameter", StatusCode::BAD_REQUEST),
    ("Conflict", StatusCode::CONFLICT),
    ("Forbidden", StatusCode::FORBIDDEN),
    ("InternalError", StatusCode::INTERNAL_SERVER_ERROR),
    ("InternalServerError", StatusCode::INTERNAL_SERVER_ERROR),
    ("KeyNotFound", StatusCode::NOT_FOUND),
    ("RequestTimeout", StatusCode::REQUEST_TIMEOUT),
    ("ServiceUnavailable", StatusCode::SERVICE_UNAVAILABLE),
    ("Throttled", StatusCode::TOO_MANY_REQUESTS),
    ("Unauthorized", StatusCode::UNAUTHORIZED),
    ("VaultNotFound", StatusCode::NOT_FOUND),
];

/// What faults may name.
pub(crate) fn catalog() -> Catalog {
    let vault = Operation::ALL.iter().map(|operation| operation.name());
    let management = management::OPERATIONS.iter().copied();
    let identity = identity::faults::OPERATIONS.iter().copied();
    Catalog {
        cloud: Cloud::Azure,
        operations: vault.chain(management).chain(identity).collect(),
        codes: CODES
            .iter()
            .map(|(name, _)| *name)
            .chain(identity::faults::CODES.iter().copied())
            .collect(),
    }
}

/// A code with its HTTP status; `None` if there is no such code.
pub(super) fn find(code: &str) -> Option<(&'static str, StatusCode)> {
    CODES.iter().find(|(name, _)| *name == code).copied()
}
