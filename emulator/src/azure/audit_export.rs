//! The audit trail as `AuditEvent` records of Key Vault's diagnostic logs.
//!
//! Fields and values follow "Azure Key Vault logging" in Microsoft's documentation (the table of
//! fields), and recorded events: KeyGet, KeyList, KeyListVersions and KeyPurge, successful and
//! denied, in SEKOIA.IO's documentation of its Key Vault integration, and a KeyDecrypt of AKS.

use http::StatusCode;
use kmslab_emulator_api::{AuditEvent, Detail};
use serde_json::{Value, json};

/// Error codes of callers that may not do what they ask for.
const DENIALS: &[&str] = &["AccessDenied", "ForbiddenByRbac"];

/// A record; `None` for an event that vaults do not log.
pub(crate) fn diagnostic(event: &AuditEvent) -> Option<Value> {
    let Some(Detail::Azure(detail)) = &event.detail else {
        return None;
    };
    // As the request names it: without the version if it does not state one.
    let id = event.keys.first().map(|used| match &used.version {
        Some(version) if detail.uri.contains(version) => format!("{}/{version}", used.key),
        _ => used.key.clone(),
    });
    let status = StatusCode::from_u16(detail.status).unwrap_or_default();
    let mut properties = json!({
        "clientInfo": event.user_agent,
        "requestUri": detail.uri,
        "httpStatusCode": detail.status,
    });
    if let Some(id) = id {
        properties["id"] = id.into();
    }
    let granted = match detail.rbac {
        true => "isRbacAuthorized",
        false => "isAccessPolicyMatch",
    };
    properties[granted] = (!DENIALS.contains(&event.code.as_str())).into();
    if let Some(algorithm) = &detail.algorithm {
        properties["algorithm"] = algorithm.clone().into();
    }
    let mut record = json!({
        // Ticks of 100 ns, as .NET prints them.
        "time": format!("{:.7}", event.time),
        "resourceId": detail.resource_id.to_uppercase(),
        "operationName": event.operation,
        "operationVersion": detail.api_version,
        "category": "AuditEvent",
        // Also of requests that fail.
        "resultType": "Success",
        "resultSignature": signature(status),
        "durationMs": (event.duration_us / 1000).to_string(),
        "callerIpAddress": crate::pipeline::audit::ip(event),
        "correlationId": event.request_id,
        "identity": { "claim": {
            "oid": detail.object_id,
            "appid": event.caller,
        }},
        "properties": properties,
    });
    if let Some(message) = &detail.message {
        record["resultDescription"] = message.clone().into();
    }
    Some(record)
}

/// The name of a status, such as `OK` and `NotFound`.
fn signature(status: StatusCode) -> String {
    let words = status.canonical_reason().unwrap_or_default();
    words.split(' ').collect()
}
