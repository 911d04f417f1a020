//! The audit trail as CloudTrail records.
//!
//! Fields and values follow the log entries of Encrypt, Decrypt, GenerateDataKey and DisableKey in
//! the AWS KMS developer guide (`ct-encrypt`, `ct-decrypt`, `ct-generatedatakey`,
//! `ct-disablekey`), as of event version 1.11.

use jiff::tz::TimeZone;
use kmslab_emulator_api::{AuditEvent, AwsDetail, Detail};
use serde_json::{Value, json};

use super::{Caller, names};

/// Prefixes of operations that change nothing; cryptographic operations are "read only" as well.
const READ_PREFIXES: &[&str] = &["Describe", "Get", "List", "Generate"];
const READ_OPERATIONS: &[&str] = &["Decrypt", "Encrypt", "ReEncrypt", "Sign", "Verify"];

/// A CloudTrail record; `None` for an event that CloudTrail does not have.
pub(crate) fn cloudtrail(event: &AuditEvent) -> Option<Value> {
    let Some(Detail::Aws(detail)) = &event.detail else {
        return None;
    };
    let read_only = READ_OPERATIONS.contains(&event.operation.as_str())
        || READ_PREFIXES
            .iter()
            .any(|prefix| event.operation.starts_with(prefix));
    let succeeded = event.code == crate::counts::OK;
    let key = event.keys.first();
    let mut record = json!({
        "eventVersion": "1.11",
        "userIdentity": user_identity(event, detail),
        "eventTime": event.time.to_zoned(TimeZone::UTC).strftime("%FT%TZ").to_string(),
        "eventSource": "kms.amazonaws.com",
        "eventName": event.operation,
        "awsRegion": detail.region,
        "sourceIPAddress": crate::pipeline::audit::ip(event),
        "userAgent": event.user_agent,
        "requestParameters": parameters(detail),
        "responseElements": Value::Null,
    });
    if !succeeded {
        record["errorCode"] = event.code.clone().into();
        record["errorMessage"] = detail.message.clone().into();
    }
    // Since December 2022 also for operations that do not return it.
    if let Some(key) = key.filter(|_| succeeded && !read_only) {
        record["responseElements"] = json!({ "keyId": key.key });
    }
    let material = key.and_then(|key| key.version.as_ref());
    if let Some(material) = material.filter(|_| succeeded) {
        record["additionalEventData"] = json!({ "keyMaterialId": material });
    }
    record["requestID"] = event.request_id.clone().into();
    record["eventID"] = event_id(&event.request_id).into();
    record["readOnly"] = read_only.into();
    let resources = event.keys.iter().map(
        |used| json!({ "accountId": detail.account, "type": "AWS::KMS::Key", "ARN": used.key }),
    );
    record["resources"] = resources.collect();
    record["eventType"] = "AwsApiCall".into();
    record["managementEvent"] = true.into();
    record["recipientAccountId"] = detail.account.clone().into();
    record["eventCategory"] = "Management".into();
    Some(record)
}

fn user_identity(event: &AuditEvent, detail: &AwsDetail) -> Value {
    let caller = Caller {
        account: detail.account.clone(),
        region: detail.region.clone(),
        access_key_id: event.caller.clone(),
    };
    json!({
        "type": "IAMUser",
        // The service has an id of the user here.
        "principalId": event.caller,
        "arn": names::user_arn(&caller),
        "accountId": detail.account,
        "accessKeyId": event.caller,
        "userName": event.caller,
    })
}

fn parameters(detail: &AwsDetail) -> Value {
    match detail.parameters.is_empty() {
        true => Value::Null,
        false => detail.parameters.clone().into(),
    }
}

/// The id of an event, which depends on that of its request: its last digit is another one.
pub(super) fn event_id(request_id: &str) -> String {
    crate::pipeline::faults::wrong::other_id(request_id).unwrap_or_default()
}
