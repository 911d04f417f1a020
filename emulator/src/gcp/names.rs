//! Resource names, `projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/N`, and their
//! realms and ids in the core.

use std::fmt;

use kmslab_keycore::{KeyId, Realm};

use super::data::Key;

/// Prefix of all realms of this cloud.
const REALM_PREFIX: &str = "gcp/";

/// `projects/P/locations/L`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Location {
    pub(crate) project: String,
    pub(crate) location: String,
}

/// Name of a key ring.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RingName {
    pub(crate) location: Location,
    pub(crate) ring: String,
}

/// Name of a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyName {
    pub(crate) ring: RingName,
    pub(crate) key: String,
}

/// Name of a key version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VersionName {
    pub(crate) key: KeyName,
    pub(crate) number: u32,
}

/// Name of an import job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ImportJobName {
    pub(crate) ring: RingName,
    pub(crate) job: String,
}

/// Checks an id chosen by a caller: `[a-zA-Z0-9_-]{1,63}`.
pub(crate) fn is_id(id: &str) -> bool {
    (1..=63).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// Checks a project id or number. A domain-scoped project has its domain before a colon.
fn is_project(id: &str) -> bool {
    let allowed = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b':' | b'.')
    };
    !id.is_empty() && id.len() <= 100 && id.bytes().all(allowed)
}

fn is_location(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 63
        && id
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

impl Location {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (project, location) = name.strip_prefix("projects/")?.split_once("/locations/")?;
        (is_project(project) && is_location(location)).then(|| Self {
            project: project.to_owned(),
            location: location.to_owned(),
        })
    }
}

impl RingName {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (location, ring) = name.rsplit_once("/keyRings/")?;
        let location = Location::parse(location)?;
        is_id(ring).then(|| Self {
            location,
            ring: ring.to_owned(),
        })
    }

    /// The key ring's realm.
    pub(crate) fn realm(&self) -> Realm {
        Realm::new(format!("{REALM_PREFIX}{self}"))
    }

    /// The key ring of a realm, if it is one of this cloud.
    pub(crate) fn of(realm: &Realm) -> Option<Self> {
        Self::parse(realm.as_str().strip_prefix(REALM_PREFIX)?)
    }
}

impl KeyName {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (ring, key) = name.rsplit_once("/cryptoKeys/")?;
        let ring = RingName::parse(ring)?;
        is_id(key).then(|| Self {
            ring,
            key: key.to_owned(),
        })
    }

    /// The name of a key of the core, if it is one of this cloud.
    pub(crate) fn of(key: &Key) -> Option<Self> {
        Some(Self {
            ring: RingName::of(&key.realm)?,
            key: key.id.to_string(),
        })
    }

    /// The key's id in its realm.
    pub(crate) fn id(&self) -> KeyId {
        KeyId::new(self.key.as_str())
    }

    /// The name of a version of this key.
    pub(crate) fn version(&self, number: u32) -> VersionName {
        VersionName {
            key: self.clone(),
            number,
        }
    }
}

impl VersionName {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (key, number) = name.rsplit_once("/cryptoKeyVersions/")?;
        let key = KeyName::parse(key)?;
        // Only in the form that the service writes.
        let number = number
            .parse()
            .ok()
            .filter(|parsed: &u32| *parsed > 0 && parsed.to_string() == number)?;
        Some(Self { key, number })
    }
}

impl ImportJobName {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (ring, job) = name.rsplit_once("/importJobs/")?;
        let ring = RingName::parse(ring)?;
        is_id(job).then(|| Self {
            ring,
            job: job.to_owned(),
        })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "projects/{}/locations/{}", self.project, self.location)
    }
}

impl fmt::Display for RingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/keyRings/{}", self.location, self.ring)
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/cryptoKeys/{}", self.ring, self.key)
    }
}

impl fmt::Display for VersionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/cryptoKeyVersions/{}", self.key, self.number)
    }
}

impl fmt::Display for ImportJobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/importJobs/{}", self.ring, self.job)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str =
        "projects/p/locations/us-east1/keyRings/k8s-secrets/cryptoKeys/k8s-secrets-key";

    #[test]
    fn resource_names_round_trip() {
        assert_eq!(KeyName::parse(KEY).unwrap().to_string(), KEY);
        let version = VersionName::parse(&format!("{KEY}/cryptoKeyVersions/12")).unwrap();
        assert_eq!(
            (version.number, version.key.to_string().as_str()),
            (12, KEY)
        );
        let ring = version.key.ring;
        assert_eq!(RingName::of(&ring.realm()), Some(ring));
    }

    #[test]
    fn malformed_resource_names_are_rejected() {
        for name in [
            "",
            "projects/p",
            "projects/p/locations/",
            "projects//locations/l/keyRings/r",
            "projects/p/locations/l/keyRings/r/x",
            "projects/p/locations/l/keyRings/r.r",
            "projects/p/locations/l/keyRings/r/cryptoKeys/",
            "/projects/p/locations/l/keyRings/r/cryptoKeys/k",
            "projects/p/locations/l/keyRings/r/cryptoKeys/k/",
        ] {
            assert!(
                RingName::parse(name).is_none() && KeyName::parse(name).is_none(),
                "{name}"
            );
        }
        for number in ["0", "01", "-1", "+1", "x", "", "4294967296"] {
            assert!(
                VersionName::parse(&format!("{KEY}/cryptoKeyVersions/{number}")).is_none(),
                "{number}"
            );
        }
    }

    proptest! {
        #[test]
        fn accepted_resource_names_are_in_canonical_form(noise: String, name in "projects/[a-z:.-]{0,4}/locations/[a-z-]{0,4}(/keyRings/[a-zA-Z_-]{0,4}){0,2}(/cryptoKeys/[a-z/]{0,4}){0,2}(/(cryptoKeyVersions|importJobs)/[0-9a-z]{0,12}){0,2}") {
            for text in [noise, name] {
                let written = [
                    Location::parse(&text).map(|name| name.to_string()),
                    RingName::parse(&text).map(|name| name.to_string()),
                    KeyName::parse(&text).map(|name| name.to_string()),
                    VersionName::parse(&text).map(|name| name.to_string()),
                    ImportJobName::parse(&text).map(|name| name.to_string()),
                ];
                for again in written.into_iter().flatten() {
                    prop_assert_eq!(&again, &text);
                }
            }
        }
    }
}
