//! The configured key: its resource name, as Google's own plugin takes it.

/// Between the key and the number of its version.
pub(super) const VERSIONS_SEGMENT: &str = "/cryptoKeyVersions/";

/// Why the flag does not name a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--key-uri {given:?} cannot be used: {reason}")]
pub struct NameError {
    given: String,
    reason: &'static str,
}

/// Parses `projects/P/locations/L/keyRings/R/cryptoKeys/K`.
pub(super) fn parse_key(given: &str) -> Result<String, NameError> {
    let error = |reason| NameError {
        given: given.to_owned(),
        reason,
    };
    // The scheme is Tink's and common in configuration files.
    let name = given.strip_prefix("gcp-kms://").unwrap_or(given);
    if name.contains(VERSIONS_SEGMENT) {
        return Err(error(
            "it names a version; name the key alone, its primary version is found out and followed",
        ));
    }
    let parts: Vec<&str> = name.split('/').collect();
    let [
        "projects",
        project,
        "locations",
        location,
        "keyRings",
        ring,
        "cryptoKeys",
        key,
    ] = parts[..]
    else {
        return Err(error(
            "a key's name is projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY",
        ));
    };
    let fits = |part: &str, also: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || also.as_bytes().contains(&b))
    };
    if !fits(project, "-:.") || !fits(location, "-") {
        return Err(error(
            "its project or location has characters that none has",
        ));
    }
    if !fits(ring, "-_") || !fits(key, "-_") {
        return Err(error(
            "key rings and keys have letters, digits, dashes and underscores in their names",
        ));
    }
    Ok(name.to_owned())
}

/// The resource name of a version.
pub(super) fn version_name(key: &str, version: &str) -> String {
    format!("{key}{VERSIONS_SEGMENT}{version}")
}

/// Splits the name in a response into key and version number.
pub(super) fn split_version(name: &str) -> Option<(String, String)> {
    let (key, version) = name.split_once(VERSIONS_SEGMENT)?;
    let number = !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit());
    (number && parse_key(key).is_ok_and(|same| same == key))
        .then(|| (key.to_owned(), version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "projects/p/locations/us-east1/keyRings/k8s-secrets/cryptoKeys/k8s-secrets-key";

    #[test]
    fn google_key_is_given_with_or_without_scheme() {
        assert_eq!(parse_key(KEY).unwrap(), KEY);
        assert_eq!(parse_key(&format!("gcp-kms://{KEY}")).unwrap(), KEY);
        assert_eq!(
            split_version(&version_name(KEY, "12")),
            Some((KEY.into(), "12".into()))
        );
    }

    #[test]
    fn invalid_google_key_names_are_rejected_with_their_flag() {
        let version = version_name(KEY, "1");
        for (given, says) in [
            ("", "a key's name is projects/"),
            ("k8s-secrets-key", "a key's name is projects/"),
            (version.as_str(), "name the key alone"),
            (
                "projects/p/locations/l/keyRings/r/cryptoKeys/k/",
                "a key's name is projects/",
            ),
            (
                "projects/p p/locations/l/keyRings/r/cryptoKeys/k",
                "its project or location",
            ),
            (
                "projects//locations/l/keyRings/r/cryptoKeys/k",
                "its project or location",
            ),
            (
                "projects/p/locations/l/keyRings/r.r/cryptoKeys/k",
                "key rings and keys have",
            ),
        ] {
            let error = parse_key(given).unwrap_err().to_string();
            assert!(
                error.starts_with("--key-uri") && error.contains(says),
                "{error}"
            );
        }
        for name in [
            "",
            KEY,
            "x/cryptoKeyVersions/1",
            &version_name(KEY, ""),
            &version_name(KEY, "1/x"),
        ] {
            assert_eq!(split_version(name), None, "{name}");
        }
    }
}
