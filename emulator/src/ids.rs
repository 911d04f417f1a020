//! Random ids of responses and keys.

use kmslab_keycore::Entropy;
use uuid::Uuid;

/// A version 4 UUID.
pub(crate) fn random_uuid(entropy: &dyn Entropy) -> Uuid {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
