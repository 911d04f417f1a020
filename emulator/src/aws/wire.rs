//! Typed access to the members of a request body, with the errors of the service's JSON 1.1
//! protocol.
//!
//! Messages about types follow recordings of sister services; they name the Java class that a value
//! was read as. Messages repeat a value only where it cannot be secret: never plaintexts or
//! messages.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{AwsError, Operation};

const NUMBER_CLASS: &str = "class com.amazon.coral.value.json.numbers.TruncatingBigNumber";
const BOOLEAN_CLASS: &str = "class java.lang.Boolean";
/// The only dry-run modifier.
const IGNORE_CIPHERTEXT: &str = "IGNORE_CIPHERTEXT";
const STRING_CLASS: &str = "class java.lang.String";

/// The members of a request, or of a structure in it. `null` counts as absent.
pub(crate) struct Input {
    operation: &'static Operation,
    /// Path of this structure in the request, as error messages show it: empty, or
    /// `tags.1.member.`.
    path: String,
    members: Map<String, Value>,
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.members.keys().collect();
        f.debug_struct("Input")
            .field("operation", &self.operation)
            .field("members", &names)
            .finish_non_exhaustive()
    }
}

impl Input {
    pub(crate) fn parse(operation: &'static Operation, body: &[u8]) -> Result<Self, AwsError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => Ok(Self {
                operation,
                path: String::new(),
                members,
            }),
            _ => Err(AwsError::malformed_body()),
        }
    }

    /// The operation that was called.
    pub(crate) fn operation(&self) -> &'static Operation {
        self.operation
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    /// All members that are not `null`.
    pub(super) fn members(&self) -> impl Iterator<Item = (&str, &Value)> {
        let members = self.members.iter();
        members
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.as_str(), value))
    }

    /// The path of a member as error messages show it: `KeyId` is `keyId`.
    fn member_path(&self, name: &str) -> String {
        let mut listed = self.path.clone();
        let mut letters = name.chars();
        listed.extend(letters.next().map(|first| first.to_ascii_lowercase()));
        listed.push_str(letters.as_str());
        listed
    }

    pub(crate) fn missing(&self, name: &str) -> AwsError {
        AwsError::constraint("null", &self.member_path(name), "Member must not be null")
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A string of `length` characters.
    pub(crate) fn string(
        &self,
        name: &str,
        length: RangeInclusive<usize>,
    ) -> Result<Option<&str>, AwsError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let text = as_text(value)?;
        check_length(text.chars().count(), &length, || {
            (format!("'{text}'"), self.member_path(name))
        })?;
        Ok(Some(text))
    }

    pub(crate) fn required_string(
        &self,
        name: &str,
        length: RangeInclusive<usize>,
    ) -> Result<&str, AwsError> {
        self.string(name, length)?.ok_or_else(|| self.missing(name))
    }

    /// One of `allowed`, which are in the order in which the service lists them.
    pub(crate) fn one_of(
        &self,
        name: &str,
        allowed: &[&'static str],
    ) -> Result<Option<&'static str>, AwsError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let text = as_text(value)?;
        let known = allowed.iter().find(|known| **known == text).copied();
        known.map(Some).ok_or_else(|| {
            let rule = format!(
                "Member must satisfy enum value set: [{}]",
                allowed.join(", ")
            );
            AwsError::constraint(&format!("'{text}'"), &self.member_path(name), rule)
        })
    }

    /// An integer; fractions are cut off, as the service does.
    pub(crate) fn integer(
        &self,
        name: &str,
        range: RangeInclusive<i64>,
    ) -> Result<Option<i64>, AwsError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let Value::Number(number) = value else {
            return Err(unexpected(value, "an Integer"));
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a float beyond i64 becomes its end, which no range has"
        )]
        let given = number
            .as_i64()
            .or_else(|| number.as_f64().map(|float| float as i64))
            .unwrap_or(i64::MAX);
        let refused = |rule: String| {
            Err(AwsError::constraint(
                &format!("'{given}'"),
                &self.member_path(name),
                rule,
            ))
        };
        if given < *range.start() {
            return refused(format!(
                "Member must have value greater than or equal to {}",
                range.start()
            ));
        }
        if given > *range.end() {
            return refused(format!(
                "Member must have value less than or equal to {}",
                range.end()
            ));
        }
        Ok(Some(given))
    }

    /// A boolean, or the string `true` or `false`.
    pub(crate) fn boolean(&self, name: &str) -> Result<Option<bool>, AwsError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(Value::String(text)) => Err(AwsError::wrong_type(format!(
                "'{}' can not be converted to an Boolean",
                text.to_uppercase()
            ))),
            Some(value) => Err(unexpected(value, "an Boolean")),
        }
    }

    /// Base64 bytes whose decoded length is in `length`. Zeroized on drop and never repeated in
    /// errors.
    pub(crate) fn blob(
        &self,
        name: &str,
        length: RangeInclusive<usize>,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, AwsError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let Value::String(text) = value else {
            return Err(unexpected(value, "a Blob"));
        };
        let bytes = Zeroizing::new(decode(text)?);
        check_length(bytes.len(), &length, || {
            (String::new(), self.member_path(name))
        })?;
        Ok(Some(bytes))
    }

    pub(crate) fn required_blob(
        &self,
        name: &str,
        length: RangeInclusive<usize>,
    ) -> Result<Zeroizing<Vec<u8>>, AwsError> {
        self.blob(name, length)?.ok_or_else(|| self.missing(name))
    }

    fn list(&self, name: &str) -> Result<Option<&Vec<Value>>, AwsError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(Value::Object(_)) => Err(unexpected_structure()),
            Some(_) => Err(AwsError::wrong_type("Expected list or null")),
        }
    }

    /// A list of at most `most` strings.
    pub(crate) fn strings(&self, name: &str, most: usize) -> Result<Option<Vec<&str>>, AwsError> {
        let Some(list) = self.list(name)? else {
            return Ok(None);
        };
        let texts = list.iter().map(as_text).collect::<Result<Vec<_>, _>>()?;
        check_length(texts.len(), &(0..=most), || {
            (format!("'[{}]'", texts.join(", ")), self.member_path(name))
        })?;
        Ok(Some(texts))
    }

    /// A list of structures.
    pub(crate) fn structures(&self, name: &str) -> Result<Option<Vec<Self>>, AwsError> {
        let Some(list) = self.list(name)? else {
            return Ok(None);
        };
        let structures = list.iter().enumerate().map(|(index, value)| match value {
            Value::Object(members) => {
                let path = format!("{}.{}.member.", self.member_path(name), index + 1);
                Ok(Self {
                    operation: self.operation,
                    path,
                    members: members.clone(),
                })
            }
            Value::Array(_) => Err(unexpected_list()),
            _ => Err(AwsError::wrong_type("Expected null")),
        });
        structures.collect::<Result<Vec<_>, _>>().map(Some)
    }

    /// A map from strings to strings; empty if absent.
    pub(crate) fn string_map(&self, name: &str) -> Result<BTreeMap<&str, &str>, AwsError> {
        match self.get(name) {
            None => Ok(BTreeMap::new()),
            Some(Value::Object(map)) => map
                .iter()
                .map(|(key, value)| Ok((key.as_str(), as_text(value)?)))
                .collect(),
            Some(Value::Array(_)) => Err(unexpected_list()),
            Some(_) => Err(AwsError::wrong_type("Expected map or null")),
        }
    }

    /// Whether this is a dry run that ignores the ciphertext.
    pub(crate) fn ignores_ciphertext(&self) -> Result<bool, AwsError> {
        let modifiers = self.strings("DryRunModifiers", 1)?.unwrap_or_default();
        if let Some(unknown) = modifiers
            .iter()
            .find(|modifier| **modifier != IGNORE_CIPHERTEXT)
        {
            let rule = format!("Member must satisfy enum value set: [{IGNORE_CIPHERTEXT}]");
            return Err(AwsError::constraint(
                &format!("'{unknown}'"),
                &self.member_path("DryRunModifiers"),
                rule,
            ));
        }
        Ok(!modifiers.is_empty() && self.dry_run()?)
    }

    /// Whether this is a dry run. Grant tokens are validated and otherwise ignored, as there are no
    /// grants.
    pub(crate) fn dry_run(&self) -> Result<bool, AwsError> {
        self.strings("GrantTokens", 10)?;
        Ok(self.boolean("DryRun")?.unwrap_or(false))
    }
}

/// A timestamp of the protocol: seconds since 1970 with milliseconds as a fraction.
#[expect(clippy::cast_precision_loss, reason = "exact for 285,000 years")]
pub(crate) fn epoch_seconds(time: Timestamp) -> Value {
    (time.as_millisecond() as f64 / 1000.0).into()
}

fn as_text(value: &Value) -> Result<&str, AwsError> {
    value.as_str().ok_or_else(|| unexpected(value, "an String"))
}

fn unexpected(value: &Value, requested: &str) -> AwsError {
    let class = match value {
        Value::Array(_) => return unexpected_list(),
        Value::Object(_) => return unexpected_structure(),
        Value::Bool(_) => BOOLEAN_CLASS,
        Value::Number(_) => NUMBER_CLASS,
        Value::String(_) => STRING_CLASS,
        Value::Null => return AwsError::wrong_type("Expected null"),
    };
    AwsError::wrong_type(format!("{class} can not be converted to {requested}"))
}

fn unexpected_list() -> AwsError {
    AwsError::wrong_type("Start of list found where not expected")
}

fn unexpected_structure() -> AwsError {
    AwsError::wrong_type("Start of structure or map found where not expected.")
}

/// Fails if `length` is outside `range`. `described` gives the value and the member of the error.
fn check_length(
    length: usize,
    range: &RangeInclusive<usize>,
    described: impl FnOnce() -> (String, String),
) -> Result<(), AwsError> {
    let refused = |rule: String| {
        let (value, member) = described();
        Err(AwsError::constraint(&value, &member, rule))
    };
    if length < *range.start() {
        return refused(format!(
            "Member must have length greater than or equal to {}",
            range.start()
        ));
    }
    if length > *range.end() {
        return refused(format!(
            "Member must have length less than or equal to {}",
            range.end()
        ));
    }
    Ok(())
}

/// Decodes base64 with padding. The service repeats the value in its error; it is left out here,
/// because it may be a plaintext.
fn decode(text: &str) -> Result<Vec<u8>, AwsError> {
    let refused =
        |reason: String| AwsError::wrong_type(format!("can not be converted to a Blob: {reason}"));
    if !text.len().is_multiple_of(4) {
        let length = text.len();
        return Err(refused(format!(
            "Base64 encoded length is expected a multiple of 4 bytes but found: {length}"
        )));
    }
    STANDARD.decode(text).map_err(|error| match error {
        base64::DecodeError::InvalidLastSymbol { .. } => {
            refused("Invalid last non-pad Base64 character dectected".to_owned())
        }
        _ => refused("Invalid Base64 character".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn input(value: &Value) -> Input {
        Input::parse(
            Operation::find("Encrypt").unwrap(),
            value.to_string().as_bytes(),
        )
        .unwrap()
    }

    fn words<T: fmt::Debug>(answer: Result<T, AwsError>) -> String {
        let error = answer.unwrap_err();
        format!("{}: {}", error.kind, error.message.unwrap_or_default())
    }

    #[test]
    fn members_of_the_wrong_type_get_the_protocols_errors() {
        let given = input(
            &json!({ "KeyId": 1, "Plaintext": true, "GrantTokens": "x", "EncryptionContext": [], "N": "1" }),
        );
        let number = "class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not be converted to an String";
        assert_eq!(
            words(given.string("KeyId", 1..=2048)),
            format!("SerializationException: {number}")
        );
        let boolean = "class java.lang.Boolean can not be converted to a Blob";
        assert_eq!(
            words(given.blob("Plaintext", 0..=1)),
            format!("SerializationException: {boolean}")
        );
        assert_eq!(
            words(given.strings("GrantTokens", 10)),
            "SerializationException: Expected list or null"
        );
        let list = "SerializationException: Start of list found where not expected";
        assert_eq!(words(given.string_map("EncryptionContext")), list);
        assert!(
            words(given.integer("N", 1..=2))
                .ends_with("java.lang.String can not be converted to an Integer")
        );
    }

    #[test]
    fn bound_violations_name_the_member_and_repeat_no_secret() {
        let given = input(
            &json!({ "NumberOfBytes": 1025, "Plaintext": "c2VjcmV0", "Spec": "X", "Marker": "" }),
        );
        let start = "ValidationException: 1 validation error detected: Value";
        assert_eq!(
            words(given.integer("NumberOfBytes", 1..=1024)),
            format!(
                "{start} '1025' at 'numberOfBytes' failed to satisfy constraint: Member must have value less than or equal to 1024"
            )
        );
        assert_eq!(
            words(given.blob("Plaintext", 1..=4)),
            format!(
                "{start} at 'plaintext' failed to satisfy constraint: Member must have length less than or equal to 4"
            )
        );
        assert_eq!(
            words(given.one_of("Spec", &["B", "A"])),
            format!(
                "{start} 'X' at 'spec' failed to satisfy constraint: Member must satisfy enum value set: [B, A]"
            )
        );
        assert_eq!(
            words(given.required_string("KeyId", 1..=2048)),
            format!(
                "{start} null at 'keyId' failed to satisfy constraint: Member must not be null"
            )
        );
        assert!(
            words(given.string("Marker", 1..=9)).ends_with("length greater than or equal to 1")
        );
        assert!(!format!("{given:?}").contains("c2VjcmV0"));
    }

    #[test]
    fn invalid_base64_is_rejected_and_not_repeated() {
        let given =
            input(&json!({ "A": "c2VjcmV", "B": "c2Vj!mV0", "C": "c2VjcmV1c2=0", "D": "" }));
        assert!(words(given.blob("A", 0..=9)).ends_with("a multiple of 4 bytes but found: 7"));
        for name in ["B", "C"] {
            let words = words(given.blob(name, 0..=9));
            assert!(
                words.contains("can not be converted to a Blob") && !words.contains("c2V"),
                "{words}"
            );
        }
        assert_eq!(given.blob("D", 0..=9).unwrap().unwrap().len(), 0);
    }

    #[test]
    fn body_that_is_not_an_object_is_malformed() {
        for body in ["", "{", "[]", "null", "\"x\"", "{\"a\":1}}"] {
            let error =
                Input::parse(Operation::find("Encrypt").unwrap(), body.as_bytes()).unwrap_err();
            assert_eq!(error, AwsError::bare("SerializationException"), "{body}");
        }
    }

    proptest! {
        #[test]
        fn parsing_arbitrary_input_never_panics(body in proptest::collection::vec(any::<u8>(), 0..200), text in ".*", number in any::<f64>()) {
            let _ = Input::parse(Operation::find("Encrypt").unwrap(), &body);
            let given = input(&json!({ "T": text, "N": number, "M": { &text: text }, "L": [text] }));
            for name in ["T", "N", "M", "L"] {
                let _ = (given.string(name, 1..=3), given.integer(name, 1..=3), given.blob(name, 1..=3), given.boolean(name));
                let _ = (given.strings(name, 1), given.structures(name).is_ok(), given.string_map(name));
            }
        }
    }
}
