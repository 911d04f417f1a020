//! A front end for tests, whose keys have a description.
#![allow(dead_code, reason = "not every test uses all of it")]

use kmslab_keycore::{Front, KeyError, KeyId, Realm, VersionId, VersionRef};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TestFront;

impl Front for TestFront {
    type KeyData = String;
    type VersionData = ();
}

pub(crate) type KeyCore = kmslab_keycore::KeyCore<TestFront>;

/// Looks a version up in its current state.
pub(crate) fn version_of<'a>(
    core: &'a KeyCore,
    (realm, key, version): (&Realm, &KeyId, &VersionId),
) -> Result<VersionRef<'a, TestFront>, KeyError> {
    core.key(realm, key)?.version(version)
}
