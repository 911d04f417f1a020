//! One key has more names than one: what is configured, and what the cloud itself calls it.

use std::sync::OnceLock;

use super::{Kek, KekError};

/// The cloud's own name of the key, from its first answer on. It is what goes into key ids, so that
/// the same key has the same id whichever of its names is configured.
#[derive(Debug, Default)]
pub(super) struct KnownAs(OnceLock<String>);

impl KnownAs {
    /// The name that an answer has; the first that came, ever after.
    pub(super) fn learn(&self, name: String) -> String {
        self.0.get_or_init(|| name).clone()
    }

    /// Whether `wanted` is the key that `kek` is configured with as `configured`. The cloud is
    /// asked at most once, and only if the names differ.
    pub(super) async fn check(
        &self,
        kek: &impl Kek,
        wanted: &str,
        configured: &str,
    ) -> Result<(), KekError> {
        if wanted == configured {
            return Ok(());
        }
        if self.0.get().is_none() {
            kek.current().await?;
        }
        if self.0.get().map(String::as_str) == Some(wanted) {
            return Ok(());
        }
        Err(KekError::Foreign {
            wanted: wanted.to_owned(),
            configured: configured.to_owned(),
        })
    }
}
