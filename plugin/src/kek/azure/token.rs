//! Tokens ahead of time. The SDK's own cache asks for a new token in the last five minutes of the
//! old one, while callers wait, and fails them when that fails although the old one still holds.
//! Here a task of its own asks, and callers get the old one for as long as it holds.

use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::time::OffsetDateTime;
use tokio::sync::Mutex;

/// When the SDK gives a new token instead of the one it has.
const SDK_REFRESHES: Duration = Duration::from_secs(300);
/// Between two tries in the last minutes of a token.
const TRY_EVERY: Duration = Duration::from_secs(15);
/// A token that ends within this is not handed out any more: the request takes its time.
const LEAST: Duration = Duration::from_secs(5);

/// A credential whose token is renewed in the background.
#[derive(Debug)]
pub(super) struct Fresh {
    inner: Arc<dyn TokenCredential>,
    kept: ArcSwapOption<Kept>,
    asking: Mutex<()>,
}

#[derive(Debug)]
struct Kept {
    scope: String,
    token: AccessToken,
}

impl Fresh {
    pub(super) fn new(inner: Arc<dyn TokenCredential>) -> Arc<Self> {
        Self::trying_every(TRY_EVERY, inner)
    }

    fn trying_every(pause: Duration, inner: Arc<dyn TokenCredential>) -> Arc<Self> {
        let fresh = Arc::new(Self {
            inner,
            kept: ArcSwapOption::empty(),
            asking: Mutex::new(()),
        });
        tokio::spawn(renew(Arc::downgrade(&fresh), pause));
        fresh
    }

    /// The token that is there, if it holds for that long.
    fn holding(&self, scope: &str, least: Duration) -> Option<AccessToken> {
        let kept = self.kept.load();
        let kept = kept.as_ref().filter(|kept| kept.scope == scope)?;
        (kept.token.expires_on - OffsetDateTime::now_utc() > least).then(|| kept.token.clone())
    }

    async fn ask(
        &self,
        scope: &str,
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let token = self.inner.get_token(&[scope], options).await?;
        self.kept.store(Some(Arc::new(Kept {
            scope: scope.to_owned(),
            token: token.clone(),
        })));
        Ok(token)
    }
}

#[async_trait]
impl TokenCredential for Fresh {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let [scope] = scopes else {
            return self.inner.get_token(scopes, options).await;
        };
        if let Some(token) = self.holding(scope, LEAST) {
            return Ok(token);
        }
        // One asks, the others wait for what comes.
        let _asking = self.asking.lock().await;
        match self.holding(scope, LEAST) {
            Some(token) => Ok(token),
            None => self.ask(scope, options).await,
        }
    }
}

/// Renews the token before it ends, for as long as the credential is there.
async fn renew(fresh: Weak<Fresh>, pause: Duration) {
    loop {
        let Some(there) = fresh.upgrade() else { return };
        let wait = match there.kept.load().as_deref() {
            None => pause,
            Some(kept) => {
                let left = kept.token.expires_on - OffsetDateTime::now_utc();
                let left = Duration::try_from(left).unwrap_or_default();
                left.checked_sub(SDK_REFRESHES).unwrap_or_default()
            }
        };
        if wait.is_zero() {
            let scope = there
                .kept
                .load()
                .as_ref()
                .map(|kept| kept.scope.clone())
                .unwrap_or_default();
            if let Err(error) = there.ask(&scope, None).await {
                tracing::warn!(%error, "no new token yet; the one that is there is used until it ends");
            }
        }
        drop(there);
        // Looked at again now and then: a machine that slept has another time than it thinks.
        tokio::time::sleep(wait.clamp(pause, SDK_REFRESHES)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    const PAUSE: Duration = Duration::from_millis(5);

    /// Hands out tokens that end within the SDK's own refresh window, numbered; says no while it is
    /// told to.
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
                OffsetDateTime::now_utc() + SDK_REFRESHES / 2,
            ))
        }
    }

    impl Issuer {
        /// Waits until it was asked again, by the task in the background: nobody else asks.
        async fn asked_again(&self) {
            let before = self.asked.load(Ordering::Relaxed);
            while self.asked.load(Ordering::Relaxed) == before {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    #[tokio::test]
    async fn a_failed_renewal_leaves_callers_the_old_token_and_the_next_one_brings_a_new() {
        let issuer = Arc::new(Issuer::default());
        let fresh = Fresh::trying_every(PAUSE, Arc::clone(&issuer) as Arc<dyn TokenCredential>);
        let get = || async {
            fresh
                .get_token(&["s"], None)
                .await
                .map(|token| token.token.secret().to_owned())
        };
        get().await.unwrap();

        issuer.refuses.store(true, Ordering::Relaxed);
        // What was asked before it refused may have brought a token; what is asked from here on
        // brings none.
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
    async fn nobody_renews_for_a_credential_that_is_gone() {
        let issuer = Arc::new(Issuer::default());
        let fresh = Fresh::trying_every(PAUSE, Arc::clone(&issuer) as Arc<dyn TokenCredential>);
        fresh.get_token(&["s"], None).await.unwrap();
        issuer.asked_again().await;
        drop(fresh);
        // The task holds the credential only while it asks, and ends at its next look.
        while Arc::strong_count(&issuer) > 1 {
            tokio::time::sleep(PAUSE).await;
        }
    }
}
