//! Reading requests and writing responses: API versions, JSON bodies, base64url, timestamps.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use jiff::Timestamp;
use jiff::civil::{Date, date};
use serde_json::{Map, Value};

use super::AzureError;

/// Written without padding; some clients send padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// The newest API version of the service, which its error messages name.
const LATEST: &str = "2026-04-01";
const FIRST_DATED_VERSION: Date = date(2025, 6, 1);

/// An API version in the order of their release; a preview counts as the version it became.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ApiVersion {
    /// 2016-10-01.
    First,
    /// 7.0 to 7.6, by the minor number.
    Numbered(u8),
    /// Any date from 2025-06-01 on.
    Dated(Date),
}

/// Parses an API version by rule instead of a list, so that newer SDKs work: 2016-10-01, 7.0 to
/// 7.6, and dates, the last two also as previews.
pub(super) fn api_version(query: &str) -> Result<ApiVersion, AzureError> {
    let version = self::query_parameter(query, "api-version").filter(|version| !version.is_empty());
    let version = version.ok_or_else(AzureError::no_version)?;
    if version == "2016-10-01" {
        return Ok(ApiVersion::First);
    }
    let (stable, preview) = match version.split_once("-preview") {
        Some((stable, rest)) => (
            stable,
            rest.is_empty() || rest.strip_prefix('.').is_some_and(is_number),
        ),
        None => (&*version, true),
    };
    let known = match stable.strip_prefix("7.").map(str::as_bytes) {
        Some(&[minor @ b'0'..=b'6']) => Some(ApiVersion::Numbered(minor - b'0')),
        Some(_) => None,
        None => parse_dated(stable)
            .filter(|date| *date >= FIRST_DATED_VERSION)
            .map(ApiVersion::Dated),
    };
    known
        .filter(|_| preview)
        .ok_or_else(|| AzureError::unknown_version(&version, LATEST))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn parse_dated(text: &str) -> Option<Date> {
    text.parse().ok().filter(|_| text.len() == 10)
}

/// Returns a parameter of the query.
pub(super) fn query_parameter(query: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, v)| v.into_owned())
}

/// The JSON object of a request. Unknown members are ignored.
#[derive(Debug, Clone, Default)]
pub(super) struct Input(Map<String, Value>);

impl Input {
    /// An absent body counts as an empty object.
    pub(super) fn parse(body: &[u8]) -> Result<Self, AzureError> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => Ok(Self(members)),
            Ok(_) => Err(AzureError::bad_parameter(
                "The request body is not a JSON object.",
            )),
            Err(error) => Err(AzureError::bad_parameter(format!(
                "The request body is not valid JSON: {error}"
            ))),
        }
    }

    /// Returns a member unless it is null.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn object(&self, name: &str) -> Result<Option<Self>, AzureError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(members)) => Ok(Some(Self(members.clone()))),
            Some(_) => Err(invalid(name)),
        }
    }

    pub(super) fn string(&self, name: &str) -> Result<Option<&str>, AzureError> {
        self.get(name)
            .map(|value| value.as_str().ok_or_else(|| invalid(name)))
            .transpose()
    }

    pub(super) fn required_string(&self, name: &str) -> Result<&str, AzureError> {
        self.string(name)?.ok_or_else(|| missing(name))
    }

    pub(super) fn boolean(&self, name: &str) -> Result<Option<bool>, AzureError> {
        self.get(name)
            .map(|value| value.as_bool().ok_or_else(|| invalid(name)))
            .transpose()
    }

    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, AzureError> {
        self.get(name)
            .map(|value| value.as_i64().ok_or_else(|| invalid(name)))
            .transpose()
    }

    pub(super) fn strings(&self, name: &str) -> Result<Option<Vec<String>>, AzureError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let items = value.as_array().ok_or_else(|| invalid(name))?;
        items
            .iter()
            .map(|item| {
                item.as_str()
                    .map(str::to_owned)
                    .ok_or_else(|| invalid(name))
            })
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// A timestamp in whole seconds since 1970.
    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>, AzureError> {
        self.integer(name)?
            .map(|seconds| Timestamp::from_second(seconds).map_err(|_| invalid(name)))
            .transpose()
    }

    pub(super) fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, AzureError> {
        self.string(name)?
            .map(|text| BASE64.decode(text).map_err(|_| invalid(name)))
            .transpose()
    }

    pub(super) fn required_bytes(&self, name: &str) -> Result<Vec<u8>, AzureError> {
        self.bytes(name)?.ok_or_else(|| missing(name))
    }

    /// A map of strings, such as tags.
    pub(super) fn map(
        &self,
        name: &str,
    ) -> Result<Option<std::collections::BTreeMap<String, String>>, AzureError> {
        let Some(Self(members)) = self.object(name)? else {
            return Ok(None);
        };
        let pair = |(key, value): (String, Value)| match value {
            Value::String(text) => Ok((key, text)),
            _ => Err(invalid(name)),
        };
        members
            .into_iter()
            .map(pair)
            .collect::<Result<_, _>>()
            .map(Some)
    }
}

pub(super) fn invalid(name: &str) -> AzureError {
    AzureError::bad_parameter(format!("Invalid value for property {name}"))
}

pub(super) fn missing(name: &str) -> AzureError {
    AzureError::bad_parameter(format!("Property {name} is required"))
}

pub(super) fn encode_base64url(bytes: &[u8]) -> Value {
    BASE64.encode(bytes).into()
}

pub(super) fn epoch_seconds(at: Timestamp) -> Value {
    at.as_second().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn api_versions_are_accepted_by_rule() {
        for good in [
            "2016-10-01",
            "7.0",
            "7.6",
            "7.6-preview.2",
            "7.5-preview",
            "2025-07-01",
            "2031-01-01",
            "2026-02-01-preview",
        ] {
            assert!(
                api_version(&format!("api-version={good}")).is_ok(),
                "{good}"
            );
        }
        for bad in [
            "7.7",
            "7",
            "1999-01-01",
            "2024-07-01",
            "2025-13-01",
            "7.0-preview.x",
            "v1",
            "7.00",
        ] {
            let refused = api_version(&format!("api-version={bad}")).unwrap_err();
            assert!(
                refused
                    .message
                    .contains(&format!("({bad}) is not recognized")),
                "{refused:?}"
            );
        }
        assert!(api_version("").is_err() && api_version("api-version=").is_err());
    }

    #[test]
    fn dated_api_versions_are_newer_than_numbered_ones() {
        let of = |version: &str| api_version(&format!("api-version={version}")).unwrap();
        let ascending = [
            "2016-10-01",
            "7.0",
            "7.2",
            "7.3",
            "7.5",
            "7.6",
            "2025-07-01",
            "2026-01-01",
            "2026-04-01",
        ];
        assert!(ascending.map(of).is_sorted_by(|a, b| a < b));
        for (preview, stable) in [
            ("7.6-preview.2", "7.6"),
            ("2026-01-01-preview", "2026-01-01"),
        ] {
            assert_eq!(of(preview), of(stable));
        }
        assert_eq!(
            (of("7.3"), of("2026-01-01")),
            (ApiVersion::Numbered(3), ApiVersion::Dated(date(2026, 1, 1)))
        );
    }

    #[test]
    fn base64url_parses_with_and_without_padding() {
        let input = Input::parse(br#"{"a":"_-8","b":"_-8=","c":"+/8=","d":null}"#).unwrap();
        assert_eq!(input.bytes("a").unwrap(), Some(vec![255, 239]));
        assert_eq!(input.bytes("b").unwrap(), input.bytes("a").unwrap());
        assert!(input.bytes("c").is_err());
        assert_eq!(input.bytes("d").unwrap(), None);
        assert_eq!(encode_base64url(&[255, 239]), "_-8");
    }

    proptest! {
        #[test]
        fn parsing_bodies_and_queries_never_panics(body: Vec<u8>, text: String) {
            let _ = api_version(&text);
            if let Ok(input) = Input::parse(&body) {
                let _ = (input.object(&text), input.strings(&text), input.map(&text), input.time(&text));
            }
        }
    }
}
