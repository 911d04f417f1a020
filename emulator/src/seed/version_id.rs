//! Ids of versions that a seed file does not name.

use aws_lc_rs::digest::{SHA256, digest};
use kmslab_keycore::VersionId;

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
