//! The one current key version that Status and Encrypt both read, and its health, kept fresh by a
//! prober in the background.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, watch};

use crate::error::status_of;
use crate::kek::{Kek, KekError, KeyVersion};
use crate::key_id::Label;
use crate::time::{Ticker, Timer};

/// What a probe seals. Not a secret; its ciphertext goes nowhere.
const PROBE: &[u8] = b"kmslab-plugin probe";
/// How long probes must name a version that was current before, and no other, until it is taken
/// back. A cloud that spreads a rotation over its servers answers with old and new in turn, and a
/// key_id must not flip.
const SETTLED: Duration = Duration::from_secs(30);
/// How long a Status waits for the very first probe; kube-apiserver gives a call 3 s by default.
const FIRST_PROBE: Duration = Duration::from_millis(2500);

/// The version that is current, with everything that an Encrypt answer says about it.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) version: KeyVersion,
    pub(crate) key_id: String,
    pub(crate) annotation: Vec<u8>,
}

#[derive(Debug, Clone)]
struct Trouble {
    error: KekError,
    since: Duration,
}

#[derive(Debug, Clone, Default)]
struct View {
    snapshot: Option<Arc<Snapshot>>,
    /// When the last call that proved the key usable began.
    verified: Option<Duration>,
    trouble: Option<Trouble>,
}

/// What only a probe touches.
#[derive(Debug, Default)]
struct Memory {
    retired: Vec<KeyVersion>,
    /// Since when probes name a retired version.
    going_back: Option<Duration>,
}

#[derive(Debug)]
pub(crate) struct Current {
    kek: Arc<dyn Kek>,
    timer: Arc<dyn Timer>,
    generation: u32,
    grace: Duration,
    view: ArcSwap<View>,
    /// Held through a probe: probes are ordered, and many callers share one.
    probing: Mutex<Memory>,
    probed: watch::Sender<bool>,
}

impl Current {
    pub(crate) fn new(
        kek: Arc<dyn Kek>,
        timer: Arc<dyn Timer>,
        generation: u32,
        grace: Duration,
    ) -> Self {
        Self {
            kek,
            timer,
            generation,
            grace,
            view: ArcSwap::default(),
            probing: Mutex::default(),
            probed: watch::Sender::new(false),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.timer.now()
    }

    pub(crate) fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.view.load().snapshot.clone()
    }

    /// The current version, asked for if no probe has succeeded yet; else why there is none.
    pub(crate) async fn require(&self) -> Result<Arc<Snapshot>, tonic::Status> {
        if let Some(snapshot) = self.snapshot() {
            return Ok(snapshot);
        }
        self.refresh(None).await;
        self.snapshot().ok_or_else(|| self.why_not())
    }

    /// Ends when the first probe is done, whatever came of it.
    pub(crate) async fn probed(&self) {
        // An error would mean that the sender is gone; it lives in self.
        let _ = self.probed.subscribe().wait_for(|done| *done).await;
    }

    /// What Status answers: no cloud call, only what is known.
    pub(crate) async fn health(&self) -> Result<Arc<Snapshot>, tonic::Status> {
        if !*self.probed.borrow() {
            // Only in the first moments: kube-apiserver would keep a failure for 3 s and refuse
            // writes meanwhile.
            let _ = tokio::time::timeout(FIRST_PROBE, self.probed()).await;
        }
        self.health_now()
    }

    /// [`Current::health`] without waiting for the first probe.
    pub(crate) fn health_now(&self) -> Result<Arc<Snapshot>, tonic::Status> {
        let view = self.view.load();
        let (Some(snapshot), Some(verified)) = (&view.snapshot, view.verified) else {
            return Err(self.why_not());
        };
        if view
            .trouble
            .as_ref()
            .is_some_and(|trouble| trouble.error.is_dead_key())
        {
            return Err(self.why_not());
        }
        let silent = self.timer.now().saturating_sub(verified);
        if silent <= self.grace {
            return Ok(snapshot.clone());
        }
        let cause = match &view.trouble {
            Some(trouble) => trouble.error.to_string(),
            None => "the probe of the key is overdue".to_owned(),
        };
        Err(tonic::Status::unavailable(format!(
            "the key was last proven usable {} s ago: {cause}",
            silent.as_secs()
        )))
    }

    fn why_not(&self) -> tonic::Status {
        match &self.view.load().trouble {
            Some(trouble) => status_of(&trouble.error),
            None => tonic::Status::unavailable(
                "the plugin has just started and its key is not proven usable yet: try again",
            ),
        }
    }

    /// A cloud call that began at `started` proved the key usable.
    pub(crate) fn verified(&self, started: Duration) {
        self.view.rcu(|old| {
            let mut view = View::clone(old);
            // A call that began before the trouble says nothing about it.
            view.trouble.take_if(|trouble| started > trouble.since);
            view.verified = view.verified.max(Some(started));
            view
        });
    }

    /// A cloud call for a request that began at `started` failed. Only a dead key counts: of
    /// passing trouble the prober hears itself.
    pub(crate) fn failed(&self, error: &KekError, started: Duration) {
        if error.is_dead_key()
            && self
                .view
                .load()
                .verified
                .is_none_or(|verified| started > verified)
        {
            self.set_trouble(error);
        }
    }

    fn set_trouble(&self, error: &KekError) {
        let since = self.timer.now();
        let before = self.view.rcu(|old| View {
            trouble: Some(Trouble {
                error: error.clone(),
                since,
            }),
            ..View::clone(old)
        });
        if before.trouble.as_ref().map(|trouble| trouble.error.kind()) != Some(error.kind()) {
            tracing::warn!(kind = error.kind(), "{error}");
        }
    }

    /// Probes now, unless another probe has changed the version from what the caller has `seen`
    /// meanwhile.
    pub(crate) async fn refresh(&self, seen: Option<&Snapshot>) {
        let mut memory = self.probing.lock().await;
        let key_id = |snapshot: &Snapshot| snapshot.key_id.clone();
        if self.snapshot().as_deref().map(key_id) == seen.map(key_id) {
            self.probe(&mut memory).await;
        }
    }

    async fn probe(&self, memory: &mut Memory) {
        let started = self.timer.now();
        match self.round_trip().await {
            Ok(version) => {
                let healed = self.view.load().trouble.is_some();
                self.adopt(memory, version);
                self.view.rcu(|old| View {
                    trouble: None,
                    verified: Some(started),
                    ..View::clone(old)
                });
                if healed {
                    tracing::info!("the key is usable again");
                }
            }
            Err(error) => self.set_trouble(&error),
        }
        self.probed.send_replace(true);
    }

    /// Seals and opens; the version is the one that the cloud named for what it sealed.
    async fn round_trip(&self) -> Result<KeyVersion, KekError> {
        if self.snapshot().is_none() {
            // The description of the key tells best why one is of no use. Who may not read it can
            // still encrypt.
            match self.kek.current().await {
                Err(error @ KekError::Denied { .. }) => tracing::debug!("{error}"),
                described => drop(described?),
            }
        }
        Ok(self.kek.wrap(PROBE).await?.version)
    }

    fn adopt(&self, memory: &mut Memory, version: KeyVersion) {
        let before = self.snapshot();
        if before
            .as_ref()
            .is_some_and(|snapshot| snapshot.version == version)
        {
            memory.going_back = None;
            return;
        }
        if memory.retired.contains(&version) {
            let now = self.timer.now();
            let since = *memory.going_back.get_or_insert(now);
            if now.saturating_sub(since) < SETTLED {
                tracing::debug!(
                    version = version.version,
                    "the cloud answered with a version that was replaced; waiting for it to settle"
                );
                return;
            }
        }
        memory.going_back = None;
        memory.retired.retain(|old| *old != version);
        let label = Label::new(self.kek.provider(), &version, self.generation);
        let snapshot = Arc::new(Snapshot {
            key_id: label.key_id(),
            annotation: label.to_json(),
            version,
        });
        tracing::info!(
            key = label.key,
            version = label.version,
            key_id = snapshot.key_id,
            "current key version"
        );
        memory.retired.extend(before.map(|old| old.version.clone()));
        self.view.rcu(|old| View {
            snapshot: Some(snapshot.clone()),
            ..View::clone(old)
        });
    }

    /// Probes at once and then every `interval`, for ever.
    pub(crate) async fn keep_fresh(&self, mut ticker: Box<dyn Ticker>, interval: Duration) {
        loop {
            {
                let mut memory = self.probing.lock().await;
                self.probe(&mut memory).await;
            }
            ticker.wait(interval).await;
        }
    }
}
