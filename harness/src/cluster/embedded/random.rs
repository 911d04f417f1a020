//! Seeds, nonces, uids and generated names of a model cluster, from one stream that continues over
//! restarts.

use kmslab_keycore::{Entropy, SeededEntropy};

/// Upstream's alphabet of generated names: no vowels, so that no words result.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The cluster's randomness.
#[derive(Debug)]
pub(crate) struct Random(SeededEntropy);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SeededEntropy::new(seed))
    }

    pub(crate) fn fill(&self, out: &mut [u8]) {
        self.0.fill(out);
    }

    pub(crate) fn array<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }

    /// A random (version 4) UUID.
    pub(crate) fn uuid(&self) -> String {
        uuid::Builder::from_random_bytes(self.array())
            .into_uuid()
            .to_string()
    }

    /// The five characters after `generateName`.
    pub(crate) fn suffix(&self) -> String {
        self.array::<5>()
            .iter()
            .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]))
            .collect()
    }
}
