//! Translation of the SDK's errors to [`KekError`].

use google_cloud_gax::error::Error;
use google_cloud_gax::error::rpc::{Code, Status, StatusDetails};

use super::name::VERSIONS_SEGMENT;
use crate::kek::context::{CallContext, CallKind};
use crate::kek::tls;
use crate::kek::{KekError, Subject};

pub(super) fn classify(context: &CallContext, error: &Error, kind: CallKind) -> KekError {
    if let Some(status) = error.status() {
        return service_error(context, status, kind);
    }
    if let Some(status) = error.http_status_code() {
        let detail = format!("HTTP {status} from {}: is it Cloud KMS?", context.endpoint);
        return if status >= 500 {
            KekError::ServiceError { detail }
        } else {
            KekError::Unexpected { detail }
        };
    }
    if error.is_authentication() {
        return KekError::Credentials {
            detail: tls::root_message(error),
        };
    }
    if error.is_timeout() {
        return context.timeout_error();
    }
    if error.is_deserialization() {
        let detail = format!(
            "{} from {}: is it Cloud KMS?",
            tls::root_message(error),
            context.endpoint
        );
        return KekError::Unexpected { detail };
    }
    tls::request_failed(&context.endpoint, error)
}

/// Cloud KMS returned an error.
fn service_error(context: &CallContext, status: &Status, kind: CallKind) -> KekError {
    let detail = format!("{}: {}", status.code, status.message);
    let key = Subject::from(context.key.clone());
    match status.code {
        Code::FailedPrecondition => match version_state(status) {
            Some((state, version)) => match state.as_str() {
                "KEY_DISABLED" => KekError::Disabled { key: version },
                "KEY_DESTROY_SCHEDULED" => KekError::PendingDeletion {
                    key: version,
                    when: String::new(),
                },
                "KEY_DESTROYED" => KekError::NotFound {
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
            key: context.key.clone(),
            detail,
        },
        Code::NotFound => KekError::NotFound { key, detail },
        Code::Unauthenticated => KekError::Credentials { detail },
        Code::InvalidArgument if kind == CallKind::Opening => KekError::Corrupt { detail },
        Code::InvalidArgument => KekError::Unusable { key, detail },
        Code::ResourceExhausted => KekError::Throttled { detail },
        Code::Unavailable
        | Code::Internal
        | Code::Unknown
        | Code::Aborted
        | Code::DeadlineExceeded => KekError::ServiceError { detail },
        _ => KekError::Unexpected { detail },
    }
}

/// The state of an unusable version, such as `KEY_DISABLED`, and its name.
fn version_state(status: &Status) -> Option<(String, Subject)> {
    status.details.iter().find_map(|detail| match detail {
        StatusDetails::PreconditionFailure(failure) => {
            let violation = failure
                .violations
                .iter()
                .find(|violation| violation.r#type.starts_with("KEY_"))?;
            let subject = match violation.subject.split_once(VERSIONS_SEGMENT) {
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

    fn said(code: Code, details: &[Value], kind: CallKind) -> KekError {
        let context = CallContext {
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
        classify(&context, &Error::service(status), kind)
    }

    #[test]
    fn responses_are_classified() {
        let state = |state: &str| {
            let violation = json!({ "type": state, "subject": "K/cryptoKeyVersions/1", "description": "words" });
            vec![
                json!({ "@type": "type.googleapis.com/google.rpc.PreconditionFailure", "violations": [violation] }),
            ]
        };
        for (code, details, call, kind, dead) in [
            (
                Code::FailedPrecondition,
                state("KEY_DISABLED"),
                CallKind::Opening,
                "disabled",
                true,
            ),
            (
                Code::FailedPrecondition,
                state("KEY_DESTROY_SCHEDULED"),
                CallKind::Opening,
                "pending_deletion",
                true,
            ),
            (
                Code::FailedPrecondition,
                state("KEY_DESTROYED"),
                CallKind::Opening,
                "gone",
                true,
            ),
            (
                Code::FailedPrecondition,
                state("KEY_PENDING_GENERATION"),
                CallKind::Sealing,
                "unusable",
                true,
            ),
            (
                Code::FailedPrecondition,
                vec![],
                CallKind::Sealing,
                "unusable",
                true,
            ),
            (
                Code::PermissionDenied,
                vec![],
                CallKind::Sealing,
                "denied",
                true,
            ),
            (Code::NotFound, vec![], CallKind::Sealing, "gone", true),
            (
                Code::Unauthenticated,
                vec![],
                CallKind::Sealing,
                "credentials",
                false,
            ),
            (
                Code::InvalidArgument,
                vec![],
                CallKind::Opening,
                "corrupt",
                false,
            ),
            (
                Code::InvalidArgument,
                vec![],
                CallKind::Sealing,
                "unusable",
                true,
            ),
            (
                Code::ResourceExhausted,
                vec![],
                CallKind::Sealing,
                "throttled",
                false,
            ),
            (Code::Unavailable, vec![], CallKind::Sealing, "fault", false),
            (
                Code::Unimplemented,
                vec![],
                CallKind::Sealing,
                "unexpected",
                false,
            ),
        ] {
            let error = said(code, &details, call);
            assert_eq!(
                (error.kind(), error.is_dead_key()),
                (kind, dead),
                "{code:?} {details:?}"
            );
        }
        let disabled = said(
            Code::FailedPrecondition,
            &state("KEY_DISABLED"),
            CallKind::Sealing,
        )
        .to_string();
        assert!(
            disabled.starts_with("version 1 of the key K is disabled"),
            "{disabled}"
        );
    }
}
