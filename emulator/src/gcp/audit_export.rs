//! The audit trail as log entries of Cloud Audit Logs.
//!
//! The structure is that of `LogEntry` and `google.cloud.audit.AuditLog`; method names and log
//! names follow "Cloud Key Management Service audit logging".

use kmslab_emulator_api::{AuditEvent, Detail, GcpDetail};
use serde_json::{Value, json};

use super::names::{KeyName, RingName};

/// Prefixes of methods whose permission is of type `ADMIN_WRITE`. They are logged as activity, all
/// others as data access.
const ADMIN_WRITES: &[&str] = &[
    "Create",
    "Update",
    "Destroy",
    "Restore",
    "Import",
    "Delete",
    "SetIamPolicy",
];

/// A log entry; `None` for an event that Cloud KMS does not log.
pub(crate) fn log_entry(event: &AuditEvent) -> Option<Value> {
    let Some(Detail::Gcp(detail)) = &event.detail else {
        return None;
    };
    let resource = resource_name(event, detail);
    let project = resource.split('/').nth(1).unwrap_or_default();
    let is_write = ADMIN_WRITES
        .iter()
        .any(|prefix| event.operation.starts_with(prefix));
    let (log, severity) = match is_write {
        true => ("activity", "NOTICE"),
        false => ("data_access", "INFO"),
    };
    let severity = if detail.status == 0 {
        severity
    } else {
        "ERROR"
    };
    let mut payload = json!({
        "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
        "authenticationInfo": { "principalEmail": event.caller },
        "requestMetadata": {
            "callerIp": crate::pipeline::audit::ip(event),
            "callerSuppliedUserAgent": event.user_agent,
        },
        "serviceName": "cloudkms.googleapis.com",
        "methodName": event.operation,
        "resourceName": resource,
    });
    if let (Some(permission), Some(checked)) = (&detail.permission, &detail.resource) {
        payload["authorizationInfo"] = json!([{
            "resource": checked,
            "permission": permission,
            "granted": detail.granted,
        }]);
    }
    payload["status"] = match &detail.message {
        Some(message) => json!({ "code": detail.status, "message": message }),
        None => json!({}),
    };
    Some(json!({
        "protoPayload": payload,
        "insertId": event.request_id,
        "resource": monitored_resource(&resource),
        "timestamp": event.time,
        "severity": severity,
        "logName": format!("projects/{project}/logs/cloudaudit.googleapis.com%2F{log}"),
        "receiveTimestamp": event.time,
    }))
}

/// The resource that the request named, else the key that it used.
fn resource_name(event: &AuditEvent, detail: &GcpDetail) -> String {
    let used = || event.keys.first().map(|used| used.key.clone());
    detail.resource.clone().or_else(used).unwrap_or_default()
}

/// `resource` of a log entry, with the labels of its type.
fn monitored_resource(name: &str) -> Value {
    let (key, version) = match name.split_once("/cryptoKeyVersions/") {
        Some((key, version)) => (key, Some(version)),
        None => (name, None),
    };
    let ring = key.split_once("/cryptoKeys/").map_or(key, |(ring, _)| ring);
    let Some(ring) = RingName::parse(ring) else {
        let project = name.split('/').nth(1).unwrap_or_default();
        return json!({ "type": "audited_resource", "labels": {
            "project_id": project, "service": "cloudkms.googleapis.com",
        }});
    };
    let mut labels = json!({
        "project_id": ring.location.project,
        "location": ring.location.location,
        "key_ring_id": ring.ring,
    });
    let kind = match (KeyName::parse(key), version) {
        (Some(key), Some(version)) => {
            labels["crypto_key_id"] = key.key.into();
            labels["crypto_key_version_id"] = version.into();
            "cloudkms_cryptokeyversion"
        }
        (Some(key), None) => {
            labels["crypto_key_id"] = key.key.into();
            "cloudkms_cryptokey"
        }
        (None, _) => "cloudkms_keyring",
    };
    json!({ "type": kind, "labels": labels })
}
