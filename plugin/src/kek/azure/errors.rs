//! From the SDK's errors to errors by meaning.

use std::error::Error;
use std::io;

use azure_core::error::ErrorKind;
use serde::Deserialize;

use crate::kek::origin::{Doing, Origin};
use crate::kek::tls::{self, chain, find};
use crate::kek::{KekError, Subject};

#[derive(Debug, Default, Deserialize)]
struct Envelope {
    #[serde(default)]
    error: Said,
}

#[derive(Debug, Default, Deserialize)]
struct Said {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    innererror: Option<Box<Said>>,
}

/// `version` is the one that the request names, if it names one.
pub(super) fn meaning(
    origin: &Origin,
    error: &azure_core::Error,
    doing: Doing,
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
            said(
                origin,
                u16::from(*status),
                words.unwrap_or_default(),
                doing,
                version,
            )
        }
        ErrorKind::Credential => login(origin, error),
        _ => tls::never_arrived(&origin.endpoint, error),
    }
}

/// The vault answered with an error of its own.
fn said(origin: &Origin, status: u16, said: Said, doing: Doing, version: Option<&str>) -> KekError {
    let inner = said.innererror.map(|inner| inner.code).unwrap_or_default();
    // The sentence is enough where it is there; its line breaks are for other readers.
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
        key: origin.key.clone(),
        version: version.map(str::to_owned),
    };
    match (status, inner.as_str()) {
        (403, "KeyDisabled") => KekError::Disabled { key },
        (403, "KeyNotYetValid" | "KeyExpired") => KekError::Unusable { key, detail },
        (401, _) => KekError::Credentials { detail },
        (403, _) => KekError::Denied {
            key: origin.key.clone(),
            detail,
        },
        (404, _) if said.code == "KeyNotFound" => KekError::Gone { key, detail },
        (400, _) if doing == Doing::Opening => KekError::Corrupt { detail },
        (400, _) if !said.code.is_empty() => KekError::Unusable { key, detail },
        (429, _) => KekError::Throttled { detail },
        (500.., _) => KekError::Fault { detail },
        _ => KekError::Unexpected {
            detail: format!(
                "{detail} from {}: is it a vault of Azure Key Vault?",
                origin.endpoint
            ),
        },
    }
}

/// No token: refused, or not reached. The text has the service's sentence, or what happened on the
/// way.
fn login(origin: &Origin, error: &azure_core::Error) -> KekError {
    let mut texts = chain(error).map(ToString::to_string);
    match texts.find_map(|text| text.find("AADSTS").map(|at| text[at..].to_owned())) {
        Some(sentence) => {
            // The rest of the sentence is of this one answer.
            let sentence = sentence
                .split(" Trace ID:")
                .next()
                .unwrap_or_default()
                .to_owned();
            KekError::Credentials { detail: sentence }
        }
        None => match tls::never_arrived(&origin.endpoint, error) {
            KekError::Unreachable { endpoint, detail } if !is_io(error) => KekError::Credentials {
                detail: format!("{detail} ({endpoint})"),
            },
            other => other,
        },
    }
}

fn is_io(error: &(dyn Error + 'static)) -> bool {
    find::<io::Error>(error).is_some() || find::<reqwest::Error>(error).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, code: &str, inner: Option<&str>, doing: Doing) -> KekError {
        let origin = Origin {
            key: "https://v.vault.azure.net/keys/k".into(),
            endpoint: "https://v.vault.azure.net".into(),
            timeout: std::time::Duration::from_secs(2),
        };
        let innererror = inner.map(|inner| {
            Box::new(Said {
                code: inner.into(),
                ..Said::default()
            })
        });
        let version = (doing == Doing::Opening).then_some("0a");
        super::said(
            &origin,
            status,
            Said {
                code: code.into(),
                message: "a\r\nb".into(),
                innererror,
            },
            doing,
            version,
        )
    }

    #[test]
    fn answers_have_a_meaning() {
        for (status, code, inner, doing, kind, dead) in [
            (
                403,
                "Forbidden",
                Some("KeyDisabled"),
                Doing::Sealing,
                "disabled",
                true,
            ),
            (
                403,
                "Forbidden",
                Some("KeyExpired"),
                Doing::Sealing,
                "unusable",
                true,
            ),
            (
                403,
                "Forbidden",
                Some("AccessDenied"),
                Doing::Sealing,
                "denied",
                true,
            ),
            (
                403,
                "Forbidden",
                Some("ForbiddenByRbac"),
                Doing::Opening,
                "denied",
                true,
            ),
            (404, "KeyNotFound", None, Doing::Opening, "gone", true),
            (404, "", None, Doing::Opening, "unexpected", false),
            (
                401,
                "Unauthorized",
                None,
                Doing::Sealing,
                "credentials",
                false,
            ),
            (400, "BadParameter", None, Doing::Opening, "corrupt", false),
            (400, "BadParameter", None, Doing::Sealing, "unusable", true),
            (429, "Throttled", None, Doing::Sealing, "throttled", false),
            (503, "", None, Doing::Sealing, "fault", false),
        ] {
            let error = said(status, code, inner, doing);
            assert_eq!(
                (error.kind(), error.is_dead_key()),
                (kind, dead),
                "{status} {code} {inner:?}"
            );
        }
        for (doing, starts) in [
            (
                Doing::Sealing,
                "the key https://v.vault.azure.net/keys/k is disabled: enable it",
            ),
            (
                Doing::Opening,
                "version 0a of the key https://v.vault.azure.net/keys/k is disabled: enable it",
            ),
        ] {
            let disabled = said(403, "Forbidden", Some("KeyDisabled"), doing).to_string();
            assert!(disabled.starts_with(starts), "{disabled}");
        }
        let denied = said(403, "Forbidden", Some("AccessDenied"), Doing::Sealing).to_string();
        assert!(
            denied.starts_with(
                "access to the key https://v.vault.azure.net/keys/k is denied (AccessDenied: a b)"
            ),
            "{denied}"
        );
    }
}
