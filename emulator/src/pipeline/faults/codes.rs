//! The error codes that `error=CODE` accepts, with their HTTP statuses.

use http::StatusCode;
use kmslab_emulator_api::{Cloud, InvalidFault};
use tonic::Code;

/// Message of an `error=CODE` response. The vendors' texts depend on the cause, which an injected
/// error does not have.
pub(crate) const INJECTED: &str = "Injected by a fault of the kmslab emulator.";

/// Exceptions of the AWS KMS API model (aws-sdk-kms 1.129) that are faults of the server, and of
/// the service's "Common Errors" with 500 and 503. All others are 400.
const AWS_SERVER_FAULTS: &[(&str, u16)] = &[
    ("DependencyTimeoutException", 500),
    ("InternalFailure", 500),
    ("KMSInternalException", 500),
    ("KeyUnavailableException", 500),
    ("ServiceUnavailable", 503),
];

/// Other exceptions: those of the API model for keys, aliases and data, and "Common Errors".
const AWS_CLIENT_FAULTS: &[&str] = &[
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

/// Codes of Key Vault's errors. SEMANTICS.md lists those that are recorded nowhere.
const AZURE: &[(&str, StatusCode)] = &[
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

/// Codes of `google.rpc.Code`, without `OK`.
const GOOGLE: &[(&str, Code)] = &[
    ("ABORTED", Code::Aborted),
    ("ALREADY_EXISTS", Code::AlreadyExists),
    ("CANCELLED", Code::Cancelled),
    ("DATA_LOSS", Code::DataLoss),
    ("DEADLINE_EXCEEDED", Code::DeadlineExceeded),
    ("FAILED_PRECONDITION", Code::FailedPrecondition),
    ("INTERNAL", Code::Internal),
    ("INVALID_ARGUMENT", Code::InvalidArgument),
    ("NOT_FOUND", Code::NotFound),
    ("OUT_OF_RANGE", Code::OutOfRange),
    ("PERMISSION_DENIED", Code::PermissionDenied),
    ("RESOURCE_EXHAUSTED", Code::ResourceExhausted),
    ("UNAUTHENTICATED", Code::Unauthenticated),
    ("UNAVAILABLE", Code::Unavailable),
    ("UNIMPLEMENTED", Code::Unimplemented),
    ("UNKNOWN", Code::Unknown),
];

/// HTTP status of an exception of AWS; `None` if there is no such exception.
pub(crate) fn aws(code: &str) -> Option<u16> {
    let server = AWS_SERVER_FAULTS.iter().find(|(name, _)| *name == code);
    server
        .map(|(_, status)| *status)
        .or_else(|| AWS_CLIENT_FAULTS.contains(&code).then_some(400))
}

/// An error code of Key Vault with its HTTP status.
pub(crate) fn azure(code: &str) -> Option<(&'static str, StatusCode)> {
    AZURE.iter().find(|(name, _)| *name == code).copied()
}

/// A status of Google.
pub(crate) fn google(code: &str) -> Option<Code> {
    let found = GOOGLE.iter().find(|(name, _)| *name == code);
    found.map(|(_, code)| *code)
}

/// Fails unless `code` is one of `cloud`, or of any cloud.
pub(super) fn ensure_known(code: &str, cloud: Option<Cloud>) -> Result<(), InvalidFault> {
    let clouds = cloud.as_ref().map_or(&Cloud::ALL[..], std::slice::from_ref);
    let known: Vec<&str> = clouds.iter().flat_map(|cloud| names(*cloud)).collect();
    if known.contains(&code) {
        return Ok(());
    }
    let of = cloud.map_or("any cloud", Cloud::as_str);
    let known = known.join(", ");
    Err(InvalidFault::new(
        "effect",
        format!("'{code}' is not an error code of {of}; there are {known}"),
    ))
}

fn names(cloud: Cloud) -> Vec<&'static str> {
    match cloud {
        Cloud::Aws => {
            let server = AWS_SERVER_FAULTS.iter().map(|(name, _)| *name);
            server.chain(AWS_CLIENT_FAULTS.iter().copied()).collect()
        }
        Cloud::Azure => AZURE.iter().map(|(name, _)| *name).collect(),
        Cloud::Gcp => GOOGLE.iter().map(|(name, _)| *name).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_code_names_the_known_ones_of_its_cloud() {
        for (code, cloud) in [
            ("KMSInternalException", None),
            ("KMSInternalException", Some(Cloud::Aws)),
            ("Throttled", Some(Cloud::Azure)),
            ("UNAVAILABLE", Some(Cloud::Gcp)),
        ] {
            assert_eq!(ensure_known(code, cloud), Ok(()));
        }
        let error = ensure_known("UNAVAILABLE", Some(Cloud::Azure))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("not an error code of azure")
                && error.contains("Throttled")
                && !error.contains("KMSInternalException"),
            "{error}"
        );
        assert!(ensure_known("Nothing", None).is_err());
    }
}
