//! Looks after the socket's file: a plugin whose file was removed serves those who are connected
//! and nobody else, without a word.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio_util::sync::CancellationToken;

use super::{Access, Bound, Door, bind};

/// Between two looks at the file. kube-apiserver connects anew once a second and more slowly later.
const LOOK: Duration = Duration::from_secs(1);

/// Why nobody can connect, while that is so.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing(Arc<ArcSwapOption<String>>);

impl Standing {
    pub(crate) fn trouble(&self) -> Option<Arc<String>> {
        self.0.load_full()
    }
}

/// Binds the path anew whenever the file there is not the one that was bound. Ends when stopped,
/// with the file that is bound then.
pub(crate) async fn keep(
    mut bound: Bound,
    access: Access,
    door: Door,
    standing: Standing,
    stop: CancellationToken,
) -> Bound {
    while stop
        .run_until_cancelled(tokio::time::sleep(LOOK))
        .await
        .is_some()
    {
        if bound.is_there() {
            // Somebody may have moved it away and back.
            standing.0.store(None);
            continue;
        }
        let path = bound.path().display().to_string();
        match bind(bound.path(), access).await {
            Ok((listener, made)) => {
                door.replace(listener);
                bound = made;
                standing.0.store(None);
                tracing::warn!(
                    socket = path,
                    "the socket's file was removed by somebody; it is bound anew"
                );
            }
            Err(error) => {
                let trouble = format!(
                    "the socket {path} was removed or replaced, nobody can connect, and it cannot be bound anew: {error}"
                );
                if standing.trouble().as_deref() != Some(&trouble) {
                    tracing::error!("{trouble}");
                }
                standing.0.store(Some(Arc::new(trouble)));
            }
        }
    }
    bound
}
