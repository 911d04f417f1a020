//! From the SDK's errors to errors by meaning.

use google_cloud_gax::error::Error;
use google_cloud_gax::error::rpc::{Code, Status, StatusDetails};

use super::name::VERSIONS;
use crate::kek::origin::{Doing, Origin};
use crate::kek::tls;
use crate::kek::{KekError, Subject};

pub(super) fn meaning(origin: &Origin, error: &Error, doing: Doing) -> KekError {
    if let Some(status) = error.status() {
        return said(origin, status, doing);
    }
    if let Some(status) = error.http_status_code() {
        let detail = format!("HTTP {status} from {}: is it Cloud KMS?", origin.endpoint);
        return if status >= 500 {
            KekError::Fault { detail }
        } else {
            KekError::Unexpected { detail }
        };
    }
    if error.is_authentication() {
        return KekError::Credentials {
            detail: tls::root(error),
        };
    }
    if error.is_timeout() {
        return origin.too_late();
    }
    if error.is_deserialization() {
        let detail = format!(
            "{} from {}: is it Cloud KMS?",
            tls::root(error),
            origin.endpoint
        );
        return KekError::Unexpected { detail };
    }
    tls::never_arrived(&origin.endpoint, error)
}

/// Cloud KMS answered with an error of its own.
fn said(origin: &Origin, status: &Status, doing: Doing) -> KekError {
    let detail = format!("{}: {}", status.code, status.message);
    let key = Subject::from(origin.key.clone());
    match status.code {
        Code::FailedPrecondition => match state_of(status) {
            Some((state, version)) => match state.as_str() {
                "KEY_DISABLED" => KekError::Disabled { key: version },
                "KEY_DESTROY_SCHEDULED" => KekError::PendingDeletion {
                    key: version,
                    when: String::new(),
                },
                "KEY_DESTROYED" => KekError::Gone {
                    key: version,
                    detail,
                },
                _ => KekError::Unusable {
                    key: version,
                    detail,
                },
            },
            None => KekError::Unusable { key, detail },
        },
        Code::PermissionDenied => KekError::Denied {
            key: origin.key.clone(),
            detail,
        },
        Code::NotFound => KekError::Gone { key, detail },
        Code::Unauthenticated => KekError::Credentials { detail },
        Code::InvalidArgument if doing == Doing::Opening => KekError::Corrupt { detail },
        Code::InvalidArgument => KekError::Unusable { key, detail },
        Code::ResourceExhausted => KekError::Throttled { detail },
        Code::Unavailable
        | Code::Internal
        | Code::Unknown
        | Code::Aborted
        | Code::DeadlineExceeded => KekError::Fault { detail },
        _ => KekError::Unexpected { detail },
    }
}

/// In which state a version is that cannot be used: `KEY_DISABLED`, and its name.
fn state_of(status: &Status) -> Option<(String, Subject)> {
    status.details.iter().find_map(|detail| match detail {
        StatusDetails::PreconditionFailure(failure) => {
            let violation = failure
                .violations
                .iter()
                .find(|violation| violation.r#type.starts_with("KEY_"))?;
            let subject = match violation.subject.split_once(VERSIONS) {
                Some((key, version)) => Subject {
                    key: key.to_owned(),
                    version: Some(version.to_owned()),
                },
                None => violation.subject.as_str().into(),
            };
            Some((violation.r#type.clone(), subject))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn said(code: Code, details: &[Value], doing: Doing) -> KekError {
        let origin = Origin {
            key: "K".into(),
            endpoint: "E".into(),
            timeout: std::time::Duration::from_secs(2),
        };
        let details = details
            .iter()
            .map(|detail| serde_json::from_value::<StatusDetails>(detail.clone()).unwrap());
        let status = Status::default()
            .set_code(code)
            .set_message("words")
            .set_details(details.collect::<Vec<_>>());
        meaning(&origin, &Error::service(status), doing)
    }

    #[test]
    fn answers_have_a_meaning() {
        let state = |state: &str| {
            let violation = json!({ "type": state, "subject": "K/cryptoKeyVersions/1", "description": "words" });
            vec![
                json!({ "@type": "type.googleapis.com/google.rpc.PreconditionFailure", "violations": [violation] }),
            ]
        };
        for (code, details, doing, kind, dead) in [
            (
                Code::FailedPrecondition,
                state("KEY_DISABLED"),
                Doing::Opening,
                "disabled",
                true,
            ),
            (
                Code::FailedPrecondition,
                state("KEY_DESTROY_SCHEDULED"),
                Doing::Opening,
                "pending_deletion",
                true,
            ),
            (
                Code::FailedPrecondition,
                state("KEY_DESTROYED"),
                Doing::Opening,
                "gone",
                true,
            ),
            (
                Code::FailedPrecondition,
                state("KEY_PENDING_GENERATION"),
                Doing::Sealing,
                "unusable",
                true,
            ),
            (
                Code::FailedPrecondition,
                vec![],
                Doing::Sealing,
                "unusable",
                true,
            ),
            (
                Code::PermissionDenied,
                vec![],
                Doing::Sealing,
                "denied",
                true,
            ),
            (Code::NotFound, vec![], Doing::Sealing, "gone", true),
            (
                Code::Unauthenticated,
                vec![],
                Doing::Sealing,
                "credentials",
                false,
            ),
            (
                Code::InvalidArgument,
                vec![],
                Doing::Opening,
                "corrupt",
                false,
            ),
            (
                Code::InvalidArgument,
                vec![],
                Doing::Sealing,
                "unusable",
                true,
            ),
            (
                Code::ResourceExhausted,
                vec![],
                Doing::Sealing,
                "throttled",
                false,
            ),
            (Code::Unavailable, vec![], Doing::Sealing, "fault", false),
            (
                Code::Unimplemented,
                vec![],
                Doing::Sealing,
                "unexpected",
                false,
            ),
        ] {
            let error = said(code, &details, doing);
            assert_eq!(
                (error.kind(), error.is_dead_key()),
                (kind, dead),
                "{code:?} {details:?}"
            );
        }
        let disabled = said(
            Code::FailedPrecondition,
            &state("KEY_DISABLED"),
            Doing::Sealing,
        )
        .to_string();
        assert!(
            disabled.starts_with("version 1 of the key K is disabled"),
            "{disabled}"
        );
    }
}
