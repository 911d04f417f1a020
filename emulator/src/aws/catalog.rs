//! What faults may name of AWS KMS: operations and error codes.

use kmslab_emulator_api::Cloud;

use super::Operation;
use crate::pipeline::faults::catalog::Catalog;

/// Exceptions of the AWS KMS API model (aws-sdk-kms 1.129) that are faults of the server, and of
/// the service's "Common Errors" with 500 and 503. All others are 400.
const SERVER_FAULTS: &[(&str, u16)] = &[
    ("DependencyTimeoutException", 500),
    ("InternalFailure", 500),
    ("KMSInternalException", 500),
    ("KeyUnavailableException", 500),
    ("ServiceUnavailable", 503),
];

/// Other exceptions: those of the API model for keys, aliases and data, and "Common Errors".
const CLIENT_FAULTS: &[&str] = &[
    "AccessDeniedException",
    "AlreadyExistsException",
    "ConflictException",
    "DisabledException",
    "ExpiredTokenException",
    "IncompleteSignatureException",
    "IncorrectKeyException",
    "InvalidAliasNameException",
    "InvalidArnException",
    "InvalidCiphertextException",
    "InvalidGrantTokenException",
    "InvalidKeyUsageException",
    "InvalidSignatureException",
    "KMSInvalidMacException",
    "KMSInvalidSignatureException",
    "KMSInvalidStateException",
    "LimitExceededException",
    "NotFoundException",
    "OptInRequired",
    "RequestExpired",
    "ThrottlingException",
    "UnrecognizedClientException",
    "UnsupportedOperationException",
    "ValidationException",
];

/// What faults may name.
pub(crate) fn catalog() -> Catalog {
    Catalog {
        cloud: Cloud::Aws,
        operations: Operation::names().collect(),
        codes: names().collect(),
    }
}

/// HTTP status of an exception; `None` if there is no such exception.
pub(super) fn status(code: &str) -> Option<u16> {
    let server = SERVER_FAULTS.iter().find(|(name, _)| *name == code);
    server
        .map(|(_, status)| *status)
        .or_else(|| CLIENT_FAULTS.contains(&code).then_some(400))
}

fn names() -> impl Iterator<Item = &'static str> {
    let server = SERVER_FAULTS.iter().map(|(name, _)| *name);
    server.chain(CLIENT_FAULTS.iter().copied())
}
