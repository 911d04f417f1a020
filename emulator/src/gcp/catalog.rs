//! What faults may name of Google: operations and error codes.

use kmslab_emulator_api::Cloud;

use super::{admin, identity, service, transcode};
use crate::pipeline::faults::catalog::Catalog;

/// What faults may name.
pub(crate) fn catalog() -> Catalog {
    let identity = identity::faults::OPERATIONS.iter().copied();
    let admin = admin::OPERATIONS.iter().copied();
    Catalog {
        cloud: Cloud::Gcp,
        operations: service::call_names().chain(admin).chain(identity).collect(),
        codes: transcode::codes()
            .map(transcode::code_name)
            .chain(identity::faults::CODES.iter().copied())
            .collect(),
    }
}
