//! A key whose client is rebuilt when its credentials fail. The SDKs read files and environment
//! once per client, so that late or corrected credentials would never be seen.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{Kek, KekError, KeyVersion, Usage, Wrapped};
use crate::time::BoxFuture;

/// Minimum interval between rebuilds, since each may call a token service.
const MIN_RENEWAL_INTERVAL: Duration = Duration::from_secs(5);

/// Builds the client as at the start; the error says why it cannot.
pub(crate) type Setup =
    Box<dyn Fn() -> BoxFuture<'static, Result<Arc<dyn Kek>, String>> + Send + Sync>;

pub(crate) struct Renewing {
    kek: ArcSwap<Arc<dyn Kek>>,
    setup: Setup,
    /// Locked during a rebuild: concurrent callers share one.
    last: Mutex<Option<Instant>>,
    /// Usage by clients that were replaced.
    replaced: ArcSwap<Usage>,
}

impl fmt::Debug for Renewing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewing")
            .field("kek", &self.kek)
            .finish_non_exhaustive()
    }
}

impl Renewing {
    pub(crate) fn new(kek: Arc<dyn Kek>, setup: Setup) -> Self {
        Self {
            kek: ArcSwap::from_pointee(kek),
            setup,
            last: Mutex::default(),
            replaced: ArcSwap::default(),
        }
    }

    /// Reports whether there is another client than `used`, whose call failed with `error`, to
    /// retry with.
    async fn renew(&self, used: &Arc<Arc<dyn Kek>>, error: &KekError) -> bool {
        // Access denied as well: the credentials may have been those of another identity.
        if !matches!(
            error,
            KekError::Credentials { .. } | KekError::Denied { .. }
        ) {
            return false;
        }
        let mut last = self.last.lock().await;
        if !Arc::ptr_eq(&self.kek.load(), used) {
            return true;
        }
        if last.is_some_and(|last| last.elapsed() < MIN_RENEWAL_INTERVAL) {
            return false;
        }
        *last = Some(Instant::now());
        match (self.setup)().await {
            Ok(kek) => {
                let replaced = **self.replaced.load() + used.usage();
                self.replaced.store(Arc::new(replaced));
                self.kek.store(Arc::new(kek));
                true
            }
            Err(reason) => {
                tracing::warn!(
                    "the credentials cannot be read again, still using the old ones: {reason}"
                );
                false
            }
        }
    }
}

#[async_trait]
impl Kek for Renewing {
    fn provider(&self) -> &'static str {
        self.kek.load().provider()
    }

    fn endpoint(&self) -> String {
        self.kek.load().endpoint()
    }

    fn max_plaintext(&self) -> usize {
        self.kek.load().max_plaintext()
    }

    async fn current(&self) -> Result<KeyVersion, KekError> {
        let kek = self.kek.load_full();
        match kek.current().await {
            Err(error) if self.renew(&kek, &error).await => self.kek.load_full().current().await,
            answered => answered,
        }
    }

    async fn wrap(
        &self,
        plaintext: &[u8],
        expected: Option<&KeyVersion>,
    ) -> Result<Wrapped, KekError> {
        let kek = self.kek.load_full();
        match kek.wrap(plaintext, expected).await {
            Err(error) if self.renew(&kek, &error).await => {
                self.kek.load_full().wrap(plaintext, expected).await
            }
            answered => answered,
        }
    }

    async fn unwrap(
        &self,
        ciphertext: &[u8],
        version: &KeyVersion,
    ) -> Result<Zeroizing<Vec<u8>>, KekError> {
        let kek = self.kek.load_full();
        match kek.unwrap(ciphertext, version).await {
            Err(error) if self.renew(&kek, &error).await => {
                self.kek.load_full().unwrap(ciphertext, version).await
            }
            answered => answered,
        }
    }

    fn usage(&self) -> Usage {
        **self.replaced.load() + self.kek.load().usage()
    }
}
