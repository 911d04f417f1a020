//! A fault: what happens to which requests.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Cloud, Effect, InvalidFault, Moment};

/// Maximum length of a name, an operation and a caller in characters.
const MAX_LEN: usize = 128;
/// Maximum length of a key's name: a resource name of Google with all parts at their limit.
const MAX_KEY_LEN: usize = 512;
/// Maximum number of operations of one fault.
const MAX_OPERATIONS: usize = 64;

/// A fault: what happens to which requests. A request is selected if all of the fields that are
/// set match it; then `skip`, `every`, `rate`, `share` and `count` decide, in that order, whether
/// it is hit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Name, unique in an emulator. One is chosen if there is none: `throttle-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What happens.
    pub effect: Effect,
    /// The cloud; all if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<Cloud>,
    /// Operations as in the request counts, such as `Encrypt`; all if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<String>,
    /// The key that the request uses: id, ARN or alias of AWS; name, `VAULT/NAME` or URL of Azure;
    /// last part or whole resource name of Google. Requests that use no key are not selected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The key version that the request uses, by its id or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Access key id, application or service account of the caller, as in the request counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Number of selected requests that are left alone first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    /// Hits every nth selected request: the nth, the 2nth, and so on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// Hits the requests beyond this number per second of the wall clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Probability with which a request is hit, above 0 and at most 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Maximum number of hits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// When the fault begins, on the lab clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Moment>,
    /// When the fault ends, on the lab clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Moment>,
}

impl Fault {
    /// A fault of all requests.
    pub fn new(effect: Effect) -> Self {
        Self {
            name: None,
            effect,
            cloud: None,
            operations: Vec::new(),
            key: None,
            version: None,
            caller: None,
            skip: None,
            every: None,
            rate: None,
            share: None,
            count: None,
            from: None,
            until: None,
        }
    }

    /// Fails if a field has a value that no request can match, or that is too long.
    pub fn validate(&self) -> Result<(), InvalidFault> {
        let text = |field, value: Option<&str>, max: usize| match value {
            Some("") => Err(InvalidFault::new(
                field,
                "is empty; leave it out to select all",
            )),
            Some(value) if value.chars().count() > max => Err(InvalidFault::new(
                field,
                format!("is longer than {max} characters"),
            )),
            Some(value) if value.chars().any(char::is_control) => {
                Err(InvalidFault::new(field, "has a control character"))
            }
            _ => Ok(()),
        };
        let positive = |field, value: Option<u64>| match value {
            Some(0) => Err(InvalidFault::new(field, "is 0; it is at least 1")),
            _ => Ok(()),
        };
        text("name", self.name.as_deref(), MAX_LEN)?;
        text("key", self.key.as_deref(), MAX_KEY_LEN)?;
        text("key-version", self.version.as_deref(), MAX_KEY_LEN)?;
        text("caller", self.caller.as_deref(), MAX_LEN)?;
        if self.operations.len() > MAX_OPERATIONS {
            return Err(InvalidFault::new(
                "operations",
                format!("there are more than {MAX_OPERATIONS}"),
            ));
        }
        for operation in &self.operations {
            text("operations", Some(operation), MAX_LEN)?;
        }
        positive("every", self.every)?;
        positive("count", self.count)?;
        if self
            .share
            .is_some_and(|share| !(share > 0.0 && share <= 1.0))
        {
            return Err(InvalidFault::new(
                "share",
                "is not above 0 and at most 1, such as 0.5",
            ));
        }
        if self.rate.is_some_and(|rate| !(0.001..=1e9).contains(&rate)) {
            return Err(InvalidFault::new(
                "rate",
                "is not from 0.001 to 1000000000 requests per second",
            ));
        }
        if let Some(cloud) = self.cloud
            && !self.effect.applies_to(cloud)
        {
            return Err(InvalidFault::new(
                "effect",
                format!("{} does not exist for {cloud}", self.effect),
            ));
        }
        match (self.from, self.until) {
            (Some(Moment::At(from)), Some(Moment::At(until))) if from >= until => {
                Err(InvalidFault::new("until", "is not after from"))
            }
            (Some(Moment::After(from)), Some(Moment::After(until))) if from >= until => {
                Err(InvalidFault::new("until", "is not after from"))
            }
            _ => Ok(()),
        }
    }
}

/// The fault as arguments of `kmslab faults add`, without its name.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.effect)?;
        for operation in &self.operations {
            write!(f, " --operation {operation}")?;
        }
        let flags: [(&str, Option<&dyn fmt::Display>); 11] = [
            ("cloud", self.cloud.as_ref().map(|value| value as _)),
            ("key", self.key.as_ref().map(|value| value as _)),
            ("key-version", self.version.as_ref().map(|value| value as _)),
            ("caller", self.caller.as_ref().map(|value| value as _)),
            ("skip", self.skip.as_ref().map(|value| value as _)),
            ("every", self.every.as_ref().map(|value| value as _)),
            ("rate", self.rate.as_ref().map(|value| value as _)),
            ("share", self.share.as_ref().map(|value| value as _)),
            ("count", self.count.as_ref().map(|value| value as _)),
            ("from", self.from.as_ref().map(|value| value as _)),
            ("until", self.until.as_ref().map(|value| value as _)),
        ];
        for (name, value) in flags {
            if let Some(value) = value {
                write!(f, " --{name} {value}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_reads_as_the_arguments_that_add_it() {
        let json = r#"{"effect":"latency=10ms..1s","cloud":"aws","operations":["Encrypt","Decrypt"],"share":0.5,"until":"90s"}"#;
        let fault: Fault = serde_json::from_str(json).unwrap();
        assert_eq!(
            fault.to_string(),
            "latency=10ms..1s --operation Encrypt --operation Decrypt --cloud aws --share 0.5 --until 1m30s"
        );
        let back = serde_json::to_string(&fault).unwrap();
        assert_eq!(serde_json::from_str::<Fault>(&back).unwrap(), fault);
    }

    #[test]
    fn values_that_select_nothing_are_refused() {
        for (json, part) in [
            (r#"{"effect":"hang","share":0}"#, "share: "),
            (r#"{"effect":"hang","share":1.1}"#, "share: "),
            (r#"{"effect":"hang","every":0}"#, "every: is 0"),
            (r#"{"effect":"hang","count":0}"#, "count: is 0"),
            (r#"{"effect":"hang","rate":0}"#, "rate: "),
            (r#"{"effect":"hang","key":""}"#, "key: is empty"),
            (
                r#"{"effect":"hang","caller":"a\u0007"}"#,
                "control character",
            ),
            (
                r#"{"effect":"hang","from":"2s","until":"1s"}"#,
                "until: is not after",
            ),
            (
                r#"{"effect":"wrong=checksum","cloud":"azure"}"#,
                "does not exist for azure",
            ),
        ] {
            let fault: Fault = serde_json::from_str(json).unwrap();
            let error = fault.validate().unwrap_err().to_string();
            assert!(error.contains(part), "{json}: {error}");
        }
        for json in [
            "{}",
            r#"{"effect":"slow"}"#,
            r#"{"effect":"hang","shares":1}"#,
            r#"{"effect":"hang","cloud":"oracle"}"#,
            r#"{"effect":"hang","from":"tomorrow"}"#,
        ] {
            assert!(serde_json::from_str::<Fault>(json).is_err(), "{json}");
        }
    }
}
