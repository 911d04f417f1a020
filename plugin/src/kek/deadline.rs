//! A key whose calls end in time.

use std::time::Duration;

use async_trait::async_trait;
use zeroize::Zeroizing;

use super::{Kek, KekError, KeyVersion, Usage, Wrapped};

/// Ends each call of a key after a time, with [`KekError::Unreachable`].
#[derive(Debug)]
pub struct Deadline<K> {
    inner: K,
    timeout: Duration,
}

impl<K: Kek> Deadline<K> {
    /// Gives each call of `inner` this time, retries included.
    pub fn new(inner: K, timeout: Duration) -> Self {
        Self { inner, timeout }
    }

    async fn within<T>(
        &self,
        call: impl Future<Output = Result<T, KekError>>,
    ) -> Result<T, KekError> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(answered) => answered,
            Err(_) => Err(KekError::no_answer_within(
                self.timeout,
                self.inner.endpoint(),
            )),
        }
    }
}

#[async_trait]
impl<K: Kek> Kek for Deadline<K> {
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
        self.within(self.inner.current()).await
    }

    async fn wrap(
        &self,
        plaintext: &[u8],
        expected: Option<&KeyVersion>,
    ) -> Result<Wrapped, KekError> {
        self.within(self.inner.wrap(plaintext, expected)).await
    }

    async fn unwrap(
        &self,
        ciphertext: &[u8],
        version: &KeyVersion,
    ) -> Result<Zeroizing<Vec<u8>>, KekError> {
        self.within(self.inner.unwrap(ciphertext, version)).await
    }

    fn usage(&self) -> Usage {
        self.inner.usage()
    }
}
