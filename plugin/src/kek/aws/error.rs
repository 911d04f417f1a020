//! Translation of the SDK's errors to [`KekError`].

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};

use crate::kek::context::CallContext;
use crate::kek::tls::{self, find_source, root_message};
use crate::kek::{KekError, Subject};

pub(super) fn classify<E>(context: &CallContext, error: &SdkError<E, HttpResponse>) -> KekError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match error {
        SdkError::ServiceError(service) => match service.err().code() {
            Some(code) => service_error(context, code, service.err().message().unwrap_or_default()),
            None => unexpected_response(context, service.raw()),
        },
        SdkError::ResponseError(response) => unexpected_response(context, response.raw()),
        SdkError::TimeoutError(_) => context.timeout_error(),
        other => request_failed(context, other),
    }
}

/// The service returned an error.
fn service_error(context: &CallContext, code: &str, message: &str) -> KekError {
    let detail = if message.is_empty() {
        code.to_owned()
    } else {
        format!("{code}: {message}")
    };
    let key = Subject::from(context.key.clone());
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
        "NotFoundException" | "InvalidArnException" => KekError::NotFound { key, detail },
        "AccessDeniedException" => KekError::Denied {
            key: context.key.clone(),
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
        | "ServiceUnavailableException" => KekError::ServiceError { detail },
        _ => KekError::Unexpected { detail },
    }
}

/// The response is not one of KMS: from a proxy, a load balancer or another service.
fn unexpected_response(context: &CallContext, response: &HttpResponse) -> KekError {
    let status = response.status().as_u16();
    let detail = format!(
        "HTTP {status} from {}, which is not an answer of AWS KMS: check --endpoint-url",
        context.endpoint
    );
    if status >= 500 {
        KekError::ServiceError { detail }
    } else {
        KekError::Unexpected { detail }
    }
}

/// The request could not be built, signed or sent.
fn request_failed(context: &CallContext, error: &(dyn Error + 'static)) -> KekError {
    if let Some(credentials) = find_source::<CredentialsError>(error) {
        return KekError::Credentials {
            detail: root_message(credentials),
        };
    }
    tls::request_failed(&context.endpoint, error)
}

fn is_about_time(message: &str) -> bool {
    message.contains("expired") || message.contains("not yet current")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: &str, message: &str) -> KekError {
        let context = CallContext {
            key: "alias/k".into(),
            endpoint: "http://e".into(),
            timeout: std::time::Duration::from_secs(2),
        };
        super::service_error(&context, code, message)
    }

    #[test]
    fn error_codes_are_classified() {
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
