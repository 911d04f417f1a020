//! The key_id state machine: which seed encrypts, with which key id, and until when.
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

/// `kmsv2PluginWriteDEKSourceMaxTTL`: how long a seed may encrypt after the last Status response.
const WRITE_TTL: SignedDuration = SignedDuration::from_mins(3);
/// How long the result of a check is reused.
const TTL_OK: SignedDuration = SignedDuration::from_secs(20);
const TTL_FAILED: SignedDuration = SignedDuration::from_secs(3);
/// The other name of the same API version.
const API_VERSION_BETA: &str = "v2beta1";
/// Source type of all seeds generated here; Kubernetes has written no other since 1.29.
pub(crate) const SEED: i32 = EncryptedDekSourceType::HkdfSha256XnonceAesGcmSeed as i32;

/// The seed that encrypts.
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
    /// Fails if this seed may no longer encrypt.
    pub(crate) fn check_write(&self, now: Timestamp) -> Result<(), String> {
        if now <= self.expires {
            return Ok(());
        }
        let hash = key_id_hash(&self.key_id);
        let (at, now) = (rfc3339(self.expires), rfc3339(now));
        Err(format!(
            "encryptedDEKSource with keyID hash {hash:?} expired at {at} (current time is {now})"
        ))
    }
}

/// Calls the plugin's Status and keeps the resulting state.
#[derive(Debug)]
pub(crate) struct Probe {
    provider: String,
    client: Arc<PluginClient>,
    clock: Arc<dyn Clock>,
    random: Arc<Random>,
    state: RwLock<Option<Arc<State>>>,
    /// One check at a time; concurrent callers share its result.
    last: tokio::sync::Mutex<LastCheck>,
}

/// Result of the last check, until it expires.
#[derive(Debug, Default)]
struct LastCheck {
    outcome: Option<(Timestamp, Result<(), String>)>,
    /// The version in the first healthy response; it must not change.
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

    /// The state for reads, which does not expire. Without a key id there is none, and nothing can
    /// be read.
    pub(crate) fn state(&self) -> Result<Arc<State>, String> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state
            .clone()
            .ok_or_else(|| "got unexpected nil transformer".to_owned())
    }

    fn store(&self, state: State) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(state));
    }

    /// Calls Status, and generates a seed if the key id is new. Reuses the last result for 20 s
    /// (after a failure 3 s).
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
                // Only the first caller that sees the failure gets the long message; upstream keeps
                // the bare error.
                (Err(err.to_string()), Err(section))
            }
            Ok(status) => {
                let outcome = self.apply_status(status, &mut last.version).await;
                (outcome.clone(), outcome)
            }
        };
        last.outcome = Some((self.clock.now(), kept));
        answer
    }

    /// Applies a Status response. A valid key id is followed even if the plugin is unhealthy or its
    /// version is wrong (kubernetes#138950).
    async fn apply_status(
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
                key_id_hash(&status.key_id)
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

    /// The same key id extends its seed, even an expired one. A new key id needs a new seed, if
    /// Encrypt returns that same key id; else the old state stays and expires.
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
            key_id_hash(key_id),
            key_id_hash(&encrypt_key_id),
            key_id_hash(state_key_id),
        ))
    }

    /// Generates a seed and has the plugin encrypt it; the response is validated.
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

/// `sha256:<hex>`, as logs, metrics and errors show a key id; empty for an empty one.
pub(crate) fn key_id_hash(key_id: &str) -> String {
    if key_id.is_empty() {
        return String::new();
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key_id.as_bytes());
    format!("sha256:{}", hex::encode(digest))
}

/// RFC 3339 in UTC and whole seconds, as Go's `time.RFC3339` on a server in UTC.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
