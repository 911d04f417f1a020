//! A key whose calls are counted and timed.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{Kek, KekError, KeyVersion, Usage, Wrapped};
use crate::metrics::Metrics;

/// Counts and times the calls of a key, by operation and result.
#[derive(Debug)]
pub(crate) struct Metered {
    inner: Arc<dyn Kek>,
    metrics: Arc<Metrics>,
}

impl Metered {
    pub(crate) fn new(inner: Arc<dyn Kek>, metrics: Arc<Metrics>) -> Self {
        Self { inner, metrics }
    }

    async fn measured<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, KekError>>,
    ) -> Result<T, KekError> {
        let started = Instant::now();
        let answered = call.await;
        let result = answered.as_ref().err().map_or("ok", KekError::kind);
        self.metrics.kek_call(operation, result, started.elapsed());
        answered
    }
}

#[async_trait]
impl Kek for Metered {
    fn provider(&self) -> &'static str {
        self.inner.provider()
    }

    fn endpoint(&self) -> String {
        self.inner.endpoint()
    }

    fn max_plaintext(&self) -> usize {
        self.inner.max_plaintext()
    }

    async fn current(&self) -> Result<KeyVersion, KekError> {
        self.measured("current", self.inner.current()).await
    }

    async fn wrap(
        &self,
        plaintext: &[u8],
        expected: Option<&KeyVersion>,
    ) -> Result<Wrapped, KekError> {
        self.measured("wrap", self.inner.wrap(plaintext, expected))
            .await
    }

    async fn unwrap(
        &self,
        ciphertext: &[u8],
        version: &KeyVersion,
    ) -> Result<Zeroizing<Vec<u8>>, KekError> {
        self.measured("unwrap", self.inner.unwrap(ciphertext, version))
            .await
    }

    fn usage(&self) -> Usage {
        self.inner.usage()
    }
}
