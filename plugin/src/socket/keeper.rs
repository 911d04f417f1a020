//! Watches the socket's file: a plugin whose file was removed would serve only existing
//! connections, without an error.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio_util::sync::CancellationToken;

use super::{Access, CloseableListener, SocketFile, bind};

/// Interval between checks of the file. kube-apiserver reconnects once a second and more slowly
/// later.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Why the socket cannot be connected to, while that is so.
#[derive(Debug, Clone, Default)]
pub(crate) struct SocketHealth(Arc<ArcSwapOption<String>>);

impl SocketHealth {
    pub(crate) fn failure(&self) -> Option<Arc<String>> {
        self.0.load_full()
    }
}

/// Binds the path again whenever its file is not the one that was bound. When stopped, returns the
/// file that is bound then.
pub(crate) async fn keep(
    mut bound: SocketFile,
    access: Access,
    listener: CloseableListener,
    standing: SocketHealth,
    stop: CancellationToken,
) -> SocketFile {
    while stop
        .run_until_cancelled(tokio::time::sleep(CHECK_INTERVAL))
        .await
        .is_some()
    {
        if bound.is_in_place() {
            // The file may have been moved away and back.
            standing.0.store(None);
            continue;
        }
        let path = bound.path().display().to_string();
        match bind(bound.path(), access).await {
            Ok((new, created)) => {
                listener.replace(new);
                bound = created;
                standing.0.store(None);
                tracing::warn!(
                    socket = path,
                    "the socket's file was removed; binding it again"
                );
            }
            Err(error) => {
                let failure = format!(
                    "the socket {path} was removed or replaced, no client can connect, and it cannot be bound again: {error}"
                );
                if standing.failure().as_deref() != Some(&failure) {
                    tracing::error!("{failure}");
                }
                standing.0.store(Some(Arc::new(failure)));
            }
        }
    }
    bound
}
