//! Waits until etcd and kube-apiserver can be used; timeouts report what was seen last.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::client::HttpApi;
use super::diagnose::Cause;
use super::error::StartError;
use crate::cluster::{Api, ObjectRef, Resource};
use crate::etcd::client::EtcdClient;
use crate::metrics_client;
use crate::process::{Child, tail};

const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// etcd takes half a second and kube-apiserver 5 s on 2 idle cores; a CI machine under load up to
/// ten times that.
const ETCD_START_TIMEOUT: Duration = Duration::from_secs(30);
const SERVER_START_TIMEOUT: Duration = Duration::from_secs(90);
/// How much longer to wait for a restarted server's watch caches if its plugin is healthy: they
/// fill in under a second or, with an unreadable value, never.
const CACHE_SYNC_TIMEOUT: Duration = Duration::from_secs(10);
/// A changed EncryptionConfiguration is detected every 60 s, then its plugins are called for up to
/// 10 s.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(100);
const CONFIG_HASH_METRIC: &str = "apiserver_encryption_config_controller_last_config_info";
const TAIL_LINES: usize = 12;
/// Includes the plugin; the verbose form lists every check. (A dead key makes one check of `/livez`
/// fail for 60 s after a restart; the others show that the server serves.)
pub(in crate::cluster) const READYZ_PATH: &str = "/readyz?verbose";
pub(in crate::cluster) const ALIVE: &str = "/livez?exclude=poststarthook%2Fstorage-readiness";

/// A run of a process to wait for.
pub(super) struct Run {
    pub(super) name: String,
    pub(super) log: PathBuf,
    /// Set if it is a child of this process, whose exit is noticed.
    pub(super) child: Option<Arc<Child>>,
}

impl Run {
    pub(super) fn of(child: Arc<Child>) -> Self {
        Self {
            name: child.program().name().into(),
            log: child.log().into(),
            child: Some(child),
        }
    }

    /// A run that another process started.
    pub(super) fn of_other_process(logs: &Path, name: String) -> Self {
        Self {
            log: logs.join(format!("{name}.log")),
            name,
            child: None,
        }
    }

    /// Polls until `probe` is `Ok`; its `Err` says what was seen instead.
    async fn poll_until<T, F>(
        &self,
        what: &'static str,
        patience: Duration,
        probe: impl Fn() -> F,
    ) -> Result<T, StartError>
    where
        F: Future<Output = Result<T, String>>,
    {
        let since = Instant::now();
        let mut last = "nothing seen".to_owned();
        while since.elapsed() < patience {
            if let Some(ended) = self.process_ended() {
                return Err(ended);
            }
            match tokio::time::timeout(patience.saturating_sub(since.elapsed()), probe()).await {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(seen)) => last = seen,
                Err(_) => {}
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Err(self.not_ready(what, patience, last))
    }

    fn process_ended(&self) -> Option<StartError> {
        let child = self.child.as_ref()?;
        Some(child.ended_error(child.status()?).into())
    }

    fn not_ready(&self, what: &'static str, patience: Duration, last: String) -> StartError {
        let tail = match &self.child {
            Some(child) => child.tail(TAIL_LINES),
            None => tail(&self.log, 0, TAIL_LINES),
        };
        StartError::NotReady {
            name: self.name.clone(),
            what,
            seconds: patience.as_secs(),
            last,
            log: self.log.clone(),
            cause: Cause::find(&tail),
            tail,
        }
    }
}

/// Waits until etcd responds.
pub(super) async fn wait_for_etcd(run: &Run, endpoint: &str) -> Result<EtcdClient, StartError> {
    run.poll_until("answering", ETCD_START_TIMEOUT, || async {
        let client = EtcdClient::connect(endpoint)
            .await
            .map_err(|error| error.to_string())?;
        client.status().await.map_err(|error| error.to_string())?;
        Ok(client)
    })
    .await
}

/// Waits until all checks pass, including the plugin's, and the namespace `default` exists.
pub(super) async fn wait_until_ready(run: &Run, api: &HttpApi) -> Result<(), StartError> {
    run.poll_until("ready", SERVER_START_TIMEOUT, || {
        ensure_healthy(api, READYZ_PATH)
    })
    .await?;
    let default = ObjectRef::new(Resource::namespaces(), None, "default");
    run.poll_until("ready", SERVER_START_TIMEOUT, || async {
        api.get(&default)
            .await
            .map(drop)
            .map_err(|error| format!("namespace default: {error}"))
    })
    .await
}

/// Waits until the server serves. A dead key is ignored: it would keep `/livez` at 500 for a minute
/// and `/readyz` for good.
pub(super) async fn wait_until_alive(run: &Run, api: &HttpApi) -> Result<(), StartError> {
    run.poll_until("alive", SERVER_START_TIMEOUT, || ensure_healthy(api, ALIVE))
        .await?;
    let filled = run.poll_until("serving from its caches", CACHE_SYNC_TIMEOUT, || async {
        match ensure_healthy(api, "/livez").await {
            Err(_) if ensure_healthy(api, "/readyz/kms-providers").await.is_err() => Ok(()),
            seen => seen,
        }
    });
    match filled.await {
        Err(StartError::NotReady { .. }) => Ok(()),
        done => done,
    }
}

/// Waits until the server uses the EncryptionConfiguration with this hash.
pub(super) async fn wait_until_reloaded(
    run: &Run,
    api: &HttpApi,
    hash: &str,
) -> Result<(), StartError> {
    run.poll_until(
        "using the new EncryptionConfiguration",
        RELOAD_TIMEOUT,
        || ensure_config_hash(api, hash),
    )
    .await
}

/// Fails unless the server's metrics show this hash.
pub(in crate::cluster) async fn ensure_config_hash(
    api: &HttpApi,
    hash: &str,
) -> Result<(), String> {
    let metrics = api
        .health("/metrics")
        .await
        .map_err(|error| error.message)?;
    let label = format!("hash=\"{hash}\"");
    match metrics_client::sum_counter(&metrics.body, CONFIG_HASH_METRIC, |labels| {
        labels.contains(&label)
    }) {
        1 => Ok(()),
        _ => Err(format!(
            "{CONFIG_HASH_METRIC} shows another one; a plugin that it names may not be well"
        )),
    }
}

/// Fails unless the path returns 200; the error lists the failing checks.
pub(in crate::cluster) async fn ensure_healthy(api: &HttpApi, path: &str) -> Result<(), String> {
    api.health(path)
        .await
        .map_err(|error| error.message)?
        .ensure_ok(path)
}
