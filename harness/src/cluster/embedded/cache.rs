//! Decrypted DEK sources by their encrypted form. Reads of cached ones need no plugin.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;
use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

/// Kubernetes' `cacheTTL`. An expired entry is still used; it is removed when the next one is set.
const TTL: SignedDuration = SignedDuration::from_hours(24);

/// SHA-256 over source type, encrypted source, key id and annotations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CacheKey([u8; 32]);

impl CacheKey {
    pub(crate) fn new(
        kind: i32,
        source: &[u8],
        key_id: &str,
        annotations: &BTreeMap<String, Vec<u8>>,
    ) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        // Each content is preceded by its length, so that different inputs never give the same
        // bytes. Validation limits sizes to 32 KiB.
        let mut prefixed = |bytes: &[u8]| {
            context.update(&(bytes.len() as u64).to_be_bytes());
            context.update(bytes);
        };
        prefixed(&kind.to_be_bytes());
        prefixed(source);
        prefixed(key_id.as_bytes());
        for (name, value) in annotations {
            prefixed(name.as_bytes());
            prefixed(value);
        }
        let mut key = [0; 32];
        key.copy_from_slice(context.finish().as_ref());
        Self(key)
    }
}

/// A decrypted DEK source. Its layout follows from each value's source type, which is part of the
/// cache key.
pub(crate) type DekSource = Arc<Zeroizing<Vec<u8>>>;

/// The cache of one provider in one server, limited by its TTL only.
#[derive(Default)]
pub(crate) struct DekCache(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    by_key: HashMap<CacheKey, (DekSource, Timestamp)>,
    /// No entry expires earlier, so that most calls of `set` need not search.
    earliest: Option<Timestamp>,
}

impl std::fmt::Debug for DekCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DekCache")
            .field("size", &self.len())
            .finish()
    }
}

impl DekCache {
    pub(crate) fn get(&self, key: &CacheKey) -> Option<DekSource> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .by_key
            .get(key)
            .map(|(source, _)| source.clone())
    }

    /// Caches a source for [`TTL`] and removes expired ones.
    pub(crate) fn set(&self, key: CacheKey, source: DekSource, now: Timestamp) {
        let expires = now.saturating_add(TTL).unwrap_or(Timestamp::MAX);
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.by_key.insert(key, (source, expires));
        if entries.earliest.is_some_and(|earliest| earliest > now) {
            return;
        }
        entries.by_key.retain(|_, (_, expires)| *expires > now);
        entries.earliest = entries.by_key.values().map(|(_, expires)| *expires).min();
    }

    pub(crate) fn len(&self) -> usize {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .by_key
            .len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key_id: &str) -> CacheKey {
        CacheKey::new(1, b"source", key_id, &BTreeMap::new())
    }

    #[test]
    fn expired_entry_is_used_until_the_next_is_set() {
        let cache = DekCache::default();
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        cache.set(key("a"), DekSource::default(), start);
        let later = start + SignedDuration::from_hours(25);
        assert!(cache.get(&key("a")).is_some());
        cache.set(key("b"), DekSource::default(), later);
        assert!(cache.get(&key("a")).is_none() && cache.get(&key("b")).is_some());
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn setting_an_entry_again_extends_it() {
        let cache = DekCache::default();
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        cache.set(key("a"), DekSource::default(), start);
        cache.set(
            key("a"),
            DekSource::default(),
            start + SignedDuration::from_hours(20),
        );
        cache.set(
            key("b"),
            DekSource::default(),
            start + SignedDuration::from_hours(30),
        );
        assert_eq!(cache.len(), 2);
    }

    #[test]
    fn cache_keys_are_unambiguous() {
        let with = |annotations: &[(&str, &str)]| {
            let map = annotations
                .iter()
                .map(|(k, v)| ((*k).to_owned(), v.as_bytes().to_vec()))
                .collect();
            CacheKey::new(1, b"s", "k", &map)
        };
        assert_ne!(with(&[("ab", "c")]), with(&[("a", "bc")]));
        assert_ne!(with(&[]), with(&[("", "")]));
        assert_ne!(CacheKey::new(0, b"s", "k", &BTreeMap::new()), with(&[]));
    }
}
