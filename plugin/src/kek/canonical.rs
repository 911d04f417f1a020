//! Canonical names: a key may be configured by another name than the one that the cloud returns.

use std::sync::OnceLock;

use super::{Kek, KekError};

/// The cloud's own name of the key, from its first response. It is part of key ids, so that a key
/// has the same id whichever name is configured.
#[derive(Debug, Default)]
pub(super) struct CanonicalName(OnceLock<String>);

impl CanonicalName {
    /// Records the name of a response and returns the first one recorded.
    pub(super) fn set(&self, name: String) -> String {
        self.0.get_or_init(|| name).clone()
    }

    /// Fails unless `wanted` is the key that `kek` is configured with as `configured`. The cloud is
    /// called at most once, and only if the names differ.
    pub(super) async fn ensure_matches(
        &self,
        kek: &impl Kek,
        expected: &str,
        configured: &str,
    ) -> Result<(), KekError> {
        if expected == configured {
            return Ok(());
        }
        if self.0.get().is_none() {
            kek.current().await?;
        }
        if self.0.get().map(String::as_str) == Some(expected) {
            return Ok(());
        }
        Err(KekError::WrongKey {
            expected: expected.to_owned(),
            configured: configured.to_owned(),
        })
    }
}
