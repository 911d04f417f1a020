//! Automatic reload: a changed EncryptionConfiguration is applied while the server runs, once all
//! its plugins are healthy.
//!
//! Follows `DynamicEncryptionConfigContent` in k8s.io/apiserver v0.36.3,
//! `pkg/server/options/encryptionconfig/controller`, which checks the file every 60 s and retries a
//! failing one after 5 ms, 10 ms … 1000 s; the model retries at its next check.

use std::future::Future;
use std::sync::Weak;
use std::time::Duration;

use kmslab_plugin::time::Ticker;

/// `EncryptionConfigFileChangePollDuration`.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_secs(60);

/// What can load its configuration again.
pub(super) trait Reload: Send + Sync + 'static {
    /// Loads the configuration if it changed, and uses it if its plugins are healthy.
    fn reload(&self) -> impl Future<Output = Result<(), String>> + Send;
}

/// Polls for as long as the server exists. The ticker is created before the loop is spawned, so
/// that no time passes before its first wait.
pub(crate) async fn run(server: Weak<impl Reload>, mut ticker: Box<dyn Ticker>) {
    loop {
        ticker.wait(POLL_INTERVAL).await;
        let Some(server) = server.upgrade() else {
            return;
        };
        if let Err(why) = server.reload().await {
            tracing::warn!(%why, "the new EncryptionConfiguration is not used yet");
        }
    }
}
