//! What a fault does to a request, and its text form.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration::{format_duration, parse_duration};
use super::{Cloud, InvalidFault};

/// What a fault does to a request. Its text form is used by `kmslab faults add`, fault files and
/// the admin port:
///
/// | text | the request |
/// |---|---|
/// | `latency=100ms`, `latency=100ms..2s` | is answered after a delay, fixed or random in a range |
/// | `throttle`, `throttle=5s` | gets the vendor's throttling error, with `Retry-After` if given |
/// | `error=CODE` | gets an error of the vendor: an exception of AWS, a code of Azure, a status of Google |
/// | `hang`, `hang=2s` | gets no response until the client leaves, or until its connection ends after that time |
/// | `reset`, `reset=middle` | ends with a TCP reset, before the response or in the middle of it |
/// | `wrong=bit`, `wrong=version`, `wrong=checksum` | gets a successful response that is wrong |
/// | `permission-revoked` | is answered as if the caller had lost its permission |
/// | `key-disabled`, `key-gone` | is answered as if the key, or the version, were disabled or deleted |
/// | `token-expired` | is answered as if the caller's token or credential had expired |
///
/// Durations have units: `250ms`, `2s`, `1m30s`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Effect {
    /// The response comes later. The delay is random from `min` to `max`.
    Latency {
        /// Shortest delay.
        min: Duration,
        /// Longest delay; equal to `min` if the delay is fixed.
        max: Duration,
    },
    /// The vendor's throttling error.
    Throttle {
        /// `Retry-After`, at least a second. AWS KMS sends none, so it is not sent for AWS.
        retry_after: Option<Duration>,
    },
    /// The vendor's error with this code.
    Error {
        /// An exception of AWS KMS (`KMSInternalException`), a code of Key Vault
        /// (`InternalServerError`), or a status of Google (`UNAVAILABLE`).
        code: String,
    },
    /// No response.
    Hang {
        /// Until the connection is closed; if `None`, until the client closes it, the fault is
        /// removed or the emulator stops.
        timeout: Option<Duration>,
    },
    /// A TCP reset.
    Reset(ResetAt),
    /// A successful response that is wrong.
    Wrong(Wrong),
    /// The caller has lost its permission.
    PermissionRevoked,
    /// The key, or the version, is disabled.
    KeyDisabled,
    /// The key, or the version, is deleted.
    KeyGone,
    /// The caller's token or credential has expired.
    TokenExpired,
}

/// When a connection is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetAt {
    /// Before the response. The operation does not run.
    Start,
    /// After half of the response's body. The operation has run.
    Middle,
}

/// What is wrong with a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// A bit of the ciphertext or of the plaintext is flipped; checksums match the flipped bytes.
    Bit,
    /// The response names another version of the key.
    Version,
    /// A checksum of Google's does not match.
    Checksum,
}

/// Names of effects without a value, in the order of the table above.
const PLAIN: &[(&str, Effect)] = &[
    ("throttle", Effect::Throttle { retry_after: None }),
    ("hang", Effect::Hang { timeout: None }),
    ("reset", Effect::Reset(ResetAt::Start)),
    ("reset=middle", Effect::Reset(ResetAt::Middle)),
    ("wrong=bit", Effect::Wrong(Wrong::Bit)),
    ("wrong=version", Effect::Wrong(Wrong::Version)),
    ("wrong=checksum", Effect::Wrong(Wrong::Checksum)),
    ("permission-revoked", Effect::PermissionRevoked),
    ("key-disabled", Effect::KeyDisabled),
    ("key-gone", Effect::KeyGone),
    ("token-expired", Effect::TokenExpired),
];

/// All effects, as an error lists them.
fn all() -> String {
    let plain = PLAIN.iter().map(|(name, _)| *name);
    let names: Vec<&str> = ["latency=MIN..MAX", "error=CODE"]
        .into_iter()
        .chain(plain)
        .collect();
    names.join(", ")
}

impl Effect {
    /// The text form without its value: `latency`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Latency { .. } => "latency",
            Self::Throttle { .. } => "throttle",
            Self::Error { .. } => "error",
            Self::Hang { .. } => "hang",
            Self::Reset(_) => "reset",
            Self::Wrong(_) => "wrong",
            Self::PermissionRevoked => "permission-revoked",
            Self::KeyDisabled => "key-disabled",
            Self::KeyGone => "key-gone",
            Self::TokenExpired => "token-expired",
        }
    }

    /// The clouds in which the effect exists.
    pub fn applies_to(&self, cloud: Cloud) -> bool {
        match self {
            Self::Wrong(Wrong::Checksum) => cloud == Cloud::Gcp,
            _ => true,
        }
    }
}

impl FromStr for Effect {
    type Err = InvalidFault;

    fn from_str(text: &str) -> Result<Self, InvalidFault> {
        if let Some((_, effect)) = PLAIN.iter().find(|(name, _)| *name == text) {
            return Ok(effect.clone());
        }
        let unknown = || {
            InvalidFault::new(
                "effect",
                format!("there is no '{text}'; there are {}", all()),
            )
        };
        let (name, value) = text.split_once('=').ok_or_else(unknown)?;
        let duration = |value| parse_duration("effect", value);
        match name {
            "latency" => {
                let (min, max) = value.split_once("..").unwrap_or((value, value));
                let (min, max) = (duration(min)?, duration(max)?);
                match min <= max {
                    true => Ok(Self::Latency { min, max }),
                    false => Err(InvalidFault::new(
                        "effect",
                        format!("the latency '{value}' ends before it begins"),
                    )),
                }
            }
            "throttle" => {
                let retry_after = duration(value)?;
                match retry_after.as_secs() > 0 && retry_after.subsec_nanos() == 0 {
                    true => Ok(Self::Throttle {
                        retry_after: Some(retry_after),
                    }),
                    false => Err(InvalidFault::new(
                        "effect",
                        format!(
                            "'{value}' is not a number of whole seconds, which Retry-After has"
                        ),
                    )),
                }
            }
            "error" => {
                let is_code = (1..=64).contains(&value.len())
                    && value
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
                match is_code {
                    true => Ok(Self::Error {
                        code: value.to_owned(),
                    }),
                    false => Err(InvalidFault::new(
                        "effect",
                        "an error code is 1 to 64 letters, digits, '_', '.' or '-'",
                    )),
                }
            }
            "hang" => Ok(Self::Hang {
                timeout: Some(duration(value)?),
            }),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, _)) = PLAIN.iter().find(|(_, effect)| effect == self) {
            return f.write_str(name);
        }
        match self {
            Self::Latency { min, max } if min == max => {
                write!(f, "latency={}", format_duration(*min))
            }
            Self::Latency { min, max } => {
                write!(
                    f,
                    "latency={}..{}",
                    format_duration(*min),
                    format_duration(*max)
                )
            }
            Self::Throttle {
                retry_after: Some(time),
            } => {
                write!(f, "throttle={}", format_duration(*time))
            }
            Self::Error { code } => write!(f, "error={code}"),
            Self::Hang {
                timeout: Some(time),
            } => write!(f, "hang={}", format_duration(*time)),
            // All others have a plain name.
            _ => Ok(()),
        }
    }
}

impl From<Effect> for String {
    fn from(effect: Effect) -> Self {
        effect.to_string()
    }
}

impl TryFrom<String> for Effect {
    type Error = InvalidFault;

    fn try_from(text: String) -> Result<Self, InvalidFault> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_effect_has_one_text_form() {
        let others = [
            "latency=100ms",
            "latency=100ms..2s",
            "throttle=5s",
            "throttle=1m30s",
            "error=KMSInternalException",
            "error=UNAVAILABLE",
            "hang=2s",
        ];
        for text in PLAIN.iter().map(|(name, _)| *name).chain(others) {
            let effect: Effect = text.parse().unwrap();
            assert_eq!(effect.to_string(), text);
        }
    }

    #[test]
    fn malformed_effects_are_errors_that_name_the_remedy() {
        for (text, part) in [
            ("", "there are latency=MIN..MAX"),
            ("slow", "there is no 'slow'"),
            ("reset=end", "there is no 'reset=end'"),
            ("latency=5", "has a unit"),
            ("latency=2s..1s", "ends before it begins"),
            ("latency=-1s", "negative"),
            ("latency=2h", "at most"),
            ("throttle=1500ms", "whole seconds"),
            ("throttle=0s", "whole seconds"),
            ("hang=", "has a unit"),
            ("error=", "1 to 64"),
            ("error=a b", "1 to 64"),
        ] {
            let error = text.parse::<Effect>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
