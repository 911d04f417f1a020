//! Canaries: random bytes written into an object, which must not be found in etcd's database, raw
//! or as base64.

use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// 24 random bytes: 16 rule out chance (2^-128 per position), and of 24 at least 16 are intact in
/// every base64 alignment.
#[derive(Clone, PartialEq, Eq)]
pub struct Canary([u8; 24]);

impl std::fmt::Debug for Canary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Canary(not shown)")
    }
}

impl Canary {
    /// Creates a canary of these bytes.
    pub fn new(bytes: [u8; 24]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The canary as hex, which JSON and YAML contain unchanged.
    pub fn text(&self) -> String {
        hex::encode(self.0)
    }

    /// Every form in which it could be in a database: raw, hex, and the base64 of both in each of
    /// the three alignments.
    fn forms(&self) -> Vec<Vec<u8>> {
        let text = self.text().into_bytes();
        let mut forms = vec![self.0.to_vec(), text.clone()];
        for raw in [&self.0[..], &text] {
            for shift in 0..3 {
                // The characters at both ends depend on adjacent bytes; those in between do not.
                let padded = [vec![0; shift], raw.to_vec()].concat();
                let encoded = STANDARD.encode(padded);
                let from = [0, 2, 3][shift];
                let whole = (raw.len() + shift) / 3 * 4;
                forms.push(encoded.as_bytes()[from..whole].to_vec());
            }
        }
        forms
    }

    /// Position of its first occurrence in `haystack`, in any form.
    pub fn find_in(&self, haystack: &[u8]) -> Option<usize> {
        Search::new([self]).first(haystack).map(|(_, at)| at)
    }
}

/// A search for many canaries in one pass.
#[derive(Debug)]
pub struct Search {
    forms: AhoCorasick,
    per_canary: usize,
}

impl Search {
    /// Builds a search for all forms of these canaries.
    pub fn new<'a>(canaries: impl IntoIterator<Item = &'a Canary>) -> Self {
        let forms: Vec<Vec<Vec<u8>>> = canaries.into_iter().map(Canary::forms).collect();
        let per_canary = forms.first().map_or(1, Vec::len);
        let forms = AhoCorasick::new(forms.into_iter().flatten())
            .expect("a few kilobytes of patterns always build");
        Self { forms, per_canary }
    }

    /// The first match: the canary's index and its position.
    pub fn first(&self, haystack: &[u8]) -> Option<(usize, usize)> {
        self.forms
            .find(haystack)
            .map(|found| (found.pattern().as_usize() / self.per_canary, found.start()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canary() -> Canary {
        Canary::new(std::array::from_fn(|i| {
            (i as u8).wrapping_mul(37).wrapping_add(11)
        }))
    }

    #[test]
    fn canary_is_found_in_every_form_and_alignment() {
        let canary = canary();
        for before in 0..7 {
            let mut raw = vec![7; before];
            raw.extend_from_slice(canary.bytes());
            raw.extend_from_slice(&[9; 5]);
            assert!(canary.find_in(&raw).is_some(), "raw after {before} bytes");
            assert!(
                canary.find_in(STANDARD.encode(&raw).as_bytes()).is_some(),
                "base64 after {before} bytes"
            );
            let text = [
                vec![b'x'; before],
                canary.text().into_bytes(),
                vec![b'y'; 4],
            ]
            .concat();
            assert!(canary.find_in(&text).is_some());
            assert!(canary.find_in(STANDARD.encode(&text).as_bytes()).is_some());
        }
    }

    #[test]
    fn other_canaries_are_not_found() {
        assert_eq!(canary().find_in(&[0; 4096]), None);
        assert_eq!(canary().find_in(&canary().bytes()[..20]), None);
        assert_eq!(canary().find_in(b""), None);
    }
}
