//! When etcd and kube-apiserver can be used: awaited conditions, with what was last seen where they
//! don't come.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::client::HttpApi;
use super::diagnose::Cause;
use super::error::StartError;
use crate::cluster::{Api, ObjectRef, Resource};
use crate::etcd::client::EtcdClient;
use crate::process::{Child, tail};
use crate::scrape;

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// etcd takes half a second, kube-apiserver 5 s on 2 free cores; a CI machine under load ten times
/// that.
const ETCD_PATIENCE: Duration = Duration::from_secs(30);
const SERVER_PATIENCE: Duration = Duration::from_secs(90);
/// How much longer than for its being alive a restarted server is waited for, where its plugin is
/// well: the watch caches fill in under a second, or, with one value that can't be read, never.
const CACHES_PATIENCE: Duration = Duration::from_secs(10);
/// A changed EncryptionConfiguration is looked for every 60 s, and then its plugins are asked for
/// up to 10 s.
const RELOAD_PATIENCE: Duration = Duration::from_secs(100);
const LAST_CONFIG: &str = "apiserver_encryption_config_controller_last_config_info";
const TAIL_LINES: usize = 12;
/// A check that fails for 60 s after a restart with a dead key; everything else of `/livez` tells
/// that the server serves. The plugin included; says of every check how it is.
pub(in crate::cluster) const READY: &str = "/readyz?verbose";
pub(in crate::cluster) const ALIVE: &str = "/livez?exclude=poststarthook%2Fstorage-readiness";

/// A run that is waited for.
pub(super) struct Run {
    pub(super) name: String,
    pub(super) log: PathBuf,
    /// Where it is a child of this process, whose end is noticed.
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

    /// One that another process has started.
    pub(super) fn of_another(logs: &Path, name: String) -> Self {
        Self {
            log: logs.join(format!("{name}.log")),
            name,
            child: None,
        }
    }

    /// Looks until `probe` is `Ok`; its `Err` says what was seen instead.
    async fn until<T, F>(
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
            if let Some(ended) = self.ended() {
                return Err(ended);
            }
            match tokio::time::timeout(patience.saturating_sub(since.elapsed()), probe()).await {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(seen)) => last = seen,
                Err(_) => {}
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Err(self.not_ready(what, patience, last))
    }

    fn ended(&self) -> Option<StartError> {
        let child = self.child.as_ref()?;
        Some(child.ended(child.status()?).into())
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

/// etcd answers.
pub(super) async fn etcd(run: &Run, endpoint: &str) -> Result<EtcdClient, StartError> {
    run.until("answering", ETCD_PATIENCE, || async {
        let client = EtcdClient::connect(endpoint)
            .await
            .map_err(|error| error.to_string())?;
        client.status().await.map_err(|error| error.to_string())?;
        Ok(client)
    })
    .await
}

/// Everything is in order, the plugin included, and the namespace `default` is there.
pub(super) async fn ready(run: &Run, api: &HttpApi) -> Result<(), StartError> {
    run.until("ready", SERVER_PATIENCE, || healthy(api, READY))
        .await?;
    let default = ObjectRef::new(Resource::namespaces(), None, "default");
    run.until("ready", SERVER_PATIENCE, || async {
        api.get(&default)
            .await
            .map(drop)
            .map_err(|error| format!("namespace default: {error}"))
    })
    .await
}

/// It serves what can be served. A dead key is no reason to wait, as it would keep `/livez` at 500
/// for a minute and `/readyz` for good.
pub(super) async fn alive(run: &Run, api: &HttpApi) -> Result<(), StartError> {
    run.until("alive", SERVER_PATIENCE, || healthy(api, ALIVE))
        .await?;
    let filled = run.until("serving from its caches", CACHES_PATIENCE, || async {
        match healthy(api, "/livez").await {
            Err(_) if healthy(api, "/readyz/kms-providers").await.is_err() => Ok(()),
            seen => seen,
        }
    });
    match filled.await {
        Err(StartError::NotReady { .. }) => Ok(()),
        done => done,
    }
}

/// It uses the EncryptionConfiguration whose file has this hash.
pub(super) async fn reloaded(run: &Run, api: &HttpApi, hash: &str) -> Result<(), StartError> {
    run.until(
        "using the new EncryptionConfiguration",
        RELOAD_PATIENCE,
        || uses(api, hash),
    )
    .await
}

/// Whether its metrics say so.
pub(in crate::cluster) async fn uses(api: &HttpApi, hash: &str) -> Result<(), String> {
    let metrics = api
        .health("/metrics")
        .await
        .map_err(|error| error.message)?;
    let label = format!("hash=\"{hash}\"");
    match scrape::sum_of(&metrics.body, LAST_CONFIG, |labels| labels.contains(&label)) {
        1 => Ok(()),
        _ => Err(format!(
            "{LAST_CONFIG} shows another one; a plugin that it names may not be well"
        )),
    }
}

/// 200, or which checks fail.
pub(in crate::cluster) async fn healthy(api: &HttpApi, path: &str) -> Result<(), String> {
    api.health(path)
        .await
        .map_err(|error| error.message)?
        .verdict(path)
}
