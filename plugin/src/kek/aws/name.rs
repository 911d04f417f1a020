//! Values of `--key`.

/// Why `--key` is not a KMS key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "--key {given:?} names no KMS key: {reason}; give an ARN such as \
     arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab, alias/NAME, or a key id"
)]
pub struct NameError {
    given: String,
    reason: &'static str,
}

/// A well-formed configured name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyName {
    given: String,
    region: Option<String>,
    is_key_arn: bool,
}

impl KeyName {
    pub(super) fn parse(given: &str) -> Result<Self, NameError> {
        let error = |reason| NameError {
            given: given.to_owned(),
            reason,
        };
        let name = |region: Option<&str>, is_key_arn| {
            Ok(Self {
                given: given.to_owned(),
                region: region.map(str::to_owned),
                is_key_arn,
            })
        };
        if !given.starts_with("arn:") {
            return match given.strip_prefix("alias/") {
                Some(alias) if is_alias(alias) => name(None, false),
                Some(_) => Err(error(
                    "the alias is empty or has other characters than letters, digits and /_-",
                )),
                None if is_key_id(given) => name(None, false),
                None => Err(error(
                    "it is neither an ARN nor an alias, and a key id is a UUID, or mrk- and 32 hex digits",
                )),
            };
        }
        let parts: Vec<&str> = given.splitn(6, ':').collect();
        let [_, partition, service, region, account, resource] = parts[..] else {
            return Err(error("an ARN has six parts between colons"));
        };
        if !partition.starts_with("aws") {
            return Err(error("the ARN's second part is a partition such as aws"));
        }
        if service != "kms" {
            return Err(error("the ARN's third part must be kms"));
        }
        if !is_region(region) {
            return Err(error(
                "the ARN's fourth part must be a region such as us-east-1",
            ));
        }
        if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(error(
                "the ARN's fifth part must be an account of 12 digits",
            ));
        }
        match resource.split_once('/') {
            Some(("key", id)) if is_key_id(id) => name(Some(region), true),
            Some(("alias", alias)) if is_alias(alias) => name(Some(region), false),
            _ => Err(error(
                "the ARN must end in key/ID or alias/NAME; an id is a UUID, or mrk- and 32 hex digits",
            )),
        }
    }

    pub(super) fn given(&self) -> &str {
        &self.given
    }

    /// The region in the name.
    pub(super) fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// The name if it is the ARN of a key, not an alias or an id.
    pub(super) fn key_arn(&self) -> Option<&str> {
        self.is_key_arn.then_some(&self.given)
    }
}

pub(super) fn is_region(text: &str) -> bool {
    text.contains('-')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn is_alias(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"/_-".contains(&byte))
}

fn is_key_id(text: &str) -> bool {
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if let Some(id) = text.strip_prefix("mrk-") {
        return id.len() == 32 && hex(id);
    }
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| hex(group))
}

/// The region of a key's ARN; fails for an alias, an id and anything else.
pub fn region_of_key_arn(given: &str) -> Result<String, NameError> {
    let name = KeyName::parse(given)?;
    match (name.region, name.is_key_arn) {
        (Some(region), true) => Ok(region),
        _ => Err(NameError {
            given: given.to_owned(),
            reason: "it must be the key's own ARN here",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";

    #[test]
    fn valid_aws_key_names_are_accepted() {
        let arn = format!("arn:aws:kms:us-east-1:123456789012:key/{ID}");
        let name = KeyName::parse(&arn).unwrap();
        assert_eq!(
            (name.region(), name.key_arn()),
            (Some("us-east-1"), Some(arn.as_str()))
        );
        let name =
            KeyName::parse("arn:aws-cn:kms:cn-north-1:123456789012:alias/k8s/secrets").unwrap();
        assert_eq!((name.region(), name.key_arn()), (Some("cn-north-1"), None));
        for given in [ID, "alias/kmslab", "mrk-1234abcd12ab34cd56ef1234567890ab"] {
            let name = KeyName::parse(given).unwrap();
            assert_eq!(
                (name.given(), name.region(), name.key_arn()),
                (given, None, None)
            );
        }
    }

    #[test]
    fn invalid_aws_key_names_are_rejected_with_a_reason() {
        for (given, reason) in [
            ("", "neither an ARN nor an alias"),
            ("my-key", "neither an ARN nor an alias"),
            ("alias/", "the alias is empty"),
            ("arn:aws:kms:us-east-1:123456789012", "six parts"),
            ("arn:gcp:kms:us-east-1:123456789012:key/x", "partition"),
            ("arn:aws:s3:us-east-1:123456789012:key/x", "must be kms"),
            ("arn:aws:kms::123456789012:key/x", "must be a region"),
            ("arn:aws:kms:us-east-1:1234:key/x", "12 digits"),
            (
                "arn:aws:kms:us-east-1:123456789012:key/x",
                "must end in key/ID",
            ),
            (
                "arn:aws:kms:us-east-1:123456789012:key/<id>",
                "must end in key/ID",
            ),
        ] {
            let message = KeyName::parse(given).unwrap_err().to_string();
            assert!(
                message.contains(reason) && message.contains("give an ARN such as"),
                "{given}: {message}"
            );
        }
    }
}
