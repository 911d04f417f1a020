//! Translation of the SDK's errors to [`KekError`].

use std::error::Error;
use std::io;

use azure_core::error::ErrorKind;
use serde::Deserialize;

use crate::kek::context::{CallContext, CallKind};
use crate::kek::tls::{self, error_chain, find_source};
use crate::kek::{KekError, Subject};

#[derive(Debug, Default, Deserialize)]
struct Envelope {
    #[serde(default)]
    error: ServiceError,
}

#[derive(Debug, Default, Deserialize)]
struct ServiceError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    innererror: Option<Box<ServiceError>>,
}

/// `version` is the version that the request names, if any.
pub(super) fn classify(
    context: &CallContext,
    error: &azure_core::Error,
    kind: CallKind,
    version: Option<&str>,
) -> KekError {
    match error.kind() {
        ErrorKind::HttpResponse {
            status,
            raw_response,
            ..
        } => {
            let body = raw_response
                .as_ref()
                .map(|raw| raw.body().as_ref().to_vec())
                .unwrap_or_default();
            let words = serde_json::from_slice::<Envelope>(&body)
                .ok()
                .map(|envelope| envelope.error);
            service_error(
                context,
                u16::from(*status),
                words.unwrap_or_default(),
                kind,
                version,
            )
        }
        ErrorKind::Credential => login_error(context, error),
        _ => tls::request_failed(&context.endpoint, error),
    }
}

/// The vault returned an error.
fn service_error(
    context: &CallContext,
    status: u16,
    said: ServiceError,
    kind: CallKind,
    version: Option<&str>,
) -> KekError {
    let inner = said.innererror.map(|inner| inner.code).unwrap_or_default();
    // The error's message is enough if there is one; line breaks are removed.
    let words = said
        .message
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    let code = if inner.is_empty() {
        said.code.clone()
    } else {
        inner.clone()
    };
    let detail = if words.is_empty() {
        format!("HTTP {status} {code}")
    } else {
        format!("{code}: {words}")
    };
    let key = Subject {
        key: context.key.clone(),
        version: version.map(str::to_owned),
    };
    match (status, inner.as_str()) {
        (403, "KeyDisabled") => KekError::Disabled { key },
        (403, "KeyNotYetValid" | "KeyExpired") => KekError::Unusable { key, detail },
        (401, _) => KekError::Credentials { detail },
        (403, _) => KekError::Denied {
            key: context.key.clone(),
            detail,
        },
        (404, _) if said.code == "KeyNotFound" => KekError::NotFound { key, detail },
        (400, _) if kind == CallKind::Opening => KekError::Corrupt { detail },
        (400, _) if !said.code.is_empty() => KekError::Unusable { key, detail },
        (429, _) => KekError::Throttled { detail },
        (500.., _) => KekError::ServiceError { detail },
        _ => KekError::Unexpected {
            detail: format!(
                "{detail} from {}: is it a vault of Azure Key Vault?",
                context.endpoint
            ),
        },
    }
}

/// No token: denied or not reached. The message is the service's, or the transport's error.
fn login_error(context: &CallContext, error: &azure_core::Error) -> KekError {
    let mut texts = error_chain(error).map(ToString::to_string);
    match texts.find_map(|text| text.find("AADSTS").map(|at| text[at..].to_owned())) {
        Some(sentence) => {
            // The rest of the message is specific to this response.
            let sentence = sentence
                .split(" Trace ID:")
                .next()
                .unwrap_or_default()
                .to_owned();
            KekError::Credentials { detail: sentence }
        }
        None => match tls::request_failed(&context.endpoint, error) {
            KekError::Unreachable { endpoint, detail } if !is_io(error) => KekError::Credentials {
                detail: format!("{detail} ({endpoint})"),
            },
            other => other,
        },
    }
}

fn is_io(error: &(dyn Error + 'static)) -> bool {
    find_source::<io::Error>(error).is_some() || find_source::<reqwest::Error>(error).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, code: &str, inner: Option<&str>, kind: CallKind) -> KekError {
        let context = CallContext {
            key: "https://v.vault.azure.net/keys/k".into(),
            endpoint: "https://v.vault.azure.net".into(),
            timeout: std::time::Duration::from_secs(2),
        };
        let innererror = inner.map(|inner| {
            Box::new(ServiceError {
                code: inner.into(),
                ..ServiceError::default()
            })
        });
        let version = (kind == CallKind::Opening).then_some("0a");
        super::service_error(
            &context,
            status,
            ServiceError {
                code: code.into(),
                message: "a\r\nb".into(),
                innererror,
            },
            kind,
            version,
        )
    }

    #[test]
    fn responses_are_classified() {
        for (status, code, inner, call, kind, dead) in [
            (
                403,
                "Forbidden",
                Some("KeyDisabled"),
                CallKind::Sealing,
                "disabled",
                true,
            ),
            (
                403,
                "Forbidden",
                Some("KeyExpired"),
                CallKind::Sealing,
                "unusable",
                true,
            ),
            (
                403,
                "Forbidden",
                Some("AccessDenied"),
                CallKind::Sealing,
                "denied",
                true,
            ),
            (
                403,
                "Forbidden",
                Some("ForbiddenByRbac"),
                CallKind::Opening,
                "denied",
                true,
            ),
            (404, "KeyNotFound", None, CallKind::Opening, "gone", true),
            (404, "", None, CallKind::Opening, "unexpected", false),
            (
                401,
                "Unauthorized",
                None,
                CallKind::Sealing,
                "credentials",
                false,
            ),
            (
                400,
                "BadParameter",
                None,
                CallKind::Opening,
                "corrupt",
                false,
            ),
            (
                400,
                "BadParameter",
                None,
                CallKind::Sealing,
                "unusable",
                true,
            ),
            (
                429,
                "Throttled",
                None,
                CallKind::Sealing,
                "throttled",
                false,
            ),
            (503, "", None, CallKind::Sealing, "fault", false),
        ] {
            let error = said(status, code, inner, call);
            assert_eq!(
                (error.kind(), error.is_dead_key()),
                (kind, dead),
                "{status} {code} {inner:?}"
            );
        }
        for (kind, starts) in [
            (
                CallKind::Sealing,
                "the key https://v.vault.azure.net/keys/k is disabled: enable it",
            ),
            (
                CallKind::Opening,
                "version 0a of the key https://v.vault.azure.net/keys/k is disabled: enable it",
            ),
        ] {
            let disabled = said(403, "Forbidden", Some("KeyDisabled"), kind).to_string();
            assert!(disabled.starts_with(starts), "{disabled}");
        }
        let denied = said(403, "Forbidden", Some("AccessDenied"), CallKind::Sealing).to_string();
        assert!(
            denied.starts_with(
                "access to the key https://v.vault.azure.net/keys/k is denied (AccessDenied: a b)"
            ),
            "{denied}"
        );
    }
}
