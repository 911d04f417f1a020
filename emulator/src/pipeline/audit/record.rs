//! What is recorded of a request: the fields of [`AuditEvent`](kmslab_emulator_api::AuditEvent) in
//! their order, borrowed and without the sequence number, which is known last.

use std::net::SocketAddr;

use jiff::Timestamp;
use kmslab_emulator_api::{AuditEvent, AwsDetail, AzureDetail, Cloud, Detail, GcpDetail, KeyUse};
use serde::Serialize;
use tokio::time::Instant;

use super::Ended;
use super::audited::{MAX_TEXT_LEN, start};

#[derive(Debug, Serialize)]
pub(super) struct Record<'a> {
    time: Timestamp,
    lab_time: Timestamp,
    cloud: Cloud,
    operation: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    keys: &'a [KeyUse],
    caller: &'a str,
    code: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    faults: &'a [String],
    duration_us: u64,
    // Fields, where the event flattens an enum: that is several times as slow.
    #[serde(skip_serializing_if = "Option::is_none")]
    aws: Option<&'a AwsDetail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    azure: Option<&'a AzureDetail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gcp: Option<&'a GcpDetail>,
}

impl<'a> Record<'a> {
    pub(super) fn new(ended: &'a Ended<'_>, time: Timestamp, lab_time: Timestamp) -> Self {
        let Ended {
            audited, origin, ..
        } = ended;
        let (aws, azure, gcp) = match &audited.detail {
            None => (None, None, None),
            Some(Detail::Aws(detail)) => (Some(detail), None, None),
            Some(Detail::Azure(detail)) => (None, Some(detail), None),
            Some(Detail::Gcp(detail)) => (None, None, Some(detail)),
        };
        Self {
            time,
            lab_time,
            cloud: ended.cloud,
            operation: &ended.labels.operation,
            keys: &audited.keys,
            caller: start(&ended.labels.caller, MAX_TEXT_LEN),
            code: ended.code,
            request_id: &origin.request_id,
            address: origin.address,
            user_agent: origin.user_agent.as_deref(),
            faults: &ended.faults,
            duration_us: duration_us(origin.start),
            aws,
            azure,
            gcp,
        }
    }

    pub(super) fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        // Most events fit.
        let mut json = Vec::with_capacity(1024);
        serde_json::to_writer(&mut json, self)?;
        Ok(json)
    }
}

/// The JSON of a whole event.
pub(super) fn numbered(sequence: u64, record: &[u8]) -> Vec<u8> {
    let start = format!(r#"{{"sequence":{sequence},"#);
    let rest = record.strip_prefix(b"{").unwrap_or(record);
    [start.as_bytes(), rest].concat()
}

/// The event of a record.
pub(super) fn parse(sequence: u64, record: &[u8]) -> Option<AuditEvent> {
    serde_json::from_slice(&numbered(sequence, record)).ok()
}

fn duration_us(start: Option<Instant>) -> u64 {
    let duration = start.map(|start| start.elapsed()).unwrap_or_default();
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Audited, Origin};
    use super::*;
    use crate::pipeline::Labels;

    /// A request with all fields, and details of this cloud.
    fn recorded(cloud: Cloud, detail: Detail) -> String {
        let ended = Ended {
            cloud,
            labels: &Labels {
                operation: "Encrypt".into(),
                caller: "é".repeat(MAX_TEXT_LEN + 1).into(),
            },
            code: "OK",
            audited: Audited {
                keys: vec![KeyUse {
                    key: "k".to_owned(),
                    version: Some("1".to_owned()),
                    ciphertext: Some(KeyUse::fingerprint(b"x")),
                }],
                detail: Some(detail),
            },
            origin: Origin {
                start: None,
                request_id: "r".to_owned(),
                address: Some("127.0.0.1:1".parse().unwrap()),
                user_agent: Some("\"agent\"".to_owned()),
            },
            faults: vec!["throttle-1".to_owned()],
        };
        let time = Timestamp::from_millisecond(1).unwrap();
        let record = Record::new(&ended, time, Timestamp::MAX).to_json().unwrap();
        let event = parse(7, &record).unwrap();
        assert_eq!(event.caller.chars().count(), MAX_TEXT_LEN);
        assert_eq!((event.sequence, event.lab_time), (7, Timestamp::MAX));
        let whole = String::from_utf8(numbered(7, &record)).unwrap();
        assert_eq!(serde_json::to_string(&event).unwrap(), whole);
        whole
    }

    #[test]
    fn a_record_is_the_json_of_its_event() {
        let aws = json!({ "aws": {
            "account": "1", "region": "r", "parameters": { "keyId": "k" }, "message": "m",
        }});
        let azure = json!({ "azure": {
            "resource_id": "i", "rbac": true, "object_id": "o", "uri": "u", "api_version": "v",
            "algorithm": "RSA-OAEP", "status": 200, "message": "m",
        }});
        let gcp = json!({ "gcp": {
            "permission": "p", "resource": "r", "granted": true, "status": 0, "message": "m",
        }});
        for (cloud, detail) in [(Cloud::Aws, aws), (Cloud::Azure, azure), (Cloud::Gcp, gcp)] {
            let whole = recorded(cloud, serde_json::from_value(detail.clone()).unwrap());
            let fields: serde_json::Value = serde_json::from_str(&whole).unwrap();
            assert_eq!(fields[cloud.as_str()], detail[cloud.as_str()]);
            assert_eq!(fields.as_object().unwrap().len(), 14);
        }
    }
}
