//! The key_id state machine: which seed writes, under which key id, until when.
//!
//! Follows `kmsv2PluginProbe` in k8s.io/apiserver v0.36.3,
//! `pkg/server/options/encryptionconfig/config.go`.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::{SignedDuration, Timestamp};
use kmslab_keycore::Clock;
use kmslab_kmsv2::stored::{self, EncryptedDekSourceType, EncryptedObject};
use kmslab_kmsv2::{API_VERSION, HEALTHY, limits, socket::StatusResponse};
use zeroize::Zeroizing;

use super::cache::CacheKey;
use super::client::PluginClient;
use super::random::Random;

/// `kmsv2PluginWriteDEKSourceMaxTTL`: how long a seed may write after the last answer of Status.
const WRITE_TTL: SignedDuration = SignedDuration::from_mins(3);
/// How long the result of a check stands for the next one.
const TTL_OK: SignedDuration = SignedDuration::from_secs(20);
const TTL_FAILED: SignedDuration = SignedDuration::from_secs(3);
/// The other name of the same API version.
const API_VERSION_BETA: &str = "v2beta1";
/// Source type of every seed made here. Kubernetes has written nothing else since 1.29.
pub(crate) const SEED: i32 = EncryptedDekSourceType::HkdfSha256XnonceAesGcmSeed as i32;

/// The seed that writes.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) seed: Zeroizing<[u8; 32]>,
    pub(crate) key_id: String,
    pub(crate) encrypted_dek_source: Vec<u8>,
    pub(crate) annotations: BTreeMap<String, Vec<u8>>,
    pub(crate) expires: Timestamp,
    pub(crate) cache_key: CacheKey,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("key_id", &self.key_id)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl State {
    /// Why this seed may not write any more.
    pub(crate) fn check_write(&self, now: Timestamp) -> Result<(), String> {
        if now <= self.expires {
            return Ok(());
        }
        let hash = hash_of(&self.key_id);
        let (at, now) = (rfc3339(self.expires), rfc3339(now));
        Err(format!(
            "encryptedDEKSource with keyID hash {hash:?} expired at {at} (current time is {now})"
        ))
    }
}

/// Asks the plugin for its status and keeps the state that follows from the answers.
#[derive(Debug)]
pub(crate) struct Probe {
    provider: String,
    client: Arc<PluginClient>,
    clock: Arc<dyn Clock>,
    random: Arc<Random>,
    state: RwLock<Option<Arc<State>>>,
    /// One check at a time; the others wait and take its result.
    last: tokio::sync::Mutex<Last>,
}

/// The last check's result, until it is too old.
#[derive(Debug, Default)]
struct Last {
    outcome: Option<(Timestamp, Result<(), String>)>,
    /// The version that the first good answer named; it may not change.
    version: Option<String>,
}

impl Probe {
    pub(crate) fn new(
        provider: &str,
        client: Arc<PluginClient>,
        clock: Arc<dyn Clock>,
        random: Arc<Random>,
    ) -> Self {
        let (state, last) = (RwLock::default(), tokio::sync::Mutex::default());
        Self {
            provider: provider.to_owned(),
            client,
            clock,
            random,
            state,
            last,
        }
    }

    /// The state for reads, which has no end. A server that never heard of a key id has none, and
    /// can read nothing.
    pub(crate) fn state(&self) -> Result<Arc<State>, String> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state
            .clone()
            .ok_or_else(|| "got unexpected nil transformer".to_owned())
    }

    fn store(&self, state: State) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(state));
    }

    /// Status, and a new seed if the key id is new. Takes the last result if that is less than 20 s
    /// (after a failure 3 s) old.
    pub(crate) async fn check(&self) -> Result<(), String> {
        let mut last = self.last.lock().await;
        if let Some((at, outcome)) = &last.outcome {
            let ttl = if outcome.is_ok() { TTL_OK } else { TTL_FAILED };
            if self.clock.now().duration_since(*at) < ttl {
                return outcome.clone();
            }
        }
        let (kept, answer) = match self.client.status().await {
            Err(err) => {
                let section = format!(
                    "failed to perform status section of the healthz check for KMS Provider {}, error: {err}",
                    self.provider
                );
                // Only the first to see the failure gets the long text; upstream keeps the bare
                // error.
                (Err(err.to_string()), Err(section))
            }
            Ok(status) => {
                let outcome = self.follow(status, &mut last.version).await;
                (outcome.clone(), outcome)
            }
        };
        last.outcome = Some((self.clock.now(), kept));
        answer
    }

    /// What a Status answer leads to. A well-formed key id is followed even if the plugin says that
    /// it is unhealthy, or the version is wrong (kubernetes#138950).
    async fn follow(
        &self,
        status: StatusResponse,
        version: &mut Option<String>,
    ) -> Result<(), String> {
        let mut faults = Vec::new();
        if status.healthz != HEALTHY {
            faults.push(format!("got unexpected healthz status: {}", status.healthz));
        }
        if status.version != API_VERSION && status.version != API_VERSION_BETA {
            faults.push(format!(
                "expected KMSv2 API version {API_VERSION}, got {}",
                status.version
            ));
        } else {
            let first = version.get_or_insert_with(|| status.version.clone());
            if *first != status.version {
                faults.push(format!(
                    "KMSv2 API version should not change after the initial status response version {first}, got {}",
                    status.version
                ));
            }
        }
        match limits::check_key_id(&status.key_id) {
            Ok(()) => faults.extend(self.rotate_if_new(&status.key_id).await.err()),
            Err(err) => faults.push(format!(
                "got invalid KMSv2 KeyID hash {:?}: {err}",
                hash_of(&status.key_id)
            )),
        }
        match faults.as_slice() {
            [] => Ok(()),
            [one] => Err(format!(
                "kmsv2 Provider {} is not healthy, error: {one}",
                self.provider
            )),
            several => Err(format!(
                "kmsv2 Provider {} is not healthy, error: [{}]",
                self.provider,
                several.join(", ")
            )),
        }
    }

    /// The same key id: its seed lives on, even one that had expired. A new one: a new seed, if
    /// Encrypt answers with that same key id; else the old state stays as it is and runs out.
    async fn rotate_if_new(&self, key_id: &str) -> Result<(), String> {
        let before = self.state();
        // Taken before the call: 3 minutes are the upper bound.
        let expires = self
            .clock
            .now()
            .saturating_add(WRITE_TTL)
            .unwrap_or(Timestamp::MAX);
        if let Ok(state) = &before
            && state.key_id == key_id
        {
            self.store(State {
                expires,
                ..State::clone(state)
            });
            return Ok(());
        }
        let uid = self.random.uuid();
        let generated = self.generate(&uid, expires).await;
        let (error, encrypt_key_id) = match generated {
            Ok(state) if state.key_id == key_id => {
                self.store(state);
                return Ok(());
            }
            Ok(state) => ("<nil>".to_owned(), state.key_id),
            Err(err) => (err, String::new()),
        };
        let (state_error, state_key_id, state_expires) = match &before {
            Ok(state) => ("<nil>", state.key_id.as_str(), rfc3339(state.expires)),
            // Go's zero time.
            Err(err) => (err.as_str(), "", "0001-01-01T00:00:00Z".to_owned()),
        };
        Err(format!(
            "failed to rotate DEK uid={uid:?}, useSeed=true, errState={state_error}, errGen={error}, statusKeyIDHash={:?}, \
             encryptKeyIDHash={:?}, stateKeyIDHash={:?}, expirationTimestamp={state_expires}",
            hash_of(key_id),
            hash_of(&encrypt_key_id),
            hash_of(state_key_id),
        ))
    }

    /// A seed of its own, encrypted by the plugin, whose answer is checked.
    async fn generate(&self, uid: &str, expires: Timestamp) -> Result<State, String> {
        let mut seed = Zeroizing::new([0; 32]);
        self.random.fill(seed.as_mut());
        let answer = self
            .client
            .encrypt(uid, seed.as_ref())
            .await
            .map_err(|err| format!("failed to encrypt DEK, error: {err}"))?;
        let object = EncryptedObject {
            encrypted_data: vec![0],
            key_id: answer.key_id,
            encrypted_dek_source: answer.ciphertext,
            annotations: answer.annotations,
            encrypted_dek_source_type: SEED,
        };
        stored::validate(&object).map_err(|err| err.to_string())?;
        let EncryptedObject {
            key_id,
            encrypted_dek_source,
            annotations,
            ..
        } = object;
        let cache_key = CacheKey::new(SEED, &encrypted_dek_source, &key_id, &annotations);
        Ok(State {
            seed,
            key_id,
            encrypted_dek_source,
            annotations,
            expires,
            cache_key,
        })
    }
}

/// `sha256:<hex>`, as logs, metrics and errors name a key id; empty for an empty one.
pub(crate) fn hash_of(key_id: &str) -> String {
    if key_id.is_empty() {
        return String::new();
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key_id.as_bytes());
    format!("sha256:{}", hex::encode(digest))
}

/// RFC 3339 in UTC and whole seconds, Go's `time.RFC3339` on a server in UTC.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
