//! Values that all parts of a seed file have.

use std::borrow::Cow;

use aws_lc_rs::digest::{SHA256, digest};
use kmslab_keycore::VersionId;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// A point in time in a JSON Schema.
#[derive(Debug)]
pub(crate) struct Time;

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A point in time as in RFC 3339, such as 2026-01-31T12:00:00Z.",
            "type": "string",
            "format": "date-time",
        })
    }
}

/// The id of a version that the seed file does not name: a hash of the version's full name, so that
/// ciphertexts of one emulator can be decrypted by another with the same seed file.
pub(crate) fn version_id(name: &str) -> VersionId {
    let hash = digest(
        &SHA256,
        &[b"kmslab seed version ".as_slice(), name.as_bytes()].concat(),
    );
    let mut id = [0; 32];
    id.copy_from_slice(hash.as_ref());
    VersionId::from_bytes(id)
}
