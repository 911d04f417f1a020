//! The key: its current version, which Status and Encrypt share, and its health, updated by a
//! background probe and by every call.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, watch};
use zeroize::Zeroizing;

use crate::error::ServiceError;
use crate::kek::{Kek, KekError, KeyVersion, Usage, Wrapped, ensure_roundtrip};
use crate::time::{Ticker, Timer};
use kmslab_kmsv2::label::Label;

/// Plaintext of probes. It is not secret, and the ciphertext is discarded.
const PROBE_PLAINTEXT: &[u8] = b"kmslab-plugin probe";
/// How long probes must consistently name an earlier version before it becomes current again. A
/// cloud that spreads a rotation over its servers alternates between old and new, and a key_id must
/// not flip.
const REVERT_GRACE: Duration = Duration::from_secs(30);
/// Maximum attempts of an Encrypt while the key rotates.
const ENCRYPT_ATTEMPTS: usize = 3;
/// How long Status waits for the first probe; kube-apiserver's default timeout is 3 s.
const FIRST_PROBE_TIMEOUT: Duration = Duration::from_millis(2500);

/// The current version, with everything that an Encrypt response contains about it.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) version: KeyVersion,
    pub(crate) key_id: String,
    pub(crate) annotation: Vec<u8>,
}

#[derive(Debug, Clone)]
struct Failure {
    error: KekError,
    since: Duration,
}

#[derive(Debug, Clone, Default)]
struct Health {
    snapshot: Option<Arc<Snapshot>>,
    /// Start of the last call that proved the key usable.
    verified: Option<Duration>,
    failure: Option<Failure>,
}

/// State that only probes use.
#[derive(Debug, Default)]
struct ProbeState {
    retired: Vec<KeyVersion>,
    /// Since when probes name an earlier version.
    reverting_since: Option<Duration>,
}

#[derive(Debug)]
pub(crate) struct KeyMonitor {
    kek: Arc<dyn Kek>,
    timer: Arc<dyn Timer>,
    generation: u32,
    grace: Duration,
    health: ArcSwap<Health>,
    /// Locked during a probe: probes are sequential, and concurrent callers share one.
    probing: Mutex<ProbeState>,
    probed: watch::Sender<bool>,
}

impl KeyMonitor {
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
            health: ArcSwap::default(),
            probing: Mutex::default(),
            probed: watch::Sender::new(false),
        }
    }

    pub(crate) fn provider(&self) -> &'static str {
        self.kek.provider()
    }

    pub(crate) fn max_plaintext(&self) -> usize {
        self.kek.max_plaintext()
    }

    /// How often the key was used so far.
    pub(crate) fn usage(&self) -> Usage {
        self.kek.usage()
    }

    /// Encrypts with the current version, which may become another one meanwhile.
    pub(crate) async fn encrypt(
        &self,
        plaintext: &[u8],
    ) -> Result<(Vec<u8>, Arc<Snapshot>), ServiceError> {
        let mut snapshot = self.require().await?;
        for _ in 0..ENCRYPT_ATTEMPTS {
            let wrapped = self.wrap(plaintext, &snapshot.version).await?;
            if wrapped.version != snapshot.version {
                self.refresh(Some(&snapshot)).await;
                snapshot = self.require().await?;
            }
            if wrapped.version == snapshot.version {
                return Ok((wrapped.ciphertext, snapshot));
            }
        }
        Err(ServiceError::Rotating {
            attempts: ENCRYPT_ATTEMPTS,
            current: snapshot.version.version.clone(),
        })
    }

    async fn wrap(&self, plaintext: &[u8], expected: &KeyVersion) -> Result<Wrapped, ServiceError> {
        let started = self.timer.now();
        let wrapped = self.kek.wrap(plaintext, Some(expected)).await;
        match &wrapped {
            Ok(_) => self.verified(started),
            Err(error) => self.failed(error, started),
        }
        Ok(wrapped?)
    }

    /// Decrypts with a version, which need not be the current one.
    pub(crate) async fn decrypt(
        &self,
        ciphertext: &[u8],
        version: &KeyVersion,
    ) -> Result<Zeroizing<Vec<u8>>, ServiceError> {
        let started = self.timer.now();
        let decrypted = self.kek.unwrap(ciphertext, version).await;
        if let Err(error) = &decrypted {
            // New data does not depend on an older version, and whoever wrote the data chose its
            // label.
            let is_current = self
                .snapshot()
                .is_some_and(|snapshot| snapshot.version == *version);
            if is_current || error.version().is_none() {
                self.failed(error, started);
            }
        }
        Ok(decrypted?)
    }

    pub(crate) fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.health.load().snapshot.clone()
    }

    /// Returns the current version, probing if no probe has succeeded yet; else the error.
    async fn require(&self) -> Result<Arc<Snapshot>, ServiceError> {
        if let Some(snapshot) = self.snapshot() {
            return Ok(snapshot);
        }
        self.refresh(None).await;
        self.snapshot().ok_or_else(|| self.unavailable())
    }

    /// Returns when the first probe is done, whatever its result.
    pub(crate) async fn probed(&self) {
        // Fails only if the sender is dropped; it lives in self.
        let _ = self.probed.subscribe().wait_for(|done| *done).await;
    }

    /// What Status returns: known state, no call to the cloud.
    pub(crate) async fn health(&self) -> Result<Arc<Snapshot>, ServiceError> {
        if !*self.probed.borrow() {
            // At the start only: kube-apiserver would cache a failure for 3 s and reject writes
            // meanwhile.
            let _ = tokio::time::timeout(FIRST_PROBE_TIMEOUT, self.probed()).await;
        }
        self.health_now()
    }

    /// [`Self::health`] without waiting for the first probe.
    pub(crate) fn health_now(&self) -> Result<Arc<Snapshot>, ServiceError> {
        let health = self.health.load();
        let (Some(snapshot), Some(verified)) = (&health.snapshot, health.verified) else {
            return Err(self.unavailable());
        };
        if health
            .failure
            .as_ref()
            .is_some_and(|failure| failure.error.is_dead_key())
        {
            return Err(self.unavailable());
        }
        let silent = self.timer.now().saturating_sub(verified);
        if silent <= self.grace {
            return Ok(snapshot.clone());
        }
        let cause = match &health.failure {
            Some(failure) => failure.error.to_string(),
            None => "the probe of the key is overdue".to_owned(),
        };
        Err(ServiceError::Stale { silent, cause })
    }

    fn unavailable(&self) -> ServiceError {
        match &self.health.load().failure {
            Some(failure) => failure.error.clone().into(),
            None => ServiceError::Starting,
        }
    }

    /// Records that a call that began at `started` proved the key usable.
    fn verified(&self, started: Duration) {
        self.health.rcu(|old| {
            let mut health = Health::clone(old);
            // A call that began before the failure says nothing about it.
            health.failure.take_if(|failure| started > failure.since);
            health.verified = health.verified.max(Some(started));
            health
        });
    }

    /// Records that a call that began at `started` failed. Only a dead key counts; transient
    /// failures are found by the probe.
    fn failed(&self, error: &KekError, started: Duration) {
        if error.is_dead_key()
            && self
                .health
                .load()
                .verified
                .is_none_or(|verified| started > verified)
        {
            self.set_failure(error);
        }
    }

    fn set_failure(&self, error: &KekError) {
        let since = self.timer.now();
        let before = self.health.rcu(|old| Health {
            failure: Some(Failure {
                error: error.clone(),
                since,
            }),
            ..Health::clone(old)
        });
        if before.failure.as_ref().map(|failure| failure.error.kind()) != Some(error.kind()) {
            tracing::warn!(kind = error.kind(), "{error}");
        }
    }

    /// Probes now, unless the version has changed from `seen` meanwhile.
    async fn refresh(&self, seen: Option<&Snapshot>) {
        let mut memory = self.probing.lock().await;
        let key_id = |snapshot: &Snapshot| snapshot.key_id.clone();
        if self.snapshot().as_deref().map(key_id) == seen.map(key_id) {
            self.probe(&mut memory).await;
        }
    }

    async fn probe(&self, memory: &mut ProbeState) {
        let started = self.timer.now();
        match self.probe_round_trip().await {
            Ok(version) => {
                let recovered = self.health.load().failure.is_some();
                self.adopt(memory, version);
                self.health.rcu(|old| Health {
                    failure: None,
                    verified: Some(started),
                    ..Health::clone(old)
                });
                if recovered {
                    tracing::info!("the key is usable again");
                }
            }
            Err(error) => self.set_failure(&error),
        }
        self.probed.send_replace(true);
    }

    /// Encrypts and decrypts; returns the version that the cloud named for the ciphertext.
    async fn probe_round_trip(&self) -> Result<KeyVersion, KekError> {
        let expected = match self.snapshot() {
            Some(snapshot) => Some(snapshot.version.clone()),
            // The description of a key tells best why it is unusable. A caller without permission
            // to read it can still encrypt.
            None => match self.kek.current().await {
                Err(error @ KekError::Denied { .. }) => {
                    tracing::debug!("{error}");
                    None
                }
                described => Some(described?),
            },
        };
        let wrapped = self.kek.wrap(PROBE_PLAINTEXT, expected.as_ref()).await?;
        let decrypted = self
            .kek
            .unwrap(&wrapped.ciphertext, &wrapped.version)
            .await?;
        ensure_roundtrip(&decrypted, PROBE_PLAINTEXT)?;
        Ok(wrapped.version)
    }

    fn adopt(&self, memory: &mut ProbeState, version: KeyVersion) {
        let before = self.snapshot();
        if before
            .as_ref()
            .is_some_and(|snapshot| snapshot.version == version)
        {
            memory.reverting_since = None;
            return;
        }
        if memory.retired.contains(&version) {
            let now = self.timer.now();
            let since = *memory.reverting_since.get_or_insert(now);
            if now.saturating_sub(since) < REVERT_GRACE {
                tracing::debug!(
                    version = version.version,
                    "the cloud answered with a version that was replaced; waiting for it to become consistent"
                );
                return;
            }
        }
        memory.reverting_since = None;
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
        self.health.rcu(|old| Health {
            snapshot: Some(snapshot.clone()),
            ..Health::clone(old)
        });
    }

    /// Probes at once and then every `interval`.
    pub(crate) async fn run_probes(&self, mut ticker: Box<dyn Ticker>, interval: Duration) {
        loop {
            {
                let mut memory = self.probing.lock().await;
                self.probe(&mut memory).await;
            }
            ticker.wait(interval).await;
        }
    }
}
