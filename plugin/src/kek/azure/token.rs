//! Renewal of tokens in the background. The SDK's own cache requests a new token during the last
//! five minutes of the old one while callers wait, and fails them if that fails although the old
//! token is still valid. Here a task renews, and callers use the old token for as long as it is
//! valid.

use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::time::OffsetDateTime;
use tokio::sync::Mutex;

/// Remaining lifetime below which the SDK returns a new token instead of its cached one.
const SDK_REFRESH_WINDOW: Duration = Duration::from_secs(300);
/// Interval between attempts in the last minutes of a token.
const RETRY_INTERVAL: Duration = Duration::from_secs(15);
/// A token that expires within this time is not used: the request itself takes time.
const MIN_REMAINING: Duration = Duration::from_secs(5);

/// A credential whose token is renewed in the background.
#[derive(Debug)]
pub(super) struct RenewingCredential {
    inner: Arc<dyn TokenCredential>,
    kept: ArcSwapOption<CachedToken>,
    asking: Mutex<()>,
}

#[derive(Debug)]
struct CachedToken {
    scope: String,
    token: AccessToken,
}

impl RenewingCredential {
    pub(super) fn new(inner: Arc<dyn TokenCredential>) -> Arc<Self> {
        Self::with_retry_interval(RETRY_INTERVAL, inner)
    }

    fn with_retry_interval(pause: Duration, inner: Arc<dyn TokenCredential>) -> Arc<Self> {
        let fresh = Arc::new(Self {
            inner,
            kept: ArcSwapOption::empty(),
            asking: Mutex::new(()),
        });
        tokio::spawn(renew(Arc::downgrade(&fresh), pause));
        fresh
    }

    /// The cached token if it stays valid for `least`.
    fn cached(&self, scope: &str, least: Duration) -> Option<AccessToken> {
        let kept = self.kept.load();
        let kept = kept.as_ref().filter(|kept| kept.scope == scope)?;
        (kept.token.expires_on - OffsetDateTime::now_utc() > least).then(|| kept.token.clone())
    }

    async fn request(
        &self,
        scope: &str,
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let token = self.inner.get_token(&[scope], options).await?;
        self.kept.store(Some(Arc::new(CachedToken {
            scope: scope.to_owned(),
            token: token.clone(),
        })));
        Ok(token)
    }
}

#[async_trait]
impl TokenCredential for RenewingCredential {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let [scope] = scopes else {
            return self.inner.get_token(scopes, options).await;
        };
        if let Some(token) = self.cached(scope, MIN_REMAINING) {
            return Ok(token);
        }
        // One caller requests, the others wait for the result.
        let _asking = self.asking.lock().await;
        match self.cached(scope, MIN_REMAINING) {
            Some(token) => Ok(token),
            None => self.request(scope, options).await,
        }
    }
}

/// Renews the token before it expires, for as long as the credential exists.
async fn renew(fresh: Weak<RenewingCredential>, pause: Duration) {
    loop {
        let Some(there) = fresh.upgrade() else { return };
        let wait = match there.kept.load().as_deref() {
            None => pause,
            Some(kept) => {
                let left = kept.token.expires_on - OffsetDateTime::now_utc();
                let left = Duration::try_from(left).unwrap_or_default();
                left.checked_sub(SDK_REFRESH_WINDOW).unwrap_or_default()
            }
        };
        if wait.is_zero() {
            let scope = there
                .kept
                .load()
                .as_ref()
                .map(|kept| kept.scope.clone())
                .unwrap_or_default();
            if let Err(error) = there.request(&scope, None).await {
                tracing::warn!(%error, "no new token yet; using the current one until it expires");
            }
        }
        drop(there);
        // Checked again from time to time: after sleep, a machine's clock differs from what it
        // expects.
        tokio::time::sleep(wait.clamp(pause, SDK_REFRESH_WINDOW)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    const PAUSE: Duration = Duration::from_millis(5);

    /// Issues numbered tokens that expire within the SDK's refresh window; fails while told to.
    #[derive(Debug, Default)]
    struct Issuer {
        asked: AtomicUsize,
        refuses: AtomicBool,
    }

    #[async_trait]
    impl TokenCredential for Issuer {
        async fn get_token(
            &self,
            _: &[&str],
            _: Option<TokenRequestOptions<'_>>,
        ) -> azure_core::Result<AccessToken> {
            let number = self.asked.fetch_add(1, Ordering::Relaxed);
            if self.refuses.load(Ordering::Relaxed) {
                return Err(azure_core::Error::with_message(
                    azure_core::error::ErrorKind::Credential,
                    "no tokens today",
                ));
            }
            Ok(AccessToken::new(
                format!("token {number}"),
                OffsetDateTime::now_utc() + SDK_REFRESH_WINDOW / 2,
            ))
        }
    }

    impl Issuer {
        /// Waits for another request, which only the background task makes.
        async fn asked_again(&self) {
            let before = self.asked.load(Ordering::Relaxed);
            while self.asked.load(Ordering::Relaxed) == before {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    #[tokio::test]
    async fn failed_renewal_keeps_the_old_token_until_the_next_succeeds() {
        let issuer = Arc::new(Issuer::default());
        let fresh = RenewingCredential::with_retry_interval(
            PAUSE,
            Arc::clone(&issuer) as Arc<dyn TokenCredential>,
        );
        let get = || async {
            fresh
                .get_token(&["s"], None)
                .await
                .map(|token| token.token.secret().to_owned())
        };
        get().await.unwrap();

        issuer.refuses.store(true, Ordering::Relaxed);
        // A request from before the failure may have returned a token; later ones do not.
        issuer.asked_again().await;
        let held = get().await.unwrap();
        for _ in 0..3 {
            issuer.asked_again().await;
            assert_eq!(get().await.unwrap(), held, "it holds");
        }
        let other = fresh.get_token(&["another scope"], None).await;
        assert!(
            other.unwrap_err().to_string().contains("no tokens today"),
            "a token is for its scope"
        );

        issuer.refuses.store(false, Ordering::Relaxed);
        issuer.asked_again().await;
        issuer.asked_again().await;
        assert_ne!(get().await.unwrap(), held);
    }

    #[tokio::test]
    async fn renewal_ends_when_the_credential_is_dropped() {
        let issuer = Arc::new(Issuer::default());
        let fresh = RenewingCredential::with_retry_interval(
            PAUSE,
            Arc::clone(&issuer) as Arc<dyn TokenCredential>,
        );
        fresh.get_token(&["s"], None).await.unwrap();
        issuer.asked_again().await;
        drop(fresh);
        // The task holds the credential only while it requests, and ends at its next check.
        while Arc::strong_count(&issuer) > 1 {
            tokio::time::sleep(PAUSE).await;
        }
    }
}
