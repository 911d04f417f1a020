//! From the SDK's errors to errors by meaning.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};

use crate::kek::origin::Origin;
use crate::kek::tls::{self, find, root};
use crate::kek::{KekError, Subject};

pub(super) fn meaning<E>(origin: &Origin, error: &SdkError<E, HttpResponse>) -> KekError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match error {
        SdkError::ServiceError(service) => match service.err().code() {
            Some(code) => said(origin, code, service.err().message().unwrap_or_default()),
            None => no_answer_of_kms(origin, service.raw()),
        },
        SdkError::ResponseError(response) => no_answer_of_kms(origin, response.raw()),
        SdkError::TimeoutError(_) => origin.too_late(),
        other => never_arrived(origin, other),
    }
}

/// The service answered with an error of its own.
fn said(origin: &Origin, code: &str, message: &str) -> KekError {
    let detail = if message.is_empty() {
        code.to_owned()
    } else {
        format!("{code}: {message}")
    };
    let key = Subject::from(origin.key.clone());
    match code {
        "DisabledException" => KekError::Disabled { key },
        "KMSInvalidStateException"
            if message.contains("pending deletion")
                || message.contains("pending replica deletion") =>
        {
            KekError::PendingDeletion {
                key,
                when: String::new(),
            }
        }
        "KMSInvalidStateException" if message.contains("pending import") => {
            KekError::Unusable { key, detail }
        }
        "NotFoundException" | "InvalidArnException" => KekError::Gone { key, detail },
        "AccessDeniedException" => KekError::Denied {
            key: origin.key.clone(),
            detail,
        },
        "InvalidKeyUsageException" | "UnsupportedOperationException" => {
            KekError::Unusable { key, detail }
        }
        "InvalidCiphertextException" | "IncorrectKeyException" => KekError::Corrupt { detail },
        "ThrottlingException"
        | "Throttling"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestLimitExceeded"
        | "TooManyRequestsException" => KekError::Throttled { detail },
        "RequestExpired" | "RequestTimeTooSkewed" => KekError::ClockSkew { detail },
        "InvalidSignatureException" | "SignatureDoesNotMatch" if is_about_time(message) => {
            KekError::ClockSkew { detail }
        }
        "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidAccessKeyId"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "ExpiredToken"
        | "ExpiredTokenException" => KekError::Credentials { detail },
        "KMSInternalException"
        | "KMSInvalidStateException"
        | "DependencyTimeoutException"
        | "KeyUnavailableException"
        | "InternalFailure"
        | "InternalServerError"
        | "ServiceUnavailable"
        | "ServiceUnavailableException" => KekError::Fault { detail },
        _ => KekError::Unexpected { detail },
    }
}

/// Something answered that does not speak KMS: a proxy, a load balancer, another service.
fn no_answer_of_kms(origin: &Origin, response: &HttpResponse) -> KekError {
    let status = response.status().as_u16();
    let detail = format!(
        "HTTP {status} from {}, which is not an answer of AWS KMS: check --endpoint-url",
        origin.endpoint
    );
    if status >= 500 {
        KekError::Fault { detail }
    } else {
        KekError::Unexpected { detail }
    }
}

/// The request could not be made, signed, or brought to the server.
fn never_arrived(origin: &Origin, error: &(dyn Error + 'static)) -> KekError {
    if let Some(credentials) = find::<CredentialsError>(error) {
        return KekError::Credentials {
            detail: root(credentials),
        };
    }
    tls::never_arrived(&origin.endpoint, error)
}

fn is_about_time(message: &str) -> bool {
    message.contains("expired") || message.contains("not yet current")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: &str, message: &str) -> KekError {
        let origin = Origin {
            key: "alias/k".into(),
            endpoint: "http://e".into(),
            timeout: std::time::Duration::from_secs(2),
        };
        super::said(&origin, code, message)
    }

    #[test]
    fn codes_have_a_meaning() {
        for (code, message, kind, dead) in [
            ("DisabledException", "arn is disabled.", "disabled", true),
            (
                "KMSInvalidStateException",
                "arn is pending deletion.",
                "pending_deletion",
                true,
            ),
            (
                "KMSInvalidStateException",
                "arn is pending import.",
                "unusable",
                true,
            ),
            (
                "KMSInvalidStateException",
                "arn is updating.",
                "fault",
                false,
            ),
            (
                "NotFoundException",
                "Key 'arn' does not exist",
                "gone",
                true,
            ),
            ("AccessDeniedException", "", "denied", true),
            (
                "InvalidKeyUsageException",
                "arn key usage is SIGN_VERIFY which is not valid for Encrypt.",
                "unusable",
                true,
            ),
            ("InvalidCiphertextException", "", "corrupt", false),
            ("ThrottlingException", "Rate exceeded", "throttled", false),
            ("KMSInternalException", "", "fault", false),
            (
                "UnrecognizedClientException",
                "The security token included in the request is invalid.",
                "credentials",
                false,
            ),
            (
                "InvalidSignatureException",
                "Signature expired: 20200101T000000Z is now earlier than …",
                "clock_skew",
                false,
            ),
            (
                "InvalidSignatureException",
                "The request signature we calculated does not match …",
                "credentials",
                false,
            ),
            ("ValidationException", "", "unexpected", false),
        ] {
            let error = said(code, message);
            assert_eq!(
                (error.kind(), error.is_dead_key()),
                (kind, dead),
                "{code} {message}"
            );
        }
        assert_eq!(
            said("AccessDeniedException", "no").to_string(),
            "access to the key alias/k is denied (AccessDeniedException: no): allow the plugin's identity to encrypt and decrypt with it"
        );
    }
}
